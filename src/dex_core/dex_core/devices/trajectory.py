# SPDX-License-Identifier: Apache-2.0
"""A joint trajectory with tolerances, judged and sampled by the rules users know from joint_trajectory_controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from dex_core.clock import NS
from dex_core.config import JointLimit
from dex_core.errors import DexError, JointNameError
from dex_core.types import Array, frozen_array, index_map

LIMIT_TOLERANCE_RAD = 1e-6
VELOCITY_SLACK = 1.02
MAX_POINTS = 100_000
DEFAULT_GOAL_TOLERANCE_RAD = {"arm": 0.03, "hand": 0.10}
DEFAULT_GOAL_TIME_S = 2.0


class Outcome(IntEnum):
    """Values as in control_msgs/FollowJointTrajectory."""

    SUCCESSFUL = 0
    INVALID_GOAL = -1
    INVALID_JOINTS = -2
    OLD_HEADER_TIMESTAMP = -3
    PATH_TOLERANCE_VIOLATED = -4
    GOAL_TOLERANCE_VIOLATED = -5


class TrajectoryError(DexError):
    """A trajectory is refused; ``outcome`` is the action's error code."""

    code = "invalid_goal"

    def __init__(self, message: str, outcome: Outcome = Outcome.INVALID_GOAL) -> None:
        super().__init__(message)
        self.outcome = outcome


class Point(NamedTuple):
    """One waypoint as it came: empty velocities and accelerations mean that none are given."""

    time_s: float
    position_rad: Sequence[float]
    velocity_rad_s: Sequence[float] = ()
    acceleration_rad_s2: Sequence[float] = ()


@dataclass(frozen=True)
class Tolerances:
    """Infinity where nothing is checked. (n,) [rad]; times [s]."""

    path_rad: Array
    goal_rad: Array
    goal_time_s: float


@dataclass(frozen=True)
class Trajectory:
    """Checked waypoints in the device's order.

    Attributes:
        time_s: (k,) strictly growing, from the start of the trajectory.
        position_rad, velocity_rad_s, acceleration_rad_s2: (k, n); the last two are None where none were given.
    """

    time_s: Array
    position_rad: Array
    velocity_rad_s: Array | None
    acceleration_rad_s2: Array | None


def check_trajectory(names: Sequence[str], points: Sequence[Point], joints: Sequence[str], limits: Sequence[JointLimit]) -> Trajectory:
    """Checks a trajectory whole.

    Args:
        names: joints as the goal orders them; exactly the device's, in any order.
        points: waypoints.
        joints, limits: the device's.

    Raises:
        TrajectoryError: with the action's error code and what is wrong.
    """
    try:
        order = index_map(tuple(names), tuple(joints), "trajectory")
    except JointNameError as error:
        raise TrajectoryError(str(error), Outcome.INVALID_JOINTS) from error
    if not 1 <= len(points) <= MAX_POINTS:
        raise TrajectoryError(f"trajectory has {len(points)} points; allowed 1 to {MAX_POINTS}")
    try:
        time_s = frozen_array([p.time_s for p in points], (None,), "trajectory times")
        position = _table(points, "position_rad", order)
        velocity, acceleration = _table(points, "velocity_rad_s", order), _table(points, "acceleration_rad_s2", order)
    except DexError as error:
        raise TrajectoryError(str(error)) from error
    if position is None:
        raise TrajectoryError("trajectory has points without positions")
    if time_s[0] < 0.0 or (np.diff(time_s) <= 0.0).any():
        raise TrajectoryError(f"time_from_start must grow from point to point, from 0 on; it is {time_s.tolist()[:20]}")
    if acceleration is not None and velocity is None:
        raise TrajectoryError("trajectory gives accelerations without velocities")
    if velocity is not None and np.abs(velocity[-1]).max() > 1e-6:
        raise TrajectoryError(f"the last point must rest, its velocities are {velocity[-1].tolist()}")
    _check_limits(time_s, position, velocity, joints, limits)
    return Trajectory(time_s, position, velocity, acceleration)


