# SPDX-License-Identifier: Apache-2.0
"""Exports the policy and writes its bundle (``xl_vla_tabletop``): graph, golden cases, statistics, anchors, training record, scores."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dex_core import text
from dex_core.bundle import Bundle, Statistic, load_bundle, write_bundle
from dex_core.chunks.rotation import rotation_exp
from dex_core.config import CellConfig
from dex_core.config.strict import to_plain
from dex_core.decode import POSE_COLUMNS, pose_columns, poses_from_columns, tool_pose_columns
from dex_learn.export import IR_VERSION, OPSET, Case, check_parity, run_torch, to_onnx
from dex_learn.policy.codes import HandCode
from dex_learn.policy.draw import Pictures
from dex_learn.policy.layout import DT_S, IMAGE, SIDES, STEPS
from dex_learn.policy.records import Records
from dex_learn.policy.train import Sentences, States
from dex_learn.policy.trunk import TabletopPolicy

NAME = "xl_vla_tabletop"
PARITY = 1e-4
TILT_RAD = 0.5
OFFSET = 1.0
MARGIN_M = 0.1
BUDGET_MS = 100.0
LICENCE = "Weights of this folder: Apache-2.0, as the code that made them. Trained in simulation on the scripted experts; no third-party data.\n"


@dataclass(frozen=True)
class Training:
    """The training record that goes into the manifest; ``code`` as ``code_revision`` tells it."""

    data: str
    steps: int
    seed: int
    code: str
    notes: str


def export_graph(policy: TabletopPolicy, cases: Sequence[Case]) -> tuple[bytes, float]:
    """ONNX of the policy and its largest difference from torch on the cases. Raises DexError ``parity_failed``."""
    example = {k: np.repeat(v, 2, axis=0) if len(v) == 1 else v for k, v in cases[0][0].items()}
    graph = to_onnx(policy.eval(), {k: torch.from_numpy(v) for k, v in example.items()}, ["chunk"])
    return graph, check_parity(graph, cases, PARITY, "policy")


def golden_cases(policy: TabletopPolicy, pictures: Pictures, states: States, phrases: tuple[tuple[str, ...], ...]) -> list[Case]:
    """Cases of batch 1 and 2: drawn pictures, and states of the training (not of the same instants, which the graph does not mind); in the
    last the hands are tilted, as they never were in training: pointing straight down, a rotation is its own transpose.
    """
    words, generator = Sentences.of(phrases), torch.Generator().manual_seed(3)
    cases, first = [], 0
    for batch, tilt_rad in ((1, 0.0), (2, 0.0), (1, TILT_RAD)):
        rows = slice(first, first + batch)
        c, s = states.tools[rows, :, 3:4], states.tools[rows, :, 4:]
        poses = torch.cat([states.tools[rows, :, :3], c, s, 0.0 * c, s, -c, 0.0 * c], dim=2).reshape(batch, 18)
        hands = states.previous[rows][:, :, torch.arange(STEPS) * states.previous.shape[2] // STEPS]  # (B, 2, 64, D)
        inputs = {
            "image": pictures.image[rows], "tokens": words.draw(states.task[rows], generator).numpy(), "poses": tilted(poses.numpy(), tilt_rad),
            "previous_latents": np.ascontiguousarray(hands.numpy()),
        }
        cases.append((inputs, run_torch(policy, inputs, ["chunk"])))
        first += batch
    return cases


def tilted(columns: np.ndarray, angle_rad: float) -> np.ndarray:
    """(..., 18) columns of two wrist poses, both turned about the world's x axis; positions stay."""
    poses = poses_from_columns(columns.reshape(*columns.shape[:-1], 2, 9))
    turn = rotation_exp(np.array([angle_rad, 0.0, 0.0]))
    poses[..., :3, :3] = turn @ poses[..., :3, :3]
    return pose_columns(poses).reshape(columns.shape).astype(np.float32)


def write_policy(
    folder: Path, policy: TabletopPolicy, *, cell: CellConfig, space_folder: Path, hands: Sequence[str], codes: Mapping[str, HandCode],
    parts: Sequence[Records], states: States, pictures: Pictures, phrases: tuple[tuple[str, ...], ...], training: Training,
    scores: Mapping[str, Any] | None = None,
) -> str:
    """Writes the bundle and returns its hash.

    Args:
        folder: e.g. ``models/xl_vla_tabletop``.
        policy: the trained net.
        cell: for the camera.
        space_folder: the latent space it was trained in; the graphs of ``hands`` are pinned.
        hands: names of the hands it was trained with.
        codes: latent codes by embodiment, for statistics.
        parts, states: the training states, for statistics and golden cases.
        pictures: for the golden cases.
        phrases: sentences per task.
        training: record for the manifest.
        scores: what was measured.

    Raises:
        DexError: ``parity_failed``, ONNX and torch differ.
    """
    cases = golden_cases(policy, pictures, states, phrases)
    graph, parity = export_graph(policy, cases)
    manifest = _manifest(cell, load_bundle(space_folder), hands, phrases, training)
    return write_bundle(
        folder, manifest, graphs={"policy": graph}, golden={"policy": cases}, embodiments={}, stats=_statistics(parts, states, codes),
        scores={**(scores or {}), "parity": parity}, licence_text=LICENCE,
    )


