# SPDX-License-Identifier: Apache-2.0
"""Drives one limited device from the cell's command stream or from a trajectory. No thread, no ROS; any clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from dex_core.clock import NS, Clock, SteadyClock
from dex_core.devices.follower import Act, CommandFollower, CommandMode
from dex_core.devices.limited import Limited
from dex_core.devices.trajectory import Outcome, Step, Tolerances, Trajectory, TrajectoryError, TrajectoryRun
from dex_core.errors import ConnectionLostError, DeviceError, DexError
from dex_core.types import Array, JointState

Ended = Callable[[Outcome, str], None]
START_SLACK_RAD = 0.1


class DeviceRuntime:
    """Everything a driver process does with its device. ``lock`` guards it: commands and ticks come from one thread, the rest from others.

    Args:
        device: wrapped in its limits.
        follower: admission rules of the command stream.
        allow_without_gate: trajectories may run while no gate is heard.
        clock: monotonic.

    Attributes:
        active: the device may be moved.
        fault: the device error that ended the activity; None when there is none.
        step: newest step of a trajectory, None before the first.
        state: newest measured state, None before the first.
    """

    def __init__(self, device: Limited, follower: CommandFollower, *, allow_without_gate: bool = False, clock: Clock | None = None) -> None:
        self.lock = threading.RLock()
        self.device, self.follower = device, follower
        self.active = False
        self.fault: DeviceError | None = None
        self.step: Step | None = None
        self.state: JointState | None = None
        self.commands = 0
        self._allow_without_gate = allow_without_gate
        self._clock = clock or SteadyClock()
        self._run: TrajectoryRun | None = None
        self._ended: Ended | None = None
        self._state_ns = 0

    def state_age_s(self) -> float:
        """Age of the newest measurement, infinite before the first."""
        return float("inf") if self.state is None else (self._clock.now_ns() - self._state_ns) / NS

    def start(self) -> None:
        """Readies the device without motion; clears an old error once. Raises DeviceError."""
        with self.lock:
            self.fault = None
            try:
                self.device.enable()
            except DeviceError as error:
                if error.device_code is None:
                    raise
                self.device.recover()
            self.follower.trip("no_gate", "waiting for IDLE or HOLD of the gate")
            self.active = True

    def stop(self, why: str) -> None:
        """Ends a trajectory, holds and disables. Raises DeviceError when the device did not take it."""
        with self.lock:
            was_active, self.active = self.active, False
            self._end(Outcome.INVALID_GOAL, why)
            self.follower.trip("not_active", why)
            if was_active:
                self.device.disable()

    def command(self, mode: int, sequence: int, names: Sequence[str], positions: Sequence[float]) -> None:
        """One message of the command stream: the device moves before this returns."""
        with self.lock:
            decision = self.follower.command(mode, sequence, names, positions, self._clock.now_ns())
            if not self.active:
                return
            if decision.act is Act.FOLLOW:
                if self._run is not None:
                    self._end(Outcome.INVALID_GOAL, "the gate took over")
                self._try(lambda: self._send(decision.position_rad))
            elif decision.act is Act.HOLD:
                self._try(self.device.hold)

    def refuse(self, reason: str, detail: str) -> None:
        """Holds and refuses the stream until the gate idles or holds again."""
        with self.lock:
            decision = self.follower.trip(reason, detail)
            running = self._run is not None
            self._end(Outcome.INVALID_GOAL, detail)
            if self.active and (decision.act is Act.HOLD or running):
                self._try(self.device.hold)

    def tick(self) -> JointState | None:
        """Watches the silence, advances a trajectory and measures; None when the device did not answer."""
        with self.lock:
            if not self.active:
                return None
            if self.follower.tick(self._clock.now_ns()).act is Act.HOLD:
                self._try(self.device.hold)
            self._try(self._measure)
            if self._run is not None and self.active:
                self._try(self._advance)
            return self.state if self.active else None

    def begin(self, trajectory: Trajectory, tolerances: Tolerances, start_ns: int, ended: Ended) -> None:
        """Starts a trajectory; one that runs is replaced and its owner told.

        Raises:
            TrajectoryError: not active, the gate moves the device, or the first point is too far.
        """
        with self.lock:
            self.check_trajectory_allowed()
            assert self.state is not None
            before = self._run
            position = before.desired_position_rad if before else self.state.position_rad
            velocity = before.desired_velocity_rad_s if before else np.zeros(len(self.device.names))
            run = TrajectoryRun(trajectory, tolerances, position, velocity, start_ns, self.device.names)
            self._check_start(run)
            self._end(Outcome.INVALID_GOAL, "replaced by a new goal")
            self._run, self._ended = run, ended

    def cancel(self) -> None:
        """Ends a trajectory and holds."""
        with self.lock:
            if self._run is not None:
                self._end(Outcome.SUCCESSFUL, "cancelled")
                if self.active:
                    self._try(self.device.hold)

    def check_trajectory_allowed(self) -> None:
        """Raises TrajectoryError with the reason when nobody but the gate may move the device now."""
        if not self.active or self.state is None:
            raise TrajectoryError("the device is not active" + (f": {self.fault}" if self.fault else ""))
        problem = self._gate_problem()
        if problem:
            raise TrajectoryError(problem)

    def _gate_problem(self) -> str:
        now_ns = self._clock.now_ns()
        if self.follower.gate_is_idle(now_ns):
            return ""
        if self.follower.silent_s(now_ns) > 0.5 and self._allow_without_gate:
            return ""
        if self.follower.mode is None or self.follower.silent_s(now_ns) > 0.5:
            return "no gate is heard; trajectories need one that streams IDLE (or the parameter allow_without_gate)"
        if self.follower.mode is CommandMode.IDLE:
            return f"the gate is silent for {self.follower.silent_s(now_ns):.3f} s; trajectories run only while it streams IDLE"
        return f"the gate streams {self.follower.mode.name}; trajectories run only while it streams IDLE"

    def _check_start(self, run: TrajectoryRun) -> None:
        assert self.state is not None
        distance = run.first_distance_rad(self.state.position_rad)
        worst = int(np.argmax(distance))
        if self._run is None and distance[worst] > START_SLACK_RAD:
            raise TrajectoryError(
                f"the first point, at time 0, is {distance[worst]:.3f} rad from measured at {run.joints[worst]}; give it a time to get there"
            )

    def _measure(self) -> None:
        self.state = self.device.read()
        self._state_ns = self._clock.now_ns()

    def _advance(self) -> None:
        assert self._run is not None and self.state is not None
        problem = self._gate_problem()
        if problem:
            self._end(Outcome.INVALID_GOAL, problem)
            self.device.hold()
            return
        step = self._run.step(self._clock.now_ns(), self.state.position_rad)
        self.step = step
        if step.outcome is Outcome.PATH_TOLERANCE_VIOLATED or step.outcome is Outcome.GOAL_TOLERANCE_VIOLATED:
            self._end(step.outcome, step.detail)
            self.device.hold()
            return
        self._send(step.position_rad)
        if step.outcome is not None:
            self._end(step.outcome, step.detail)

    def _send(self, position_rad: Array | None) -> None:
        assert position_rad is not None
        self.device.command(position_rad)
        self.commands += 1

    def _end(self, outcome: Outcome, detail: str) -> None:
        ended, self._run, self._ended = self._ended, None, None
        if ended is not None:
            ended(outcome, detail)

    def _try(self, action: Callable[[], None]) -> None:
        """A device error ends the activity; a refused command ends only what asked for it."""
        try:
            action()
        except DeviceError as error:
            self.fault, self.active = error, False
            self.follower.trip(error.code, str(error))
            self._end(Outcome.INVALID_GOAL, str(error))
            if not isinstance(error, ConnectionLostError):
                self._last_hold()
        except DexError as error:
            self.follower.trip(error.code, str(error))
            self._end(Outcome.INVALID_GOAL, str(error))

    def _last_hold(self) -> None:
        """After a device error: what still listens holds; what does not has stopped by itself."""
        try:
            self.device.hold()
        except DexError:
            pass  # the error that led here is the one to tell
