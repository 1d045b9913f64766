# SPDX-License-Identifier: Apache-2.0
"""The folder in which a policy is made: what lies where, and how to go on after a stop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dex_core.bundle import Bundle, load_bundle
from dex_core.config import find_share, load_cell, load_robot
from dex_core.errors import DexError
from dex_learn.policy.augment import relabel
from dex_learn.policy.codes import HandCode, make_codes
from dex_learn.policy.draw import Pictures, draw_all
from dex_learn.policy.layout import SIDES
from dex_learn.policy.records import Records
from dex_learn.policy.sentences import sentences
from dex_learn.policy.stills import make_stills
from dex_learn.policy.train import Sentences
from dex_learn.policy.trunk import ChunkBasis, Trunk
from dex_learn.policy.vision import VisionNet
from dex_sim.lockstep import LockstepCell

PICTURES_PER_FILE = 250
KEPT_EVERY, KEPT = 20, 7
"""Episodes whose seed is 7 modulo 20 are never trained on: the curve's error is theirs."""


class Workshop:
    """Paths and parts of one training run. Nothing in it is needed once the bundle is written.

    Args:
        folder: where raw data and checkpoints go; gigabytes.
        cell: name of the cell it is for.
        space: folder of the latent space to train in.
    """

    def __init__(self, folder: Path, cell: str = "xarm_bimanual", space: Path | None = None) -> None:
        self.folder, self.cell_name = folder, cell
        self.space_folder = space or find_share("models", "hand_latents")
        self.phrases = sentences()
        self.words = Sentences.of(self.phrases)
        self._space: Bundle | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def space(self) -> Bundle:
        """The latent space, loaded once."""
        if self._space is None:
            self._space = load_bundle(self.space_folder)
        return self._space

    def cell(self, hand: str) -> Any:
        """The cell with this hand on both arms."""
        return load_cell(self.cell_name, left_hand=hand, right_hand=hand)

    def codes(self, kind: str, hands: Sequence[str], source: str = "xhand1") -> dict[str, HandCode]:
        """Hand codes by embodiment; of kind ``latents`` or ``common`` those of this workshop's space."""
        return make_codes(kind, hands, SIDES, self.space if kind in ("latents", "common") else None, source)

    # -- episodes -------------------------------------------------------------------------------------------------------
    def episodes(self, source: str, task: str, hand: str) -> Path:
        """Folder of the labelled episodes of one source (``demos``, ``round_1``...), task and hand."""
        return self.folder / source / f"{task}-{load_robot(hand).name}"

    def files(self, combinations: Sequence[tuple[str, str]] | None = None) -> list[Path]:
        """All record files, demonstrations first; only those of these (task, hand) pairs."""
        sources = [self.folder / "demos", *sorted(self.folder.glob("round_[0-9]*"))]
        wanted = None if combinations is None else {f"{task}-{hand}" for task, hand in combinations}
        found = [f for source in sources for f in sorted(source.glob("*/episodes_*.npz")) if not f.name.endswith(".part.npz")]
        return [f for f in found if wanted is None or f.parent.name in wanted]

    def records(self, combinations: Sequence[tuple[str, str]] | None = None, copies: int = 0) -> tuple[list[Records], list[Records]]:
        """(to learn from, kept for the curve), one entry per file, and ``copies`` shifted, relabelled ones of each to learn from.

        Copies are made once and stored. Raises DexError when there is nothing.
        """
        files = self.files(combinations)
        if not files:
            raise DexError(f"{self.folder} holds no episodes of {combinations or 'any task'}; run  dex learn policy demos  first")
        learn, kept = [], []
        for file in files:
            records = Records.load(file)
            aside = records.group % KEPT_EVERY == KEPT
            kept.append(records.take(aside))
            learn.append(records.take(~aside))
            learn += [self._copy(file, learn[-1], number) for number in range(copies)]
        return learn, kept

    def _copy(self, file: Path, records: Records, number: int) -> Records:
        path = self.folder / "aug" / f"{file.parent.parent.name}-{file.parent.name}-{file.stem}-{number}.npz"
        if not path.exists():
            relabel(records, self.cell(records.hand), number * 7919 + int(file.stem.rsplit("_", 1)[1])).save(path)
        return Records.load(path)

    # -- pictures -------------------------------------------------------------------------------------------------------
    def draw_stills(self, hands: Sequence[str], per_hand: int, seed: int = 1) -> None:
        """Draws made-up states until there are ``per_hand`` pictures of every hand; hands in turns, so that the first files show all of them."""
        for index in range(-(-per_hand // PICTURES_PER_FILE)):
            for number, hand in enumerate(hands):
                target = self.folder / "pictures" / f"stills-{index:03d}-{hand}.npz"
                if not target.exists():
                    cell, own = self.cell(hand), int(np.random.default_rng([seed, index, number]).integers(2**31))
                    stills = make_stills(LockstepCell(cell, render=False), PICTURES_PER_FILE, own)
                    draw_all(cell, stills, own, target.stem).save(target)

    def draw(self, per_file: int, seed: int = 1) -> None:
        """Draws ``per_file`` random states of every record file that has no pictures yet."""
        for file in self.files():
            target = self.folder / "pictures" / f"{file.parent.parent.name}-{file.parent.name}-{file.stem}.npz"
            if not target.exists():
                records = Records.load(file)
                rng = np.random.default_rng([seed, *target.stem.encode()])
                some = records.take(rng.integers(len(records), size=per_file))
                draw_all(self.cell(records.hand), some, int(rng.integers(2**31)), target.stem).save(target)

    def picture_files(self) -> list[Path]:
        """All picture files."""
        return sorted(p for p in (self.folder / "pictures").glob("*.npz") if not p.name.endswith(".part.npz"))

    def pictures(self) -> Pictures:
        """All drawn pictures. Raises DexError when there are none."""
        files = self.picture_files()
        if not files:
            raise DexError(f"{self.folder} holds no pictures; run  dex learn policy demos  first")
        return Pictures.load(files)

    # -- checkpoints ----------------------------------------------------------------------------------------------------
    def save_net(self, name: str, net: torch.nn.Module, curve: list[dict[str, float]]) -> None:
        """``<name>.pt`` and, appended to what is there, ``<name>_curve.json``."""
        torch.save(net.state_dict(), self.folder / f"{name}.part")
        (self.folder / f"{name}.part").rename(self.folder / f"{name}.pt")
        path = self.folder / f"{name}_curve.json"
        before = json.loads(path.read_text()) if path.exists() else []
        path.write_text(json.dumps([*before, *curve], indent=1))

    def vision(self) -> VisionNet | None:
        """The trained eyes in eval mode, or None."""
        state = self._state("vision")
        if state is None:
            return None
        net = VisionNet()
        net.load_state_dict(state)
        return net.eval()

    def trunk(self, name: str) -> Trunk | None:
        """The trained trunk of one kind of hand codes in eval mode, or None."""
        state = self._state(f"trunk_{name}")
        if state is None:
            return None
        trunk = Trunk(ChunkBasis(**{f.name: state[f.name].numpy() for f in fields(ChunkBasis)}))
        trunk.load_state_dict(state)
        return trunk.eval()

    def curves(self) -> dict[str, Any]:
        """The training curves by net."""
        return {p.stem[: -len("_curve")]: json.loads(p.read_text()) for p in sorted(self.folder.glob("*_curve.json"))}

    def _state(self, name: str) -> dict[str, torch.Tensor] | None:
        path = self.folder / f"{name}.pt"
        return torch.load(path, weights_only=True) if path.exists() else None