def _table(points: Sequence[Point], field: str, order: Array) -> Array | None:
    rows = [getattr(p, field) for p in points]
    if field != "position_rad" and not any(len(r) for r in rows):
        return None
    for k, row in enumerate(rows):
        if len(row) != len(order):
            raise TrajectoryError(f"trajectory point {k}: {len(row)} values of {field} for {len(order)} joints")
    return frozen_array(np.array(rows, dtype=np.float64)[:, order], (None, len(order)), f"trajectory {field}")


def _check_limits(time_s: Array, position: Array, velocity: Array | None, joints: Sequence[str], limits: Sequence[JointLimit]) -> None:
    lower, upper = np.array([v.lower_rad for v in limits]), np.array([v.upper_rad for v in limits])
    outside = np.maximum(lower - position, position - upper) > LIMIT_TOLERANCE_RAD
    if outside.any():
        k, j = np.argwhere(outside)[0]
        raise TrajectoryError(f"trajectory point {k}: {joints[j]} is {position[k, j]:.4f} rad; allowed {lower[j]} to {upper[j]}")
    allowed = np.array([v.velocity_rad_s for v in limits]) * VELOCITY_SLACK
    speeds = [np.abs(np.diff(position, axis=0)) / np.diff(time_s)[:, None]] + ([np.abs(velocity)] if velocity is not None else [])
    for table in speeds:
        if (table > allowed).any():
            k, j = np.argwhere(table > allowed)[0]
            raise TrajectoryError(f"trajectory near point {k}: {joints[j]} moves at {table[k, j]:.3f} rad/s; at most {limits[j].velocity_rad_s}")


def make_tolerances(
    joints: Sequence[str], path_rad: Mapping[str, float], goal_rad: Mapping[str, float], goal_time_s: float, kind: str
) -> Tolerances:
    """Tolerances of a goal: 0 means the default, negative means none (path default: none).

    Raises:
        TrajectoryError: a name is unknown or a number is not finite.
    """
    unknown = sorted((set(path_rad) | set(goal_rad)) - set(joints))
    if unknown:
        raise TrajectoryError(f"tolerances name joints that are not here: {unknown}; joints are {list(joints)}", Outcome.INVALID_JOINTS)
    values = [*path_rad.values(), *goal_rad.values(), goal_time_s]
    if not np.isfinite(values).all():
        raise TrajectoryError(f"tolerances must be finite, they are {values}")
    default = DEFAULT_GOAL_TOLERANCE_RAD[kind]
    return Tolerances(
        np.array([_tolerance(path_rad.get(j, 0.0), np.inf) for j in joints]),
        np.array([_tolerance(goal_rad.get(j, 0.0), default) for j in joints]),
        _tolerance(goal_time_s, DEFAULT_GOAL_TIME_S),
    )


def _tolerance(value: float, default: float) -> float:
    return default if value == 0.0 else np.inf if value < 0.0 else value


class Step(NamedTuple):
    """One step: what to command (n,), what was desired and how far the joints are from it, and the end when it came."""

    position_rad: Array
    velocity_rad_s: Array
    error_rad: Array
    outcome: Outcome | None = None
    detail: str = ""


