# SPDX-License-Identifier: Apache-2.0
"""Arm IK beside other libraries' on the same poses: along easy tracks, along tracks through limits and singularities, and from nothing."""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dex_bringup.bench.arm_ik_peers import PEERS, arm_alone
from dex_bringup.bench.report import Goal, Report, percentile
from dex_core.config import load_robot, read_description
from dex_core.kinematics import ArmKinematics, load_arm
from dex_core.kinematics.arm_ik import ArmIk
from dex_core.kinematics.arm_ik_dual import load_dual_arm_ik
from dex_core.types import Array

ARMS = ("xarm7", "fr3", "panda", "g1-left", "g1-right")
FRAMES, DT_S = 300, 0.02
CLOSE_M = CLOSE_RAD = 1e-5
JUMP_RAD = 0.5
SEED = 11
Solve = Callable[[Array, "Array | None"], Array]


class Sizes(NamedTuple):
    """Tracks of ``FRAMES`` poses for ours, and for the slow ones; frames for NumPy; cold poses for ours, and for the slow ones."""

    tracks: int = 40
    slow_tracks: int = 6
    numpy_frames: int = 150
    cold: int = 1000
    slow_cold: int = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--arms", nargs="+", default=list(ARMS), metavar="ARM", help="which, e.g. xarm7 or g1-left (default: all)")
    parser.add_argument("--quick", action="store_true", help="a fifth of the poses")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Each arm with each solver on the same poses, in this process."""
    sizes = Sizes(8, 2, 40, 200, 10) if options.quick else Sizes()
    figures: dict[str, Any] = {}
    goals: list[Goal] = []
    for label in options.arms:
        say(f"{label}: {2 * sizes.tracks * FRAMES} poses along tracks, {sizes.cold} from nothing")
        figures |= _measure(label, sizes)
        goals += _goals(label.replace("-", "_"))
    if any(label.startswith("g1") for label in options.arms):
        say("g1: both wrists at once")
        figures |= _dual(200 if options.quick else 1000)
    return Report("arm-ik", figures, goals)


def easy_track(arm: ArmKinematics, rng: np.random.Generator) -> Array:
    """(FRAMES, n) joints that wander smoothly in the inner part of their range."""
    middle, half = _range(arm)
    times = DT_S * np.arange(FRAMES)[:, None]
    centre = middle + half * rng.uniform(-0.4, 0.4, len(half))
    return centre + 0.25 * half * np.sin(times * rng.uniform(0.3, 1.0, len(half)) * 2.0 / half + rng.uniform(0.0, 2.0 * np.pi, len(half)))


def hard_track(arm: ArmKinematics, rng: np.random.Generator) -> Array:
    """(FRAMES, n) joints that swing through their whole range: every limit is touched and every singularity inside may be crossed."""
    middle, half = _range(arm)
    times, n = DT_S * np.arange(FRAMES)[:, None], len(half)
    phase = rng.uniform(0.0, 2.0 * np.pi, n) + times * rng.uniform(0.3, 1.0, n) / half
    return middle + half * np.sin(phase + 0.3 * np.sin(times * rng.uniform(0.2, 0.6, n) + rng.uniform(0.0, 6.0, n)))


def _range(arm: ArmKinematics) -> tuple[Array, Array]:
    return 0.5 * (arm.lower_rad + arm.upper_rad), np.minimum(0.5 * (arm.upper_rad - arm.lower_rad), np.pi)


def _measure(label: str, sizes: Sizes) -> dict[str, Any]:
    name, _, side = label.partition("-")
    key, arm = label.replace("-", "_"), load_arm(name, side)
    ours, numpy_ik, changing = ArmIk(arm), ArmIk(arm, engine="numpy"), ArmIk(arm, may_change_branch=True)
    text, rest = arm_alone(read_description(load_robot(name).urdf), arm), np.asarray(ours.rest_rad)
    solvers: dict[str, tuple[Solve, int, int, int]] = {
        "ours": (lambda p, q: ours.solve(p, previous_rad=q).position_rad, sizes.tracks, FRAMES, sizes.cold),
        "changing": (lambda p, q: changing.solve(p, previous_rad=q).position_rad, sizes.tracks, FRAMES, 0),
        "changing_same": (lambda p, q: changing.solve(p, previous_rad=q).position_rad, sizes.slow_tracks, FRAMES, 0),  # the tracks of the slow ones
        "numpy": (lambda p, q: numpy_ik.solve(p, previous_rad=q).position_rad, 1, sizes.numpy_frames, min(10, sizes.slow_cold)),
    }
    figures: dict[str, Any] = {f"{key}_compiled": str(ours.compiled)}
    for label_of_peer, make in PEERS.items():
        reason = _why_not(label_of_peer)
        if reason:
            figures[f"{key}_{label_of_peer}"] = reason
            continue
        peer = make(arm, text, rest)
        solvers[label_of_peer] = (lambda p, q, peer=peer: peer.solve(p, rest if q is None else q), sizes.slow_tracks, FRAMES, sizes.slow_cold)
    for kind, make_track in (("easy", easy_track), ("hard", hard_track)):
        rng = np.random.default_rng(SEED)
        tracks = np.array([make_track(arm, rng) for _ in range(sizes.tracks)])
        poses = np.array([[arm.flange_pose(q) for q in joints] for joints in tracks])
        for solver, (solve, count, frames, _) in solvers.items():
            found = _warm(arm, solve, tracks[:count, :frames], poses[:count, :frames])
            figures |= {f"{key}_{solver}_{kind}_{what}": value for what, value in found.items()}
        if kind == "hard":
            figures |= {f"{key}_ahead_{kind}_{what}": value for what, value in _ahead(arm, ours, tracks, poses).items()}
    joints = np.random.default_rng(SEED).uniform(arm.lower_rad, arm.upper_rad, (sizes.cold, len(arm.names)))
    for solver, (solve, _, _, cold) in solvers.items():
        if cold:
            figures |= {f"{key}_{solver}_cold_{what}": value for what, value in _cold(arm, solve, joints[:cold]).items()}
    return figures | _ratios(key, figures)


def _dual(count: int) -> dict[str, float]:
    """Both wrists of G1, waist free: random reachable pairs, from a posture 0.02 rad away and from nothing."""
    ik, rng = load_dual_arm_ik("g1"), np.random.default_rng(SEED)
    body, found = ik.robot, {}
    joints = rng.uniform(body.lower_rad, body.upper_rad, (count, len(ik.names)))
    near = joints + rng.normal(0.0, 0.02, joints.shape)
    for kind in ("warm", "cold"):
        took, close = [], []
        for truth, before in zip(joints, near, strict=True):
            poses = np.array([body.pose(truth, wrist) for wrist in ik.flanges])
            started = time.perf_counter()
            solved = ik.solve(poses, previous_rad=before if kind == "warm" else None)
            took.append(time.perf_counter() - started)
            close.append(solved.position_error_m <= CLOSE_M and solved.orientation_error_rad <= CLOSE_RAD)
        found |= {f"g1_dual_{kind}_{what}": value for what, value in _times(took, close).items()}
    return found


def _warm(arm: ArmKinematics, solve: Solve, tracks: Array, poses: Array) -> dict[str, float]:
    took, close, steps = [], [], []
    for joints, track in zip(tracks, poses, strict=True):
        before = joints[0]
        solve(track[0], before)
        for pose in track:
            started = time.perf_counter()
            q = solve(pose, before)
            took.append(time.perf_counter() - started)
            close.append(_is_close(arm, q, pose))
            steps.append(np.abs(q - before).max())
            before = q
    return _times(took, close) | _jumps(np.array(steps))


def _ahead(arm: ArmKinematics, ours: ArmIk, tracks: Array, poses: Array) -> dict[str, float]:
    """Whole tracks at once."""
    took, close, steps = [], [], []
    for joints, track in zip(tracks, poses, strict=True):
        started = time.perf_counter()
        solved = ours.solve_chunk(track, previous_rad=joints[0]).position_rad
        took.append((time.perf_counter() - started) / len(track))
        close += [_is_close(arm, q, pose) for q, pose in zip(solved, track, strict=True)]
        steps.append(np.abs(np.diff(solved, axis=0)).max(axis=1))
    return _times(took, close) | _jumps(np.concatenate(steps))


def _cold(arm: ArmKinematics, solve: Solve, joints: Array) -> dict[str, float]:
    took, close = [], []
    solve(arm.flange_pose(joints[0]), None)
    for truth in joints:
        pose = arm.flange_pose(truth)
        started = time.perf_counter()
        q = solve(pose, None)
        took.append(time.perf_counter() - started)
        close.append(_is_close(arm, q, pose))
    return _times(took, close)


def _is_close(arm: ArmKinematics, q: Array, pose: Array) -> bool:
    """Within 0.01 mm and 0.01 mrad and inside the limits, by Pinocchio for everyone."""
    reached = arm.flange_pose(q)
    turn = reached[:3, :3].T @ pose[:3, :3]
    angle = 0.5 * np.linalg.norm([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    inside = bool((q >= arm.lower_rad - 1e-6).all() and (q <= arm.upper_rad + 1e-6).all())
    return inside and float(np.linalg.norm(reached[:3, 3] - pose[:3, 3])) <= CLOSE_M and angle <= CLOSE_RAD and np.trace(turn) > 1.0


def _times(took: list[float], close: list[bool]) -> dict[str, float]:
    return {"p50_us": 1e6 * percentile(took, 50), "p99_us": 1e6 * percentile(took, 99), "solved_percent": 100.0 * float(np.mean(close))}


def _jumps(steps: Array) -> dict[str, float]:
    return {"jumps_per_1000": 1e3 * float(np.mean(steps > JUMP_RAD + 1e-9)), "step_p99_rad": percentile(list(steps), 99)}


def _ratios(key: str, figures: dict[str, Any]) -> dict[str, float]:
    ratios = {}
    for peer in PEERS:
        for kind in ("easy", "hard"):
            theirs = figures.get(f"{key}_{peer}_{kind}_p50_us")
            if theirs is not None:
                ratios[f"{key}_ours_{kind}_times_faster_than_{peer}"] = theirs / figures[f"{key}_ours_{kind}_p50_us"]
    return ratios


def _goals(key: str) -> list[Goal]:
    goals = [Goal(f"{key}_ours_{kind}_times_faster_than_{peer}", at_least=10.0) for kind in ("easy", "hard") for peer in PEERS]
    goals += [Goal(f"{key}_{solver}_{kind}_p99_us", at_most=100.0, unit="us") for kind in ("easy", "hard") for solver in ("ours", "changing")]
    goals.append(Goal(f"{key}_changing_hard_solved_percent", at_least=99.9))
    return [*goals, *(Goal(f"{key}_{which}_jumps_per_1000", at_most=0.0) for which in ("ours_easy", "ours_hard", "ahead_hard"))]


def _why_not(package: str) -> str:
    """Empty where it can be imported."""
    try:
        importlib.import_module(package)
    except ImportError as error:
        return f"not measured: {error}; make peers installs it"
    return ""
