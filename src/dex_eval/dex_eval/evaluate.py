# SPDX-License-Identifier: Apache-2.0
"""`dex eval`: a recording and a bundle in, one JSON object of numbers out."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dex_core.chunks import Seam
from dex_core.config import CellConfig
from dex_core.errors import DexError
from dex_core.limits.base import JointLimits
from dex_eval import metrics
from dex_eval.bag import BagError, Recording
from dex_eval.episode import Episode, load_episode
from dex_eval.replay import Predicted, instants_of, replay
from dex_policy.loading import open_policy


@dataclass(frozen=True)
class Evaluation:
    """The numbers, and what they were made from (for the picture)."""

    result: dict[str, Any]
    episode: Episode
    predictions: list[Predicted]


def evaluate(bag: Path, bundle: str = "", cell: CellConfig | None = None, instruction: str = "", partial: bool = False) -> Evaluation:
    """Replays a recording through a model.

    Args:
        bag: recording folder, run folder or .mcap file.
        bundle: model to score; empty: the one the recorded cell used.
        cell: None takes the recorded one.
        instruction: replaces the recorded instruction.
        partial: accept a recording whose end was cut off.

    Raises:
        BagError: something is wrong with the recording. BundleError, ConfigError: with the model.
    """
    started = time.perf_counter()
    recording = Recording(bag)
    if recording.truncated and not partial:
        raise BagError(
            f"{recording.path} was cut off after {recording.duration_s:.1f} s; evaluate what is there with --partial, "
            "or repair it: dex record BAG --repair NEW",
            code="bag_truncated",
        )
    episode = load_episode(recording, cell)
    used = dataclasses.replace(episode.cell, policy=dataclasses.replace(episode.cell.policy, bundle=bundle)) if bundle else episode.cell
    instants = instants_of(episode, instruction)
    loading = time.perf_counter()
    policy, _ = open_policy(used)
    load_s = time.perf_counter() - loading
    try:
        if why := policy.health():
            raise DexError(why, code="policy_lost")
        predictions = list(replay(episode, policy, instants))
    finally:
        policy.close()
    if not predictions:
        raise BagError(f"no picture of the {len(instants)} instants is in {recording.path}", code="topic_missing")
    wall_s = time.perf_counter() - started
    result = {
        "bag": str(recording.path), "cell": episode.cell.name, "bundle": policy.spec.name, "bundle_hash": policy.spec.bundle_hash,
        "same_model": any(chunk.bundle_hash == policy.spec.bundle_hash for chunk in episode.chunks), "partial": recording.truncated,
        "duration_s": recording.duration_s, "wall_s": wall_s, "load_model_s": load_s, "speed_x_real_time": recording.duration_s / wall_s,
        "speed_without_loading": recording.duration_s / max(wall_s - load_s, 1e-9),
        **_numbers(episode, predictions, len(instants)),
    }
    return Evaluation(result, episode, predictions)


def _numbers(episode: Episode, predictions: list[Predicted], instants: int) -> dict[str, Any]:
    horizon_s = episode.cell.policy.replan_period_s
    commanded = metrics.joint_errors(predictions, episode.commanded, horizon_s)
    measured = metrics.joint_errors(predictions, episode.measured, horizon_s)
    latency = metrics.recorded_latency(episode)
    lead_ms = latency["observed_to_first_command"]["p50"]
    found = metrics.seams(predictions, (lead_ms or 100.0) * 1e-3)
    accepted = [report for report in episode.chunk_reports if report.accepted]
    refused: dict[str, int] = {}
    for prediction in predictions:
        if prediction.refused:
            refused[prediction.refused] = refused.get(prediction.refused, 0) + 1
    return {
        "instants": instants,
        "replayed": len(predictions),
        "refused": refused,
        "observations": metrics.same_observations(predictions),
        "replay_inference_ms": metrics.summary([p.inference_ms for p in predictions]),
        "replay_decode_ms": metrics.summary([p.decode_ms for p in predictions]),
        "largest_difference_from_recorded_rad": metrics.recorded_difference(episode, predictions),
        "joint_error": {name: {"commanded": commanded[name], "measured": measured[name]} for name in episode.cell.joint_names},
        "mean_error_rad": {
            f"{kind}_{what}": metrics.mean_over(errors, kind)
            for kind in ("arm", "hand")
            for what, errors in (("commanded", commanded), ("measured", measured))
        },
        "latency_ms": latency,
        "seams": {
            "predicted": {key: metrics.summary([seam[key] for seam in found]) for key in Seam._fields},
            "recorded": metrics.recorded_seams(episode),
            "commanded": metrics.recorded_seams(episode, commanded=True),
        },
        "limit_hits": {
            "predicted": metrics.limit_hits(predictions, JointLimits.of_cell(episode.cell)),
            "recorded": metrics.recorded_limit_hits(episode),
        },
        "chunks": {"accepted": len(accepted), "rejected": len(episode.chunk_reports) - len(accepted)},
        "task": {"success": bool(episode.tasks[-1].success), "progress": float(episode.tasks[-1].progress)} if episode.tasks else None,
    }
