# SPDX-License-Identifier: Apache-2.0
"""What the solvers of an arm's inverse kinematics are given and give back, and the refusal of targets that are no poses."""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dex_core.errors import ConfigError, NonFiniteError, ShapeError
from dex_core.kinematics.tree import KinematicTree, Place
from dex_core.types import Array

SOLVED, LIMITS, SINGULAR, RESIDUAL = 0, 1, 2, 3
FOLLOW, GUESS, COLD = 0, 1, 2
ROTATION_TOLERANCE = 1e-5
MAX_ACTUATED, MAX_TARGETS = 32, 4


_RANGES = {
    "rotation_m": (1e-3, 1e3), "tolerance_m": (1e-9, 1.0), "tolerance_rad": (1e-9, 1.0), "max_iterations": (1, 1000), "max_restarts": (1, 32),
    "posture_gain": (0.0, 1.0), "posture_step_rad": (0.0, 3.2), "reach_rad": (1e-3, 100.0), "singular": (0.0, 1e3), "seeds": (2, 65536),
}


class ArmIkOptions(NamedTuple):
    """How an inverse-kinematics search behaves.

    Attributes:
        rotation_m: metres that one radian of orientation error counts for.
        tolerance_m, tolerance_rad: a pose nearer than this is solved; an order below the 0.01 mm and 0.01 mrad promised.
        max_iterations: of one local search.
        max_restarts: local searches besides the first: an eighth of them nearby, all of them from
            where the arm is, twice as many from nothing.
        posture_gain: share of the way to the rest posture that one call takes in the null space.
        posture_step_rad: and at most so far per joint.
        reach_rad: furthest that a joint goes from the previous solution.
        may_change_branch: where no solution is that near, take one from elsewhere and say so; False: the nearest pose in reach.
        look_ahead: where following a track step by step fails, look for the way round; takes 0.2 to 1.5 ms per step then.
        singular: manipulability below which a pose counts as near a singularity.
        seeds: how many postures the global search knows.
    """

    rotation_m: float = 0.3
    tolerance_m: float = 1e-6
    tolerance_rad: float = 1e-6
    max_iterations: int = 24
    max_restarts: int = 32
    posture_gain: float = 0.1
    posture_step_rad: float = 0.02
    reach_rad: float = 0.5
    may_change_branch: bool = False
    look_ahead: bool = True
    singular: float = 5e-3
    seeds: int = 1024


class Problem(NamedTuple):
    """One search: which tools of which tree, inside which limits.

    Attributes:
        tree: with n actuated joints. places: of the k tools.
        lower, upper, rest, weight: (n,) limits, rest posture [rad], cost of moving each joint.
        seeds: (m, n) postures of the global search [rad].
    """

    tree: KinematicTree
    places: tuple[Place, ...]
    lower: Array
    upper: Array
    rest: Array
    weight: Array
    seeds: Array
    options: ArmIkOptions


class Answer(NamedTuple):
    """Of T steps and k tools: q (T, n), error (T, k, 2) [m, rad], manipulability (T, k), report (T, 4) status, iterations, restarts, changed."""

    q: Array
    error: Array
    manipulability: Array
    report: np.ndarray


def make_problem(
    tree: KinematicTree, places: tuple[Place, ...], limits: tuple[Array, Array], rest_rad: ArrayLike | None, options: ArmIkOptions,
    stiffness: ArrayLike | None = None,
) -> Problem:
    """Checks sizes and the rest posture (default: middle of the limits) and lays out weights, times ``stiffness``, and seeds.

    Raises:
        ConfigError: too many joints or tools, a rest posture outside the limits, or a stiffness outside 0.001 to 1e6. ShapeError, NonFiniteError: a
            rest posture or stiffness that is none.
    """
    _check(options)
    lower, upper = (np.array(side, dtype=float) for side in limits)
    if not (np.isfinite(lower) & np.isfinite(upper)).all():
        raise ConfigError(f"joint {tree.names[int(np.argmin(np.isfinite(lower) & np.isfinite(upper)))]!r} has no limits; every joint needs both")
    n = len(lower)
    if n > MAX_ACTUATED or not 1 <= len(places) <= MAX_TARGETS:
        raise ConfigError(f"{n} joints and {len(places)} tools; at most {MAX_ACTUATED} joints and 1 to {MAX_TARGETS} tools in one problem")
    rest = 0.5 * (lower + upper) if rest_rad is None else checked(rest_rad, (n,), "rest posture")
    for name, value, low, high in zip(tree.names, rest, lower, upper, strict=True):
        if not low <= value <= high:
            raise ConfigError(f"rest posture {name}: {value} rad; allowed {low} to {high}")
    span = np.minimum(upper - lower, 2.0 * np.pi)
    weight = np.clip((np.median(span) / span) ** 2, 0.25, 4.0)
    if stiffness is not None:
        times = checked(stiffness, (n,), "stiffness")
        if not ((times >= 1e-3) & (times <= 1e6)).all():
            raise ConfigError(f"stiffness {times}; allowed 0.001 to 1e6")
        weight = weight * times
    return Problem(tree, places, lower, upper, rest, weight, _seeds(lower, upper, rest, options.seeds), options)