class TrajectoryRun:
    """A trajectory under way, from where the joints are. Times are monotonic [ns].

    Args:
        trajectory: checked.
        tolerances: of its goal.
        position_rad, velocity_rad_s: (n,) where it starts: measured, or the last desired of the trajectory it replaces.
        start_ns: when its time zero is.
        joints: names, for texts.
    """

    def __init__(
        self, trajectory: Trajectory, tolerances: Tolerances, position_rad: Array, velocity_rad_s: Array, start_ns: int, joints: Sequence[str]
    ) -> None:
        self.joints = tuple(joints)
        self._tolerances = tolerances
        self._start_ns = start_ns
        times, positions = trajectory.time_s, trajectory.position_rad
        if times[0] > 0.0:  # the way to the first point starts where the joints are
            times = np.concatenate([[0.0], times])
            positions = np.vstack([position_rad, positions])
        self._times, self._positions = times, positions
        self._velocities = _with_start(trajectory.velocity_rad_s, velocity_rad_s, len(times))
        self._accelerations = _with_start(trajectory.acceleration_rad_s2, np.zeros_like(velocity_rad_s), len(times))
        self.desired_position_rad, self.desired_velocity_rad_s = positions[0], np.zeros_like(velocity_rad_s)

    @property
    def duration_s(self) -> float:
        """Time of the last point."""
        return float(self._times[-1])

    def first_distance_rad(self, measured_rad: Array) -> Array:
        """(n,) from the joints to the first desired point."""
        return np.abs(self._positions[0] - measured_rad)

    def step(self, now_ns: int, measured_rad: Array) -> Step:
        """What to command now, given where the joints are (n,)."""
        time_s = (now_ns - self._start_ns) / NS
        position, velocity = self._sample(time_s)
        self.desired_position_rad, self.desired_velocity_rad_s = position, velocity
        error = position - measured_rad
        if time_s < self.duration_s:
            bad = np.abs(error) > self._tolerances.path_rad
            if bad.any():
                return Step(position, velocity, error, Outcome.PATH_TOLERANCE_VIOLATED, self._words("path", bad, error, self._tolerances.path_rad))
            return Step(position, velocity, error)
        bad = np.abs(error) > self._tolerances.goal_rad
        if not bad.any():
            return Step(position, velocity, error, Outcome.SUCCESSFUL, "goal reached")
        if time_s > self.duration_s + self._tolerances.goal_time_s:
            return Step(position, velocity, error, Outcome.GOAL_TOLERANCE_VIOLATED, self._words("goal", bad, error, self._tolerances.goal_rad))
        return Step(position, velocity, error)

    def _words(self, what: str, bad: Array, error: Array, tolerance: Array) -> str:
        j = int(np.flatnonzero(bad)[0])
        return f"{what} tolerance: {self.joints[j]} is {abs(error[j]):.4f} rad off; at most {tolerance[j]:.4f}"

    def _sample(self, time_s: float) -> tuple[Array, Array]:
        """Linear between positions, cubic with velocities, quintic with accelerations."""
        times = self._times
        if time_s >= times[-1] or len(times) == 1:
            return self._positions[-1], np.zeros_like(self._positions[-1])
        k = max(0, int(np.searchsorted(times, time_s, side="right")) - 1)
        h = float(times[k + 1] - times[k])
        s = min(max((time_s - float(times[k])) / h, 0.0), 1.0)
        p0, p1 = self._positions[k], self._positions[k + 1]
        if self._velocities is None:
            return p0 + s * (p1 - p0), (p1 - p0) / h
        v0, v1 = self._velocities[k] * h, self._velocities[k + 1] * h
        if self._accelerations is None:
            c2, c3, c4, c5 = 3 * (p1 - p0) - 2 * v0 - v1, -2 * (p1 - p0) + v0 + v1, 0.0, 0.0
        else:
            a0, a1, d = self._accelerations[k] * h * h / 2, self._accelerations[k + 1] * h * h / 2, p1 - p0
            c2 = a0
            c3 = 10 * d - 6 * v0 - 4 * v1 - 3 * a0 + a1
            c4 = -15 * d + 8 * v0 + 7 * v1 + 3 * a0 - 2 * a1
            c5 = 6 * d - 3 * v0 - 3 * v1 - a0 + a1
        position = p0 + s * (v0 + s * (c2 + s * (c3 + s * (c4 + s * c5))))
        return position, (v0 + s * (2 * c2 + s * (3 * c3 + s * (4 * c4 + s * 5 * c5)))) / h


def _with_start(table: Array | None, first: Array, rows: int) -> Array | None:
    if table is None or len(table) == rows:
        return table
    return np.vstack([first, table])
