# SPDX-License-Identifier: Apache-2.0
"""What the controller does with targets: the speed watch of servo mode, and the planner of modes 0 and 6."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dex_sim.xarm_controller_kinematics import Vec, flange_position_m

ERROR_JOINT_RANGE, ERROR_SPEED, ERROR_LINEAR_SPEED = 23, 24, 60
MAX_JOINT_SPEED_RAD_S = math.pi
MAX_LINEAR_SPEED_M_S = 1.2
"""1000 mm/s times the controller's default factor 1.2."""

SERVO_PERIOD_S = 0.004
_SERVO_GAP_S = 0.050
_WINDOW_S = 0.020
_SETTLED_RAD, _SETTLE_LIMIT_S = 0.0005, 0.4


class RateLimit:
    """At most one event per ``period_s`` on average, with room for a burst that jitter makes."""

    def __init__(self, period_s: float, burst: int = 2) -> None:
        self._period_ns, self._burst = round(period_s * 1e9), burst
        self._free_ns = 0

    def admit(self, now_ns: int) -> bool:
        """True when this event is within the rate."""
        start = max(self._free_ns, now_ns - self._burst * self._period_ns)
        if start > now_ns:
            return False
        self._free_ns = start + self._period_ns
        return True


class ServoWatch:
    """Speed of streamed joint targets over the last 20 ms; a gap counts as at most 50 ms, so a jump after silence is a jump."""

    def __init__(self) -> None:
        self._target: tuple[float, ...] = ()
        self._tip: Vec = (0.0, 0.0, 0.0)
        self._time_ns = 0
        self._steps: deque[tuple[float, float, float]] = deque()

    def start(self, position_rad: Sequence[float], now_ns: int) -> None:
        """Servo mode begins here."""
        self._target, self._tip, self._time_ns = tuple(position_rad), flange_position_m(position_rad), now_ns
        self._steps.clear()

    def check(self, target_rad: tuple[float, ...], now_ns: int) -> int:
        """0, or the error the step to this target is; the target becomes the newest one only when it is 0."""
        dt = min(max((now_ns - self._time_ns) * 1e-9, SERVO_PERIOD_S), _SERVO_GAP_S)
        tip = flange_position_m(target_rad)
        joint_step = max(abs(a - b) for a, b in zip(target_rad, self._target, strict=True))
        self._steps.append((dt, joint_step, math.dist(tip, self._tip)))
        total = sum(s[0] for s in self._steps)
        while total - self._steps[0][0] >= _WINDOW_S:
            total -= self._steps.popleft()[0]
        total = max(total, _WINDOW_S)
        if sum(s[1] for s in self._steps) > MAX_JOINT_SPEED_RAD_S * total:
            return ERROR_SPEED
        if sum(s[2] for s in self._steps) > MAX_LINEAR_SPEED_M_S * total:
            return ERROR_LINEAR_SPEED
        self._target, self._tip, self._time_ns = target_rad, tip, now_ns
        return 0


@dataclass
class MoveTask:
    """One planned move. ``done`` is told 0 when it ended, 2 when it was discarded.

    Attributes:
        target_rad: seven joints; infinity keeps that joint where it is.
    """

    target_rad: tuple[float, ...]
    speed_rad_s: float
    acceleration_rad_s2: float
    done: Callable[[int], None] = field(default=lambda _result: None)