def _statistics(parts: Sequence[Records], states: States, codes: Mapping[str, HandCode], spread: int = 2000) -> dict[str, Statistic]:
    """Ranges of inputs and outputs; poses widened by 0.1 m, so only what is far off is refused at run time."""
    out: dict[str, Statistic] = {}
    for i, side in enumerate(SIDES):
        measured = tool_pose_columns(np.concatenate([part.tools[:, i] for part in parts]))
        label = tool_pose_columns(np.concatenate([part.paths[:, ::8, i].reshape(-1, 4) for part in parts]))
        margin = np.array([MARGIN_M] * 3 + [0.0] * 6)
        edges = np.stack([label.min(axis=0) - margin, label.max(axis=0) + margin])
        out[f"poses/{side}_arm"] = Statistic.of(np.concatenate([measured, edges]))
        out[f"chunk/{side}_arm"] = Statistic.of(np.concatenate([label, edges]))
        seen = states.codes[:, i].reshape(-1, states.codes.shape[-1]).numpy()[:: max(1, len(states) // 4000)]
        z = np.concatenate([seen, *(_spread(code, spread) for name, code in codes.items() if name.startswith(side))])
        out[f"chunk/{side}_hand"] = Statistic.of(z)
        out[f"previous_latents/{side}_hand"] = Statistic.of(z)
    return out


def _spread(code: HandCode, count: int) -> np.ndarray:
    """(count, D) codes of joints all over a hand's limits, as the decoder clips them."""
    rng = np.random.default_rng(0)
    return code.encode(code.decode(rng.normal(size=(count, code.dim))))


def _manifest(cell: CellConfig, space: Bundle, hands: Sequence[str], phrases: tuple[tuple[str, ...], ...], training: Training) -> dict[str, Any]:
    names = [f"{side}_{hand}" for hand in hands for side in SIDES]
    anchors = {f"{name}/{part}": space.graph_sha256(f"{name}/{part}") for name in names for part in ("encoder", "decoder")}
    dim = space.manifest.spaces.latent.dim if space.manifest.spaces.latent else 0
    pose = {"space": "wrist_pose", "frame": "world", "names": list(POSE_COLUMNS)}
    arms = [{"at": [9 * i, 9 * i + 9], "interface": f"{side}_arm", **pose} for i, side in enumerate(SIDES)]
    latents = [
        {"at": [18 + i * dim, 18 + (i + 1) * dim], "interface": f"{side}_hand", "space": "latent", "anchor": f"{side}_{hands[0]}/decoder"}
        for i, side in enumerate(SIDES)
    ]
    camera = next(iter(cell.cameras))
    width, height = cell.cameras[camera].output_wh
    inputs = [
        {"name": IMAGE.input, "dtype": IMAGE.dtype, "shape": ["B", *IMAGE.tail]}, {"name": "tokens", "dtype": "int64", "shape": ["B", text.LENGTH]},
        {"name": "poses", "dtype": "float32", "shape": ["B", 18], "slices": arms},
        {
            "name": "previous_latents", "dtype": "float32", "shape": ["B", 2, STEPS, dim], "space": "latent",
            "interfaces": [f"{side}_hand" for side in SIDES],
        },
    ]
    chunk = {"name": "chunk", "dtype": "float32", "shape": ["B", STEPS, 18 + 2 * dim], "slices": arms + latents}
    return {
        "name": NAME, "version": "0.1.0", "kind": "chunk_policy", "created": datetime.date.today().isoformat(),
        "licence": {"weights": "Apache-2.0", "commercial_use": True},
        "provenance": {
            "trained_here": True, "data": training.data, "steps": training.steps, "seed": training.seed, "code": training.code,
            "notes": training.notes,
        },
        "requires": [{"bundle": space.manifest.name, "kind": "latent_space", "anchors": anchors}],
        "runtime": {"opset": OPSET, "ir_version": IR_VERSION},
        "timing": {"rate_hz": 1.0 / DT_S, "dt": DT_S, "chunk": STEPS, "first_action_offset": OFFSET, "observation_history": 1},
        "latency": {"budget_ms": BUDGET_MS, "warmup_runs": 10},
        "embodiments": [],
        "graphs": {"policy": {"inputs": inputs, "outputs": [chunk], "dynamic": {"B": [1, 16]}, "golden": {"atol": PARITY, "rtol": 1e-4}}},
        "image": to_plain(dataclasses.replace(IMAGE, source_height=height, source_width=width, camera=camera)),
        "instruction": {"input": "tokens", "trained": [s for group in phrases for s in group], "min_similarity": 0.3},
    }
