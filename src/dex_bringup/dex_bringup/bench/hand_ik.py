# SPDX-License-Identifier: Apache-2.0
"""Hand IK beside other libraries' on the same targets: time, residual and continuity, along tracks and from nothing."""

from __future__ import annotations

import argparse
import importlib
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dex_bringup.bench.ik_peers import PACKAGES, PEERS, versions
from dex_bringup.bench.report import Goal, Report, percentile
from dex_core.config import load_robot, read_description
from dex_core.kinematics.hand_ik import HandIk, HandModel, load_hand_model
from dex_core.types import Array

PLAIN = ("inspire", "ability")
REDUNDANT = ("leap", "xhand1", "dexh13", "sharpa_wave")
FRAMES = 250
SPEED_RAD = 0.1
"""Phase a frame of the fastest of the three waves each joint follows."""
ROUNDS = 3
"""Everyone's turn comes so often, so that what else the machine does hits all alike."""
JUMP_RAD = 0.5
SEED = 7
Solve = Callable[[Array, Array | None], Array]


class Sizes(NamedTuple):
    """How much is measured: tracks of ``FRAMES`` each, frames of ``ROUNDS`` tracks for slow solvers, cold targets, those for slow solvers."""

    tracks: int = 16
    slow_frames: int = 60
    cold: int = 1000
    slow_cold: int = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--hands", nargs="+", default=[*PLAIN, *REDUNDANT], metavar="HAND", help="which (default: %(default)s)")
    parser.add_argument("--side", default="right", help="left or right (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the targets, too few to judge the goals by")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Each hand with each solver on the same targets, in this process."""
    sizes = Sizes(3, 10, 99, 9) if options.quick else Sizes()
    figures: dict[str, Any] = {f"version_{package}": version for package, version in versions().items()}
    goals: list[Goal] = []
    for name in options.hands:
        say(f"{name}: solves {sizes.tracks * FRAMES} targets along tracks and {sizes.cold} from nothing")
        figures |= _measure(name, options.side, sizes)
        goals += _goals(name)
    return Report("hand-ik", figures, goals)


def track(hand: HandModel, seed: int, frames: int = FRAMES, speed_rad: float = SPEED_RAD) -> Array:
    """(frames, n) joints that wander smoothly through their whole range, resting at limits now and then."""
    rng = np.random.default_rng(seed)
    phase, rate = rng.uniform(0.0, 2.0 * math.pi, (3, len(hand.names))), rng.uniform(0.3, 1.0, (3, len(hand.names))) * speed_rad
    wave = np.sin(rate[:, None] * np.arange(frames)[:, None] + phase[:, None]).sum(axis=0)  # (frames, n)
    return np.clip(hand.lower_rad + (wave / 4.0 + 0.5) * (hand.upper_rad - hand.lower_rad), hand.lower_rad, hand.upper_rad)


def _measure(name: str, side: str, sizes: Sizes) -> dict[str, Any]:
    robot = load_robot(name)
    hand, text = load_hand_model(name, side), read_description(robot.urdf, side)
    fast, slow = HandIk(hand), HandIk(hand, engine="numpy")
    forward = _forward(fast)
    tracks = np.array([track(hand, SEED + i) for i in range(sizes.tracks)])
    cold = np.random.default_rng(SEED).uniform(hand.lower_rad, hand.upper_rad, (sizes.cold, len(hand.names)))
    figures: dict[str, Any] = {
        f"{name}_compiled": str(fast.compiled), f"{name}_track_largest_step_rad": float(np.abs(np.diff(tracks, axis=1)).max()),
    }

    solvers: list[tuple[str, Solve, Array, Array]] = [
        ("ours", lambda t, q: fast.solve(t, previous_rad=q).position_rad, tracks, cold),
        ("numpy", lambda t, q: slow.solve(t, previous_rad=q).position_rad, tracks[:ROUNDS, : sizes.slow_frames], cold[: sizes.slow_cold]),
    ]
    middle = 0.5 * (hand.lower_rad + hand.upper_rad)
    for label, make in PEERS.items():
        reason = _why_not(label)
        if reason:
            figures[f"{name}_{label}"] = reason
            continue
        try:
            peer = make(hand, text, np.asarray(fast.rest_rad))
        except (ValueError, RuntimeError, KeyError) as error:
            figures[f"{name}_{label}"] = f"cannot be set up: {str(error).splitlines()[0][:120]}"
            continue
        long = label == "pink" and name in REDUNDANT  # its jumps are compared
        joints = tracks if long else tracks[:ROUNDS, : sizes.slow_frames]
        solvers.append((label, lambda t, q, peer=peer: peer.solve(t, middle if q is None else q), joints, cold[: sizes.slow_cold]))
    figures |= {f"{name}_{key}": value for key, value in _in_turns(solvers, forward).items()}
    return figures | _ratios(name, figures)


def _in_turns(solvers: list[tuple[str, Solve, Array, Array]], forward: Callable[[Array], Array]) -> dict[str, float]:
    """Figures of (label, solve, tracks, cold joints), a part of each in every round."""
    warm: dict[str, list[list[Any]]] = {label: [[], [], []] for label, *_ in solvers}
    nothing: dict[str, list[list[Any]]] = {label: [[], []] for label, *_ in solvers}
    for turn in range(ROUNDS):
        for label, solve, tracks, cold in solvers:
            for kept, new in zip(warm[label], _warm(solve, forward, tracks[turn::ROUNDS]), strict=True):
                kept += new
            for kept, new in zip(nothing[label], _cold(solve, forward, cold[turn::ROUNDS]), strict=True):
                kept += new
    figures = {}
    for label in warm:
        took, missed, steps = warm[label]
        jumps = {"jumps_per_1000": 1e3 * float(np.mean(np.array(steps) > JUMP_RAD)), "step_p99_rad": percentile(steps, 99)}
        figures.update({f"{label}_warm_{key}": value for key, value in (_figures(took, missed) | jumps).items()})
        figures.update({f"{label}_cold_{key}": value for key, value in _figures(*nothing[label]).items()})
    return figures


def _warm(solve: Solve, forward: Callable[[Array], Array], tracks: Array) -> tuple[list[float], list[Array], list[float]]:
    """Seconds, distances (fingers,) and largest steps of each frame."""
    took, missed, steps = [], [], []
    for joints in tracks:
        targets, before = forward(joints), joints[0]
        solve(targets[0], before)
        for target in targets:
            started = time.perf_counter()
            q = solve(target, before)
            took.append(time.perf_counter() - started)
            steps.append(float(np.abs(q - before).max()))
            missed.append(np.linalg.norm(forward(q[None])[0] - target, axis=1))
            before = q
    return took, missed, steps


def _cold(solve: Solve, forward: Callable[[Array], Array], joints: Array) -> tuple[list[float], list[Array]]:
    """Seconds and distances (fingers,) of each target."""
    took, missed = [], []
    targets = forward(joints)
    solve(targets[0], None)
    for target in targets:
        started = time.perf_counter()
        q = solve(target, None)
        took.append(time.perf_counter() - started)
        missed.append(np.linalg.norm(forward(q[None])[0] - target, axis=1))
    return took, missed


def _figures(took: list[float], missed: list[Array]) -> dict[str, float]:
    distance = np.array(missed)
    return {
        "p50_us": 1e6 * percentile(took, 50), "p99_us": 1e6 * percentile(took, 99), "residual_mean_mm": 1e3 * float(distance.mean()),
        "within_1mm_percent": 100.0 * float((distance <= 1e-3).mean()), "within_01mm_percent": 100.0 * float((distance <= 1e-4).mean()),
    }


def _forward(ik: HandIk) -> Callable[[Array], Array]:
    """(m, n) joints -> (m, fingers, 3) tips, the same for everyone."""
    def tips(q: Array) -> Array:
        out = np.empty((len(q), len(ik.fingers), 3))
        for group in ik.groups:
            out[:, group.fingers] = group.forward.tips(q[:, group.columns])
        return out

    return tips


def _ratios(name: str, figures: dict[str, Any]) -> dict[str, float]:
    """How many times faster, and what is compared with a peer's own figure."""
    out = {}
    for kind in ("warm", "cold"):
        for label, ours in (("vector", "ours"), ("position", "ours"), ("pink", "ours"), ("mink", "ours"), ("vector", "numpy")):
            theirs = figures.get(f"{name}_{label}_{kind}_p50_us")
            if theirs is not None:
                out[f"{name}_{ours}_{kind}_times_faster_than_{label}"] = theirs / figures[f"{name}_{ours}_{kind}_p50_us"]
        theirs = figures.get(f"{name}_vector_{kind}_residual_mean_mm")
        if theirs is not None:
            out[f"{name}_numpy_{kind}_residual_share_of_vector"] = figures[f"{name}_numpy_{kind}_residual_mean_mm"] / theirs
    theirs = figures.get(f"{name}_pink_warm_jumps_per_1000")
    if theirs is not None:
        out[f"{name}_ours_warm_jumps_per_1000_more_than_pink"] = figures[f"{name}_ours_warm_jumps_per_1000"] - theirs
    return out


