# SPDX-License-Identifier: Apache-2.0
"""Exports the policy and writes its bundle (``push_cans``): graph, golden cases, statistics, anchors, training record, scores."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dex_core import text
from dex_core.bundle import Embodiment, Statistic, load_bundle, write_bundle
from dex_core.config import CellConfig
from dex_learn.draw import Pictures
from dex_learn.export import IR_VERSION, OPSET, Case, check_parity, code_revision, run_torch, to_onnx
from dex_learn.latents import LATENT_DIM, HandCodec
from dex_learn.policy_net import STEPS, PushCansPolicy
from dex_learn.records import PREVIOUS_STEPS, Records
from dex_learn.train_trunk import Sentences

NAME = "push_cans"
PARITY = 1e-4
DT_S, OFFSET = 0.05, 1.0
MARGIN_RAD = 0.15
BUDGET_MS = 100.0
LICENCE = "Weights of this folder: Apache-2.0, as the code that made them. Trained in simulation on the scripted expert; no third-party data.\n"
SIDES = ("left", "right")


@dataclass(frozen=True)
class Training:
    """The training record that goes into the manifest."""

    data: str
    steps: int
    seed: int
    notes: str


def write_policy(
    folder: Path, policy: PushCansPolicy, *, cell: CellConfig, latent_bundle: Path, codec: HandCodec, records: Records, pictures: Pictures,
    phrases: tuple[tuple[str, ...], ...], training: Training, scores: Mapping[str, Any] | None = None,
) -> str:
    """Writes the bundle and returns its hash.

    Args:
        folder: e.g. ``models/push_cans``.
        policy: the trained net.
        cell: for joint names and limits.
        latent_bundle: the latent space it was trained in; its decoders are pinned.
        codec: that space's encoder, for statistics.
        records: the training states, for statistics.
        pictures: for the golden cases; rows refer to ``records``.
        phrases: sentences per task.
        training: record for the manifest.
        scores: what was measured.

    Raises:
        DexError: ``parity_failed``, ONNX and torch differ.
    """
    cases = golden_cases(policy, records, pictures, codec, phrases)
    graph = to_onnx(policy.eval(), {k: torch.from_numpy(v) for k, v in cases[1][0].items()}, ["chunk"])
    parity = check_parity(graph, cases, PARITY, "policy")
    embodiments = {}
    for side in SIDES:
        arm = cell.interface(f"{side}_arm")
        embodiments[f"{side}_{arm.robot.name}"] = Embodiment.of(arm.robot.name, side, arm.robot.actuated, arm.limits)
    space = load_bundle(latent_bundle)
    anchors = {f"{s}_{cell.interface(f'{s}_hand').robot.name}/{part}": "" for s in SIDES for part in ("encoder", "decoder")}
    anchors = {name: space.graph_sha256(name) for name in anchors}
    manifest = _manifest(cell, tuple(embodiments), space.manifest.name, anchors, phrases, training)
    return write_bundle(
        folder, manifest, graphs={"policy": graph}, golden={"policy": cases}, embodiments=embodiments, stats=_statistics(records, codec),
        scores={**(scores or {}), "parity": parity}, licence_text=LICENCE,
    )


def golden_cases(policy: PushCansPolicy, records: Records, pictures: Pictures, codec: HandCodec, phrases: tuple[tuple[str, ...], ...]) -> list[Case]:
    """Two cases of batch 1 and 2 from drawn training states, as torch computes them."""
    words, generator = Sentences.of(phrases), torch.Generator().manual_seed(3)
    cases, first = [], 0
    for batch in (1, 2):
        rows = pictures.row[first : first + batch]
        steps = np.repeat(np.arange(len(PREVIOUS_STEPS)), STEPS // len(PREVIOUS_STEPS))
        hands = records.previous[rows][:, steps].reshape(-1, 6).astype(np.float32)
        with torch.no_grad():
            latents = codec.encoder(torch.from_numpy(hands)).reshape(batch, STEPS, 2, LATENT_DIM).permute(0, 2, 1, 3)
        inputs = {
            "image": pictures.image[first : first + batch], "tokens": words.draw(torch.from_numpy(records.task[rows]), generator).numpy(),
            "joints": records.joints[rows].astype(np.float32), "previous_latents": np.ascontiguousarray(latents.numpy()),
        }
        cases.append((inputs, run_torch(policy, inputs, ["chunk"])))
        first += batch
    return cases


def _statistics(records: Records, codec: HandCodec) -> dict[str, Statistic]:
    """Ranges of inputs and outputs; the arms' labels widened by 0.15 rad, so only what is far off is refused at run time."""
    out = {}
    for i, side in enumerate(SIDES):
        columns = slice(7 * i, 7 * i + 7)
        joints, label = records.joints[:, columns], records.arms[:, ::8, columns].reshape(-1, 7)
        edges = [label.min(axis=0) - MARGIN_RAD, label.max(axis=0) + MARGIN_RAD]
        out[f"joints/{side}_arm"] = Statistic.of(np.concatenate([joints, *(e[None] for e in edges)]), "zscore")
        out[f"chunk/{side}_arm"] = Statistic.of(np.concatenate([label, *(e[None] for e in edges)]))
        hands = np.concatenate([records.hands[:, :, 6 * i : 6 * i + 6].reshape(-1, 6), records.fingers[:, 6 * i : 6 * i + 6]])
        low, high = codec.encoder.low.numpy(), (codec.encoder.low + codec.encoder.span).numpy()
        spread = np.random.default_rng(i).uniform(low, high, (5000, 6))
        with torch.no_grad():
            z = codec.encoder(torch.from_numpy(np.concatenate([hands, spread]).astype(np.float32))).numpy()
        out[f"chunk/{side}_hand"] = Statistic.of(z)
        out[f"previous_latents/{side}_hand"] = Statistic.of(z)
    return out


