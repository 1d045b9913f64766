# SPDX-License-Identifier: Apache-2.0
"""Exports a latent space as a bundle: ONNX of every encoder and decoder, golden cases, manifest, scores."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dex_core.bundle.hashes import sha256_bytes
from dex_core.bundle.manifest import Embodiment
from dex_core.bundle.write import write_bundle
from dex_core.config import read_description
from dex_learn.export import IR_VERSION, OPSET, Case, check_parity, run_torch, to_onnx
from dex_learn.latent.hand import LatentHand
from dex_learn.latent.net import LATENT_DIM, HandDecoder, HandEncoder, LatentNets
from dex_learn.latent.sampling import uniform
from dex_learn.latent.scores import DEFINITIONS
from dex_learn.latent.train import Training

NAME = "hand_latents"
PARITY = 1e-5
GOLDEN_BATCHES = (1, 5, 64)
BUDGET_MS = 20.0  # a chunk of 64 takes well under 1 ms; the rest is for a busy machine
LICENCE = "Weights of this folder: Apache-2.0, as the code that made them. Trained on random joint positions only; no third-party data.\n"


class Exported:
    """Graphs of some hands, ready to be written.

    Attributes:
        graphs, specs, golden: by graph name ``<side>_<hand>/encoder|decoder``.
        embodiments: by ``<side>_<hand>``. parity: largest difference between ONNX and torch, by graph name.
    """

    def __init__(self) -> None:
        self.graphs: dict[str, bytes] = {}
        self.specs: dict[str, Any] = {}
        self.golden: dict[str, list[Case]] = {}
        self.embodiments: dict[str, Embodiment] = {}
        self.parity: dict[str, float] = {}

    def add(self, nets: LatentNets) -> None:
        """Exports every hand of a stack. Raises DexError ``parity_failed`` when ONNX and torch differ."""
        nets = nets.to("cpu").eval()
        for row, hand in enumerate(nets.hands):
            self.embodiments[hand.name] = embodiment_of(hand)
            encoder, decoder = HandEncoder(nets, row).eval(), HandDecoder(nets, row).eval()
            poses = _poses(encoder.nets)
            codes = [_nudged(encoder, q) for q in poses]
            self._put(f"{hand.name}/encoder", encoder, "q", "z", poses, hand)
            self._put(f"{hand.name}/decoder", decoder, "z", "q", codes, hand)

    def _put(self, key: str, module: nn.Module, given: str, out: str, values: Sequence[NDArray], hand: LatentHand) -> None:
        cases: list[Case] = [({given: value}, run_torch(module, {given: value}, [out])) for value in values]
        graph = to_onnx(module, {given: torch.from_numpy(values[1])}, [out])
        self.parity[key] = check_parity(graph, cases, PARITY, key)
        names = list(hand.joints)
        joints = {"name": "q", "dtype": "float32", "shape": ["B", len(names)], "space": "joint_position", "unit": "rad", "names": names}
        latent = {"name": "z", "dtype": "float32", "shape": ["B", LATENT_DIM], "space": "latent"}
        tensors = {"q": joints, "z": latent}
        self.graphs[key], self.golden[key] = graph, cases
        self.specs[key] = {
            "inputs": [tensors[given]], "outputs": [tensors[out]], "dynamic": {"B": [1, 4096]}, "golden": {"atol": PARITY, "rtol": 1e-4},
        }

    def write(self, folder: Path, manifest: dict[str, Any], scores: dict[str, Any]) -> str:
        """Writes the bundle; returns its hash."""
        return write_bundle(
            folder, manifest, graphs=self.graphs, golden=self.golden, embodiments=self.embodiments, scores=scores, licence_text=LICENCE
        )


def _poses(nets: LatentNets) -> list[NDArray]:
    generator = torch.Generator().manual_seed(7)
    return [nets.joints(uniform(nets, batch, generator))[0].numpy() for batch in GOLDEN_BATCHES]


def _nudged(encoder: HandEncoder, q: NDArray) -> NDArray:
    """Latents near those of postures: a decoder is also asked what no posture says."""
    with torch.no_grad():
        z = encoder(torch.from_numpy(q)).numpy()
    return z + np.random.default_rng(7).normal(0.0, 0.2, z.shape).astype(np.float32)


def embodiment_of(hand: LatentHand) -> Embodiment:
    """Joints and limits the graphs are made for, and the hash of the URDF behind them."""
    limits = [hand.robot.limits[j] for j in hand.joints]
    return Embodiment(
        robot=hand.robot.name, side=hand.side, joints=hand.joints, lower_rad=tuple(m.lower_rad for m in limits),
        upper_rad=tuple(m.upper_rad for m in limits), urdf=hand.robot.urdf.format(side=hand.side),
        urdf_sha256=sha256_bytes(read_description(hand.robot.urdf, hand.side).encode("utf-8")),
    )


def manifest_of(exported: Exported, training: Training, residual_q99: float, notes: str, code: str) -> dict[str, Any]:
    """The manifest as plain data; ``code`` as ``code_revision`` tells it."""
    return {
        "name": NAME, "version": "0.1.0", "kind": "latent_space", "created": datetime.date.today().isoformat(),
        "licence": {"weights": "Apache-2.0", "commercial_use": True},
        "provenance": {
            "trained_here": True, "data": "random joint positions inside the limits: uniform, near pinches, at the limits",
            "steps": training.steps, "seed": training.seed, "code": code,
            "notes": f"{notes}; " + ", ".join(f"{k} {v}" for k, v in asdict(training).items()),
        },
        "runtime": {"opset": OPSET, "ir_version": IR_VERSION},
        "latency": {"budget_ms": BUDGET_MS, "warmup_runs": 10},
        "embodiments": list(exported.embodiments), "graphs": exported.specs,
        "spaces": {"latent": {"dim": LATENT_DIM, "residual_q99": residual_q99, "unit": "frame"}},
    }


def described(scores: dict[str, Any]) -> dict[str, Any]:
    """Scores with their definitions."""
    return {"definitions": DEFINITIONS, "scores": scores}