def _goals(name: str) -> list[Goal]:
    ours, goals = f"{name}_ours", []
    for kind in ("warm", "cold"):
        if name in REDUNDANT:
            goals += [
                Goal(f"{ours}_{kind}_times_faster_than_vector", at_least=25.0), Goal(f"{ours}_{kind}_within_1mm_percent", at_least=99.9),
                Goal(f"{ours}_{kind}_within_01mm_percent", at_least=99.0), Goal(f"{ours}_{kind}_p99_us", at_most=1000.0, unit="us"),
            ]
        else:
            goals += [
                Goal(f"{ours}_{kind}_times_faster_than_vector", at_least=100.0), Goal(f"{ours}_{kind}_times_faster_than_position", at_least=50.0),
                Goal(f"{ours}_{kind}_residual_mean_mm", at_most=0.05, unit="mm"),
                Goal(f"{name}_numpy_{kind}_times_faster_than_vector", at_least=10.0),
                Goal(f"{name}_numpy_{kind}_residual_share_of_vector", at_most=0.1),
            ]
    return [*goals, Goal(f"{ours}_warm_jumps_per_1000_more_than_pink", at_most=0.0)] if name in REDUNDANT else goals


def _why_not(label: str) -> str:
    """Empty where the peer's package can be imported."""
    try:
        importlib.import_module(PACKAGES[label])
    except ImportError as error:
        return f"not measured: {error}; make peers installs it"
    return ""
