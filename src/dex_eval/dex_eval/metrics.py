# SPDX-License-Identifier: Apache-2.0
"""Numbers about a replay: joint errors, seams, limits, and the latencies that were recorded."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from dex_core.chunks import Seam, Spline, seam_between
from dex_core.latency import STAGES, LatencyBudget, total_ms
from dex_core.limits.base import JointLimits
from dex_core.policy import differences
from dex_core.types import Array
from dex_eval.episode import Episode, Track
from dex_eval.replay import Predicted
from dex_ros.convert import timing_from_msg

POSITION_TOLERANCE_RAD = 1e-6
LOCAL = tuple(stage for stage in STAGES if stage not in ("request_sent", "queued", "received"))
"""Stages that every chunk goes through, wherever its policy runs."""


def summary(values: Any, budget: float | None = None) -> dict[str, float | int | None]:
    """{count, p50, p95, p99, max} of the finite values, with a budget also {over_budget}, the share above it; None where there are none."""
    array = np.asarray(values, dtype=float).ravel()
    finite = array[np.isfinite(array)]
    share = {} if budget is None else {"over_budget": float((finite > budget).mean()) if len(finite) else None}
    if not len(finite):
        return {"count": 0, "p50": None, "p95": None, "p99": None, "max": None, **share}
    p50, p95, p99 = np.percentile(finite, [50, 95, 99]).tolist()
    return {"count": len(finite), "p50": p50, "p95": p95, "p99": p99, "max": float(finite.max()), **share}


def executed(predictions: list[Predicted], horizon_s: float) -> list[tuple[Predicted, Array]]:
    """Each prediction with the steps (k,) that lie before the next instant of its goal, at most ``horizon_s`` ahead."""
    found = []
    good = [p for p in predictions if len(p.position_rad)]
    for here, after in zip(good, [*good[1:], None], strict=False):
        end_ns = here.instant.stamp_ns + round(horizon_s * 1e9)
        if after is not None and after.instant.goal_id == here.instant.goal_id:
            end_ns = min(end_ns, after.start_ns)
        stamps = here.start_ns + np.round(np.arange(len(here.position_rad)) * here.dt_s * 1e9).astype(np.int64)
        found.append((here, np.flatnonzero(stamps < max(end_ns, here.start_ns + 1))))
    return found


def joint_errors(predictions: list[Predicted], track: Track, horizon_s: float) -> dict[str, dict[str, float | None]]:
    """Per joint: mean and largest distance between the executed part of every predicted chunk and a track [rad]."""
    parts = []
    for prediction, steps in executed(predictions, horizon_s):
        stamps = prediction.start_ns + np.round(steps * prediction.dt_s * 1e9).astype(np.int64)
        parts.append(np.abs(prediction.position_rad[steps] - track.at(stamps)))  # (k, n)
    errors = np.concatenate(parts) if parts else np.zeros((0, len(track.names)))
    out: dict[str, dict[str, float | None]] = {}
    for j, name in enumerate(track.names):
        column = errors[:, j][np.isfinite(errors[:, j])] if len(errors) else errors[:, 0:0].ravel()
        out[name] = {"mean_rad": float(column.mean()) if len(column) else None, "max_rad": float(column.max()) if len(column) else None}
    return out


def mean_over(errors: dict[str, dict[str, float | None]], kind: str) -> float | None:
    """Mean error over the joints of one kind, arm or hand [rad]."""
    values = [e["mean_rad"] for name, e in errors.items() if _kind(name) == kind and e["mean_rad"] is not None]
    return float(np.mean(values)) if values else None


def _kind(joint: str) -> str:
    return "arm" if joint.split("_", 1)[1].startswith("joint") else "hand"


def seams(predictions: list[Predicted], lead_s: float) -> list[dict[str, float]]:
    """What would jump between neighbouring chunks of a goal if one simply replaced the other, ``lead_s`` after its stamp."""
    found = []
    good = [p for p in predictions if len(p.position_rad)]
    for old, new in zip(good, good[1:], strict=False):
        if old.instant.goal_id != new.instant.goal_id:
            continue
        at_ns = new.instant.stamp_ns + round(lead_s * 1e9)
        seam = seam_between(Spline(old.start_ns, old.dt_s, old.position_rad), Spline(new.start_ns, new.dt_s, new.position_rad), at_ns)
        found.append({"stamp_ns": at_ns, **seam._asdict()})
    return found


def recorded_seams(episode: Episode, *, commanded: bool = False) -> dict[str, dict[str, float | int | None]]:
    """Field of a Seam -> {count, p50, p99, max} over the chunks that took over from another: of the plans, or of what was commanded."""
    reports = [report for report in episode.chunk_reports if report.accepted]
    prefix = "command_" if commanded else ""
    fields = zip(Seam._fields, ("position_jump", "velocity_step", "acceleration_step", "jerk"), strict=True)
    return {key: summary([getattr(report, prefix + field) for report in reports]) for key, field in fields}


def limit_hits(predictions: list[Predicted], limits: JointLimits) -> dict[str, dict[str, int]]:
    """limit -> joint -> steps of the predicted chunks outside it (position and velocity)."""
    hits = {"position": np.zeros(len(limits.names), int), "velocity": np.zeros(len(limits.names), int)}
    for prediction in predictions:
        q = prediction.position_rad
        if not len(q):
            continue
        hits["position"] += ((q < limits.lower_rad - POSITION_TOLERANCE_RAD) | (q > limits.upper_rad + POSITION_TOLERANCE_RAD)).sum(axis=0)
        hits["velocity"] += (np.abs(np.diff(q, axis=0)) / prediction.dt_s > limits.velocity_rad_s).sum(axis=0)
    return {limit: {name: int(n) for name, n in zip(limits.names, counts, strict=True) if n} for limit, counts in hits.items()}


def recorded_limit_hits(episode: Episode) -> dict[str, int]:
    """limit -> how often the gate applied it."""
    hits: Counter[str] = Counter()
    for report in episode.command_reports:
        for event in report.limits:
            hits[event.limit] += int(event.count)
    return dict(hits)


def recorded_latency(episode: Episode) -> dict[str, dict[str, float | int | None]]:
    """Stage -> {count, p50, p95, p99, max, over_budget} in ms, from the chunk reports; ``over_budget`` is a share of 1.

    ``A_to_B`` is B's own time, from A, the stage before it; those of a policy on another machine are there where there was one. ``inference``,
    ``overhead`` and ``observed_to_first_command`` are of several stages; ``first_motion_from_rest`` is of chunks before which the joints rested.
    """
    accepted = [report for report in episode.chunk_reports if report.accepted]
    timings = [timing_from_msg(report.timing) for report in accepted]
    budget = LatencyBudget.of(episode.cell.policy.latency_budget_ms, episode.cell.policy.stage_budgets_ms)
    own: dict[str, list[float]] = {f"{before}_to_{after}": [] for before, after in zip(LOCAL, LOCAL[1:], strict=False)}
    for timing in timings:
        happened = [stage for stage in STAGES if stage in timing]
        for before, after in zip(happened, happened[1:], strict=False):
            own.setdefault(f"{before}_to_{after}", []).append((timing[after] - timing[before]) * 1e-6)
    seen = [(timing_from_msg(m.timing), m.from_rest) for m in episode.chunk_latencies if m.motion == m.SEEN]
    motions = [((t["first_motion"] - t["first_command"]) * 1e-6, from_rest) for t, from_rest in seen]
    own["first_command_to_first_motion"] = [ms for ms, _ in motions]
    out = {key: summary(values, budget.stages_ms[key.split("_to_")[1]]) for key, values in own.items()}
    out["first_motion_from_rest"] = summary([ms for ms, from_rest in motions if from_rest], budget.stages_ms["first_motion"])
    out["inference"] = summary([report.inference_ms for report in accepted], budget.stages_ms["inferred"])
    out["overhead"] = summary([report.overhead_ms for report in accepted], budget.overhead_ms)
    out["observed_to_first_command"] = summary([ms for t in timings if (ms := total_ms(t)) is not None], budget.total_ms)
    return out


def recorded_difference(episode: Episode, predictions: list[Predicted]) -> float | None:
    """Largest distance between predicted chunks and the recorded ones of the same instant [rad]; about zero for the same model."""
    worst = -math.inf
    recorded = {(c.goal_id, c.sequence): c for c in episode.chunks}
    for prediction in predictions:
        key = (prediction.instant.goal_id, prediction.instant.sequence)
        chunk = recorded.get(key)
        if chunk is None or not len(prediction.position_rad):
            continue
        offset = 0
        for name, interface in episode.cell.interfaces.items():
            columns = slice(offset, offset + len(interface.names))
            offset += len(interface.names)
            parts = [p for c in (chunk, *episode.decoded.get(key, [])) if (p := c.slice_of(name)) is not None and p.space == "joint_position"]
            if parts and parts[-1].steps == len(prediction.position_rad):
                ordered = parts[-1].data[:, [parts[-1].names.index(n) for n in interface.names]]
                worst = max(worst, float(np.abs(ordered - prediction.position_rad[:, columns]).max()))
    return worst if math.isfinite(worst) else None


def same_observations(predictions: list[Predicted]) -> dict[str, Any]:
    """How many observations of the replay are those of the live policy, to the bit, and in which streams the first other one differs.

    {compared, same, share, first_difference: {goal_id, sequence, streams} or None, streams: {stream: how often it differs}}.
    """
    told = [(p, differences(p.instant.digests, p.digests)) for p in predictions if p.instant.digests]
    other = [(p.instant, found) for p, found in told if found]
    first = {"goal_id": other[0][0].goal_id, "sequence": other[0][0].sequence, "streams": list(other[0][1])} if other else None
    same = len(told) - len(other)
    return {
        "compared": len(told), "same": same, "share": same / len(told) if told else None, "first_difference": first,
        "streams": dict(Counter(stream for _, found in other for stream in found)),
    }
