# SPDX-License-Identifier: Apache-2.0
"""Trains, scores, exports and writes the latent space of a cell's hands (bundle ``xl_vla_latent``)."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dex_core.bundle.hashes import sha256_bytes
from dex_core.bundle.manifest import Embodiment
from dex_core.bundle.write import write_bundle
from dex_core.config import CellConfig, Interface
from dex_description import interface_urdf
from dex_learn.export import IR_VERSION, OPSET, Case, check_parity, code_revision, run_torch, to_onnx
from dex_learn.fingertips import fingertips_m
from dex_learn.latents import LATENT_DIM, HandCodec, LatentTraining, sample_joints, train_codec

NAME = "xl_vla_latent"
PARITY = 1e-5
GOLDEN_BATCHES = (1, 5, 64)
BUDGET_MS = 20.0  # a chunk of 64 takes 0.1 ms; the rest is for a busy machine
LICENCE = "Weights of this folder: Apache-2.0, as the code that made them. Trained on random joint positions only; no third-party data.\n"


def make_latent_bundle(cell: CellConfig, folder: Path, training: LatentTraining) -> dict[str, Any]:
    """Trains one pair per hand model, exports it for both sides and writes the bundle.

    Left and right hands of one model share their weights: their joints have the same names, limits and senses, so one latent
    means the same hand pose on either side.

    Returns:
        The scores that are also written to ``scores.json``.
    """
    hands = [i for i in cell.interfaces.values() if i.robot.kind == "hand"]
    codecs: dict[str, HandCodec] = {}
    graphs: dict[str, bytes] = {}
    specs: dict[str, Any] = {}
    golden: dict[str, list[Case]] = {}
    scores: dict[str, Any] = {}
    for hand in hands:
        if hand.robot.name not in codecs:
            codecs[hand.robot.name], _ = train_codec(hand.robot, training)
        codec = codecs[hand.robot.name]
        name = f"{hand.side}_{hand.robot.name}"
        scores[name] = score_codec(codec, hand)
        for part in ("encoder", "decoder"):
            key = f"{name}/{part}"
            graphs[key], golden[key], specs[key] = _export_part(codec, part)
            scores[name][f"{part}_parity"] = check_parity(graphs[key], golden[key], PARITY, key)
    embodiments = {f"{h.side}_{h.robot.name}": _embodiment(h) for h in hands}
    manifest = _manifest(tuple(embodiments), specs, scores, training)
    write_bundle(folder, manifest, graphs=graphs, golden=golden, embodiments=embodiments, scores=_described(scores), licence_text=LICENCE)
    return scores


def score_codec(codec: HandCodec, hand: Interface, count: int = 2000, seed: int = 20_000) -> dict[str, float]:
    """Reconstruction of unseen uniform poses: joints [rad], fingertips [mm], smoothness, and the guard's residual quantile."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        q = sample_joints(codec, count, generator, edge_share=0.0)
        z = codec.encoder(q)
        back = codec.decoder(z)
        nudged = codec.decoder(z + 0.05 * torch.randn(z.shape, generator=generator))
        residual = (codec.encoder(back) - z).norm(dim=1)
    tips, tips_back = (fingertips_m(hand, x.numpy().astype(np.float64)) for x in (q, back))
    return {
        "joint_rmse_rad": float((back - q).square().mean().sqrt()),
        "joint_worst_rad": float((back - q).abs().max()),
        "tip_rmse_mm": 1e3 * float(np.sqrt(np.mean((tips_back - tips) ** 2))),
        "tip_mean_distance_mm": 1e3 * float(np.linalg.norm(tips_back - tips, axis=-1).mean()),
        "continuity_joint_rad": float((nudged - back).norm(dim=1).mean()),
        "latent_std": float(z.std(dim=0).mean()),
        "residual_q99": float(residual.quantile(0.99)),
    }


def _export_part(codec: HandCodec, part: str) -> tuple[bytes, list[Case], dict[str, Any]]:
    module = codec.encoder if part == "encoder" else codec.decoder
    key, out = ("q", "z") if part == "encoder" else ("z", "q")
    generator = torch.Generator().manual_seed(7)
    cases: list[Case] = []
    for batch in GOLDEN_BATCHES:
        q = sample_joints(codec, batch, generator, edge_share=0.5)
        with torch.no_grad():
            value = q if part == "encoder" else codec.encoder(q) + 0.3 * torch.randn((batch, LATENT_DIM), generator=generator)
        inputs: dict[str, NDArray] = {key: value.numpy()}
        cases.append((inputs, run_torch(module, inputs, [out])))
    graph = to_onnx(module, {key: torch.from_numpy(cases[1][0][key])}, [out])
    shape = ["B", len(codec.names)]
    joints = {"name": "q", "dtype": "float32", "shape": shape, "space": "joint_position", "unit": "rad", "names": list(codec.names)}
    latent = {"name": "z", "dtype": "float32", "shape": ["B", LATENT_DIM], "space": "latent"}
    tensors = {"q": joints, "z": latent}
    spec = {"inputs": [tensors[key]], "outputs": [tensors[out]], "dynamic": {"B": [1, 4096]}, "golden": {"atol": PARITY, "rtol": 1e-4}}
    return graph, cases, spec


def _embodiment(hand: Interface) -> Embodiment:
    limits = hand.limits
    return Embodiment(
        robot=hand.robot.name, side=hand.side, joints=tuple(hand.robot.actuated), lower_rad=tuple(m.lower_rad for m in limits),
        upper_rad=tuple(m.upper_rad for m in limits), urdf=hand.robot.urdf.format(side=hand.side),
        urdf_sha256=sha256_bytes(interface_urdf(hand).encode("utf-8")),
    )


def _manifest(names: tuple[str, ...], specs: dict[str, Any], scores: dict[str, Any], training: LatentTraining) -> dict[str, Any]:
    return {
        "name": NAME, "version": "0.1.0", "kind": "latent_space", "created": datetime.date.today().isoformat(),
        "licence": {"weights": "Apache-2.0", "commercial_use": True},
        "provenance": {
            "trained_here": True, "data": "uniform random joint positions inside the limits; left and right share weights",
            "steps": training.steps, "seed": training.seed, "code": code_revision(),
            "notes": "python -m dex_learn.cli latents; " + ", ".join(f"{k} {v}" for k, v in asdict(training).items()),
        },
        "runtime": {"opset": OPSET, "ir_version": IR_VERSION},
        "latency": {"budget_ms": BUDGET_MS, "warmup_runs": 10},
        "embodiments": list(names), "graphs": specs,
        "spaces": {"latent": {"dim": LATENT_DIM, "residual_q99": max(s["residual_q99"] for s in scores.values())}},
    }


def _described(scores: dict[str, Any]) -> dict[str, Any]:
    words = {
        "joint_rmse_rad": "root mean square over 2000 unseen uniform poses and all joints",
        "tip_rmse_mm": "root mean square over poses, tips and the 3 coordinates",
        "continuity_joint_rad": "mean of |q(z + n) - q(z)|, n ~ N(0, 0.05^2)", "residual_q99": "99 % quantile of |E(D(z)) - z|",
        "encoder_parity": "largest difference between ONNX and torch on the golden cases",
    }
    return {"definitions": words, "scores": scores}