def _manifest(
    cell: CellConfig, embodiments: tuple[str, ...], space: str, anchors: dict[str, str], phrases: tuple[tuple[str, ...], ...], training: Training
) -> dict[str, Any]:
    joints, start = [], 0
    for side in SIDES:
        names = list(cell.interface(f"{side}_arm").robot.actuated)
        at = [start, start + len(names)]
        joints.append({"at": at, "interface": f"{side}_arm", "space": "joint_position", "unit": "rad", "names": names})
        start += len(names)
    latents = []
    for k, side in enumerate(SIDES):
        anchor = f"{side}_{cell.interface(f'{side}_hand').robot.name}/decoder"
        at = [start + k * LATENT_DIM, start + (k + 1) * LATENT_DIM]
        latents.append({"at": at, "interface": f"{side}_hand", "space": "latent", "anchor": anchor})
    size = len(SIDES) * LATENT_DIM + start
    camera = next(iter(cell.cameras))
    width, height = cell.cameras[camera].output_wh
    previous = {
        "name": "previous_latents", "dtype": "float32", "shape": ["B", 2, STEPS, LATENT_DIM], "space": "latent",
        "interfaces": [f"{side}_hand" for side in SIDES],
    }
    inputs = [
        {"name": "image", "dtype": "uint8", "shape": ["B", 224, 224, 3]}, {"name": "tokens", "dtype": "int64", "shape": ["B", text.LENGTH]},
        {"name": "joints", "dtype": "float32", "shape": ["B", start], "slices": joints}, previous,
    ]
    chunk = {"name": "chunk", "dtype": "float32", "shape": ["B", STEPS, size], "slices": joints + latents}
    return {
        "name": NAME, "version": "0.1.0", "kind": "chunk_policy", "created": datetime.date.today().isoformat(),
        "licence": {"weights": "Apache-2.0", "commercial_use": True},
        "provenance": {
            "trained_here": True, "data": training.data, "steps": training.steps, "seed": training.seed, "code": code_revision(),
            "notes": training.notes,
        },
        "requires": [{"bundle": space, "kind": "latent_space", "anchors": anchors}],
        "runtime": {"opset": OPSET, "ir_version": IR_VERSION},
        "timing": {"rate_hz": 1.0 / DT_S, "dt": DT_S, "chunk": STEPS, "first_action_offset": OFFSET, "observation_history": 1},
        "latency": {"budget_ms": BUDGET_MS, "warmup_runs": 10},
        "embodiments": list(embodiments),
        "graphs": {"policy": {"inputs": inputs, "outputs": [chunk], "dynamic": {"B": [1, 16]}, "golden": {"atol": PARITY, "rtol": 1e-4}}},
        "image": {"input": "image", "height": 224, "width": 224, "source_height": height, "source_width": width, "camera": camera},
        "instruction": {"input": "tokens", "trained": [s for group in phrases for s in group], "min_similarity": 0.3},
    }


__all__ = ["NAME", "Training", "golden_cases", "write_policy"]
