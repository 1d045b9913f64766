# SPDX-License-Identifier: Apache-2.0
"""What the ros2_control driver knows of its robot: the newest joint state by name, and whether the controller does what it is told. No ROS."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from dex_core.clock import NS
from dex_core.errors import ConnectionLostError, DeviceError, NonFiniteError, StaleError
from dex_core.types import Array, JointState

FOLLOW_WINDOW_S = 0.5
FOLLOW_TOLERANCE_RAD = 0.05


class NewestState:
    """The newest joint state of the robot out of a topic that others may use too.

    A message counts when it has every joint of the robot and a stamp later than the one before: a driver that repeats itself, or somebody
    who publishes the same joints again, does not make a state fresh.

    Args:
        ours, there: joint names of the cell and, in the same order, of the ROS driver.
        where: topic, for texts.
        max_age_s: oldest state ``newest`` gives.

    Attributes:
        ignored: messages with some of the joints, but not all.
    """

    def __init__(self, ours: Sequence[str], there: Sequence[str], where: str, max_age_s: float) -> None:
        self._ours, self._there, self._where, self._max_age_s = tuple(ours), tuple(there), where, max_age_s
        self._state: JointState | None = None
        self._arrived_ns = 0
        self._missing: tuple[str, ...] = tuple(there)
        self.ignored = 0

    def put(
        self, names: Sequence[str], position_rad: Sequence[float], velocity_rad_s: Sequence[float], effort_nm: Sequence[float], stamp_ns: int,
        now_ns: int,
    ) -> None:
        """Takes one message; ``now_ns`` is monotonic. Raises NonFiniteError for a position or velocity that is no number."""
        where = {name: i for i, name in enumerate(names)}
        missing = tuple(name for name in self._there if name not in where)
        if missing or len(where) != len(names) or len(position_rad) != len(names):
            self.ignored += len(missing) < len(self._there)
            self._missing = missing or self._missing
            return
        before = self._state
        if before is not None and stamp_ns <= before.stamp_ns:
            return
        order = np.array([where[name] for name in self._there])
        position = np.asarray(position_rad, dtype=np.float64)[order]
        if not np.isfinite(position).all():
            worst = int(np.flatnonzero(~np.isfinite(position))[0])
            raise NonFiniteError(f"{self._where}: {self._there[worst]} is {position[worst]}; every number must be finite")
        velocity, effort = _picked(velocity_rad_s, names, order), _picked(effort_nm, names, order)
        if velocity is None:
            velocity = np.zeros(len(order)) if before is None else (position - before.position_rad) / ((stamp_ns - before.stamp_ns) / NS)
        self._state = JointState(self._ours, position, velocity, np.full(len(order), np.nan) if effort is None else effort, stamp_ns)
        self._arrived_ns, self._missing = now_ns, ()

    def age_s(self, now_ns: int) -> float:
        """Since the newest state came, infinite before the first."""
        return float("inf") if self._state is None else (now_ns - self._arrived_ns) / NS

    def newest(self, now_ns: int, wall_ns: int) -> JointState:
        """The newest state.

        Args:
            now_ns, wall_ns: the time now, monotonic and of the wall clock.

        Raises:
            ConnectionLostError: there is none, or it is too old.
            DeviceError: ``clock_skew``, it is stamped further from now than it may be old.
        """
        if self._state is None:
            raise ConnectionLostError(f"{self._where}: no message has all joints of the robot; missing {list(self._missing)}")
        age_s = self.age_s(now_ns)
        if age_s > self._max_age_s:
            raise ConnectionLostError(str(StaleError(f"joint state on {self._where}", age_s, self._max_age_s)))
        ahead_s = (self._state.stamp_ns - wall_ns) / NS
        if abs(ahead_s) > age_s + self._max_age_s:
            raise DeviceError(
                f"{self._where}: joint states are stamped {abs(ahead_s):.3f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's clock; "
                f"at most {self._max_age_s} s is allowed: synchronise the clocks (chrony, PTP)", code="clock_skew",
            )
        return self._state


class FollowWatch:
    """Notices a controller that drops our trajectories without a word, or that somebody else commands.

    What the controller wants always lies between the targets of the last half second, give or take; joint by joint.
    """

    def __init__(self) -> None:
        self._targets: deque[tuple[int, Array]] = deque()

    def start(self, measured_rad: Array, now_ns: int) -> None:
        """A stream begins from (n,) [rad]."""
        self._targets.clear()
        self._targets.append((now_ns, measured_rad))

    def sent(self, target_rad: Array, now_ns: int) -> None:
        """One more target (n,) [rad]."""
        self._targets.append((now_ns, target_rad))
        oldest_ns = now_ns - round(FOLLOW_WINDOW_S * NS)
        while len(self._targets) > 1 and self._targets[1][0] < oldest_ns:
            self._targets.popleft()

    def off_rad(self, reference_rad: Array) -> Array:
        """(n,) how far a reference lies outside what was sent [rad]; zeros when nothing was."""
        if not self._targets:
            return np.zeros(len(reference_rad))
        sent = np.array([target for _time_ns, target in self._targets])
        return np.maximum(np.maximum(sent.min(axis=0) - reference_rad, reference_rad - sent.max(axis=0)), 0.0)


def _picked(values: Sequence[float], names: Sequence[str], order: np.ndarray) -> Array | None:
    """The joints' part of an optional field, None where it was left empty or holds no numbers."""
    if len(values) != len(names):
        return None
    picked = np.asarray(values, dtype=np.float64)[order]
    return picked if np.isfinite(picked).all() else None