class Planner:
    """Moves joints to queued targets with bounded speed and acceleration; mode 0 one after another, mode 6 newest wins."""

    def __init__(self) -> None:
        self._queue: deque[MoveTask] = deque()
        self._task: MoveTask | None = None
        self._command = np.zeros(7)
        self._velocity = np.zeros(7)
        self._start = np.zeros(7)
        self._path = np.zeros(1)
        self._path_velocity = np.zeros(1)
        self._arrived_s = -1.0

    @property
    def active(self) -> bool:
        """A move is running or waiting."""
        return self._task is not None or bool(self._queue)

    @property
    def queued(self) -> int:
        """Moves that have not ended."""
        return len(self._queue) + (self._task is not None)

    def add(self, task: MoveTask, measured_rad: NDArray[np.float64], *, replace: bool) -> None:
        """Queues a move; ``replace`` discards the ones before it but keeps their velocity."""
        if not self.active:
            self._command, self._velocity = np.array(measured_rad), np.zeros(7)
        if replace:
            self._discard()
        self._queue.append(task)

    def clear(self) -> None:
        """Discards everything and forgets the velocity."""
        self._discard()
        self._velocity = np.zeros(7)

    def _discard(self) -> None:
        tasks = ([self._task] if self._task else []) + list(self._queue)
        self._task = None
        self._queue.clear()
        for task in tasks:
            task.done(2)

    def step(self, dt_s: float, measured_rad: NDArray[np.float64], *, online: bool) -> NDArray[np.float64] | None:
        """Advances by ``dt_s`` and returns the joint target (7,) to send, or None when nothing runs."""
        if self._task is None:
            if not self._queue:
                return None
            self._begin(self._queue.popleft())
        task = self._task
        assert task is not None
        target = np.where(np.isfinite(task.target_rad), task.target_rad, self._start)
        arrived = self._online(target, dt_s) if online else self._straight(target, dt_s)
        if arrived:
            self._arrived_s = dt_s if self._arrived_s < 0.0 else self._arrived_s + dt_s
            if np.abs(measured_rad - target).max() < _SETTLED_RAD or self._arrived_s > _SETTLE_LIMIT_S:
                self._task = None
                task.done(0)
        return self._command.copy()

    def _begin(self, task: MoveTask) -> None:
        self._task, self._start, self._arrived_s = task, self._command.copy(), -1.0
        self._path, self._path_velocity = np.zeros(1), np.zeros(1)

    def _straight(self, target: NDArray[np.float64], dt_s: float) -> bool:
        """All joints in step along a line of joint space."""
        task = self._task
        assert task is not None
        delta = target - self._start
        length = float(np.abs(delta).max())
        if length < 1e-9:
            self._command = target
            return True
        limits = (task.speed_rad_s / length, task.acceleration_rad_s2 / length)
        self._path, self._path_velocity = approach(self._path, self._path_velocity, np.ones(1), *limits, dt_s)
        self._command = self._start + self._path[0] * delta
        return bool(self._path[0] == 1.0)

    def _online(self, target: NDArray[np.float64], dt_s: float) -> bool:
        """Each joint by itself, from its present velocity."""
        task = self._task
        assert task is not None
        self._command, self._velocity = approach(
            self._command, self._velocity, target, task.speed_rad_s, task.acceleration_rad_s2, dt_s
        )
        return bool((self._command == target).all())


def approach(
    position: NDArray[np.float64], velocity: NDArray[np.float64], target: NDArray[np.float64], speed: float, acceleration: float, dt_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One step (n,) towards ``target`` within ``speed`` and ``acceleration``; lands exactly and at rest.

    Returns:
        new position and velocity (n,).
    """
    distance = target - position
    # speed from which braking at `acceleration` still ends at the target, for steps of dt_s
    braking = acceleration * (np.sqrt(0.25 * dt_s**2 + 2.0 * np.abs(distance) / acceleration) - 0.5 * dt_s)
    wanted = np.sign(distance) * np.minimum(np.minimum(speed, braking), np.abs(distance) / dt_s)
    new_velocity = velocity + np.clip(wanted - velocity, -acceleration * dt_s, acceleration * dt_s)
    new_position = position + new_velocity * dt_s
    landed = (np.abs(distance) <= acceleration * dt_s**2) & (np.abs(velocity) <= 2.0 * acceleration * dt_s)
    return np.where(landed, target, new_position), np.where(landed, 0.0, new_velocity)