def _check(options: ArmIkOptions) -> None:
    """Raises ConfigError for the first option outside its range."""
    for name, (low, high) in _RANGES.items():
        value = getattr(options, name)
        if not low <= value <= high:
            raise ConfigError(f"{name} is {value}; allowed {low:g} to {high:g}")


def tool_places(tree: KinematicTree, links: Sequence[str], tools: Sequence[ArrayLike | None]) -> tuple[Place, ...]:
    """Where each tool (4, 4 in its link; None: the link) is fixed to the tree. Raises ConfigError for a tool that is no pose."""
    found = []
    for link, tool in zip(links, tools, strict=True):
        place = tree.place(link)
        if tool is not None:
            pose = checked(tool, (4, 4), f"tool on {link!r}")
            require_poses(pose[None], f"tool on {link!r}")
            place = Place(place.joint, place.rotation @ pose[:3, :3], place.rotation @ pose[:3, 3] + place.position_m)
        found.append(place)
    return tuple(found)


def checked(values: ArrayLike, shape: tuple[int, ...], what: str) -> Array:
    """``values`` as finite floats of ``shape``. Raises ShapeError and NonFiniteError."""
    out = np.array(values, dtype=float)
    if out.shape != shape:
        raise ShapeError(f"{what}: shape {out.shape}, expected {shape}")
    if not np.isfinite(out).all():
        raise NonFiniteError(f"{what}: {out}; every number must be finite")
    return out


def require_poses(poses: Array, what: str) -> None:
    """Raises NonFiniteError or ConfigError for the first of (T, 4, 4) that is no pose, with how far off it is."""
    for index, pose in enumerate(poses):
        where = f"{what} {index}" if len(poses) > 1 else what
        if not np.isfinite(pose).all():
            row, column = np.argwhere(~np.isfinite(pose))[0]
            raise NonFiniteError(f"{where}: {pose[row, column]} at row {row}, column {column}; every number must be finite")
        off, determinant = np.abs(pose[:3, :3].T @ pose[:3, :3] - np.eye(3)).max(), np.linalg.det(pose[:3, :3])
        if max(off, abs(determinant - 1.0)) > ROTATION_TOLERANCE:
            raise ConfigError(
                f"{where} is no rotation: R'R is {off:.2g} from the identity and its determinant is {determinant:.6g}; "
                f"allowed {ROTATION_TOLERANCE:g} off"
            )
        if np.abs(pose[3] - (0.0, 0.0, 0.0, 1.0)).max() > ROTATION_TOLERANCE:
            raise ConfigError(f"{where}: last row {pose[3]}, expected [0 0 0 1]")


def _seeds(lower: Array, upper: Array, rest: Array, count: int) -> Array:
    """(count, n) postures: the rest posture, then an additive low-discrepancy sequence inside the limits, at most half a turn from the middle."""
    n = len(lower)
    root = 1.5
    for _ in range(60):  # the root of x^(n+1) = x + 1 spreads n-dimensional points best
        root = (1.0 + root) ** (1.0 / (n + 1))
    share = (0.5 + np.outer(np.arange(1, count + 1), root ** -np.arange(1.0, n + 1))) % 1.0
    middle, half = 0.5 * (lower + upper), np.minimum(0.5 * (upper - lower), np.pi)
    spread = 2.0 * share - 1.0
    spread[1::2] = np.sin(0.5 * np.pi * spread[1::2])  # every other one nearer its limits: corners are small and hard to find
    seeds = middle + spread * half
    seeds[0] = rest
    return seeds
