# SPDX-License-Identifier: Apache-2.0
"""The folder in which a policy is made: what lies where, and how to go on after a stop."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dex_core.config import CellConfig, find_share, load_task
from dex_core.errors import DexError
from dex_learn.augment import relabel
from dex_learn.codec_from_bundle import load_codec
from dex_learn.draw import Pictures, draw_all
from dex_learn.latents import HandCodec
from dex_learn.policy_net import ChunkBasis, PushCansPolicy, Trunk
from dex_learn.records import Records
from dex_learn.sentences import sentences
from dex_learn.train_trunk import Sentences
from dex_learn.vision_net import VisionNet

PICTURES_PER_FILE = 500
KEPT_EVERY, KEPT = 20, 7  # episodes whose seed is 7 modulo 20 are never trained on


class Workshop:
    """Paths and parts of one training run. Nothing in it is needed once the bundle is written.

    Args:
        cell: the cell it is for.
        folder: where raw data and checkpoints go; gigabytes.
        latent_bundle: the latent space to train in.
    """

    def __init__(self, cell: CellConfig, folder: Path, latent_bundle: Path | None = None) -> None:
        self.cell, self.folder = cell, folder
        self.latent_bundle = latent_bundle or find_share("models", cell.policy.latent_bundle)
        self.task = load_task(cell.sim.task)
        self.phrases = sentences(self.task)
        self.words = Sentences.of(self.phrases)
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def codec(self) -> HandCodec:
        """The hands' encoder and decoder, frozen; both sides share them."""
        return load_codec(self.latent_bundle, self.cell.interface("left_hand").robot, "left")

    def sources(self) -> list[Path]:
        """Folders of labelled episodes: demos, then dagger rounds in order."""
        rounds = sorted((p for p in self.folder.glob("dagger_*") if p.is_dir()), key=lambda p: int(p.name.split("_")[1]))
        return [p for p in (self.folder / "demos", *rounds) if p.is_dir()]

    def files(self) -> list[Path]:
        """All record files, oldest source first."""
        return [f for source in self.sources() for f in sorted(source.glob("episodes_*.npz")) if not f.name.endswith(".part.npz")]

    def records(self) -> Records:
        """All labelled states, in the order of ``files``."""
        return Records.join([Records.load(f) for f in self.files()])

    def training_records(self, copies: int) -> tuple[Records, Records]:
        """(to learn from, with ``copies`` shifted copies of each state; kept for the curve). Copies are made once and stored."""
        learn, kept = [], []
        for file in self.files():
            records = Records.load(file)
            aside = records.group % KEPT_EVERY == KEPT
            kept.append(records.take(aside))
            learn.append(records.take(~aside))
            learn += [self._copy(file, learn[-1], copy) for copy in range(copies)]
        return Records.join(learn), Records.join(kept)

    def _copy(self, file: Path, records: Records, copy: int) -> Records:
        path = self.folder / "aug" / f"{file.parent.name}_{file.stem}_{copy}.npz"
        if not path.exists():
            relabel(records, self.cell, copy * 7919 + int(file.stem.rsplit("_", 1)[1])).save(path)
        return Records.load(path)

    def draw(self, count: int, seed: int = 1) -> None:
        """Draws pictures of random labelled states until there are ``count``; each file covers what was recorded when it was begun."""
        folder = self.folder / "pictures"
        folder.mkdir(exist_ok=True)
        for index in range(len(list(folder.glob("pictures_*.npz"))), -(-count // PICTURES_PER_FILE)):
            records = self.records()
            rng = np.random.default_rng([seed, index])
            rows = rng.integers(len(records), size=PICTURES_PER_FILE)
            drawn = draw_all(self.cell, records.qpos, rows, seed * 1000 + index, f"pictures, file {index + 1}")
            part = folder / f"{index:05d}.part.npz"
            np.savez(part, **{f.name: getattr(drawn, f.name) for f in fields(Pictures)})
            part.rename(folder / f"pictures_{index:05d}.npz")

    def pictures(self) -> Pictures:
        """All drawn pictures. Raises DexError when there are none."""
        files = sorted((self.folder / "pictures").glob("pictures_*.npz"))
        if not files:
            raise DexError(f"{self.folder} holds no pictures; run  python -m dex_learn.cli demos  first")
        parts: dict[str, list[np.ndarray]] = {f.name: [] for f in fields(Pictures)}
        for file in files:
            with np.load(file, allow_pickle=False) as data:
                for name, values in parts.items():
                    values.append(data[name])
        return Pictures(**{name: np.concatenate(values) for name, values in parts.items()})

    # -- checkpoints ----------------------------------------------------------------------------------------------------
    def save_net(self, name: str, net: torch.nn.Module, curve: list[dict[str, float]]) -> None:
        """``<name>.pt`` and, appended to what is there, ``<name>_curve.json``."""
        torch.save(net.state_dict(), self.folder / f"{name}.part")
        (self.folder / f"{name}.part").rename(self.folder / f"{name}.pt")
        path = self.folder / f"{name}_curve.json"
        before = json.loads(path.read_text()) if path.exists() else []
        path.write_text(json.dumps([*before, *curve], indent=1))

    def vision(self) -> VisionNet | None:
        """The trained image encoder in eval mode, or None."""
        state = self._state("vision")
        if state is None:
            return None
        net = VisionNet()
        net.load_state_dict(state)
        return net.eval()

    def trunk(self) -> Trunk | None:
        """The trained trunk in eval mode, or None."""
        state = self._state("trunk")
        if state is None:
            return None
        names = [f.name for f in fields(ChunkBasis)]
        trunk = Trunk(self.cell, ChunkBasis(**{name: state[name].numpy() for name in names}))
        trunk.load_state_dict(state)
        return trunk.eval()

    def policy(self) -> PushCansPolicy:
        """The whole trained net. Raises DexError when a part is missing."""
        vision, trunk = self.vision(), self.trunk()
        if vision is None or trunk is None:
            raise DexError(f"{self.folder} holds no trained policy; run  python -m dex_learn.cli train  first")
        return PushCansPolicy(vision, trunk).eval()

    def curves(self) -> dict[str, Any]:
        """The training curves by net."""
        return {p.stem[: -len("_curve")]: json.loads(p.read_text()) for p in sorted(self.folder.glob("*_curve.json"))}

    def _state(self, name: str) -> dict[str, torch.Tensor] | None:
        path = self.folder / f"{name}.pt"
        return torch.load(path, weights_only=True) if path.exists() else None
