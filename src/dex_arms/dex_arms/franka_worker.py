# SPDX-License-Identifier: Apache-2.0
"""The 1 kHz side of the Franka driver, a process of its own: ``pylibfranka`` never lets go of the interpreter's lock while it waits.

It reads the robot's state, leads the joints after the newest target, and does what the driver asks (JSON, one datagram each way). When the driver
dies, it brakes, ends the motion and leaves.
"""

from __future__ import annotations

import argparse
import gc
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pylibfranka

from dex_arms.franka_codes import MODE_WORDS, errors_in_words
from dex_arms.franka_config import FrankaSettings, load_settings
from dex_arms.franka_follow import ArmLimits, TargetFollower
from dex_arms.franka_shared import MODES, Act, Report, SharedMemory
from dex_core.clock import set_realtime_priority
from dex_core.errors import DeviceError

MAX_STEPS = 20
"""Periods made up for at once when this process was late; after as many the robot has stopped by reflex."""
STOP_TIMEOUT_S, RECOVERY_TIMEOUT_S = 1.5, 2.0
REALTIME_PRIORITY = 60
"""Above everything but the gate's loop: 20 periods lost in a row, and the robot stops by reflex."""


class Worker:
    """Robot, follower and driver's wishes in one loop.

    Args:
        robot: connected.
        follower: leads the joints.
        settings: of the driver.
        shared: memory shared with the driver.
        orders: socket of the driver.
    """

    def __init__(self, robot: Any, follower: TargetFollower, settings: FrankaSettings, shared: SharedMemory, orders: socket.socket) -> None:
        self._robot, self._follower, self._settings = robot, follower, settings
        self._shared, self._orders = shared, orders
        self._control: Any = None
        self._state: Any = None
        self._fault = ""
        self._missed = self._number = 0
        self._target_s = 0.0
        self._ended = self._lost = False
        orders.setblocking(False)

    def run(self) -> None:
        """One turn a millisecond, at the robot's pace, until the driver ends it. Raises pylibfranka's errors when the link is lost."""
        while not self._ended:
            self.turn()
            self._take_orders()

    def turn(self) -> None:
        """The next state, and a step of the joints when this process leads them. A motion that the robot ends is a fault, not an error."""
        try:
            if self._control is None:
                self._state = self._robot.read_once()
            else:
                self._lead()
        except pylibfranka.ControlException as error:
            self._give_up(str(error))
        self._report()

    def fail(self, why: str) -> None:
        """Last words."""
        self._fault, self._control, self._lost = why, None, True
        if self._state is not None:
            self._report()

    def _lead(self) -> None:
        self._state, passed = self._control.readOnce()
        steps = max(1, round(passed.to_sec() * 1000.0))
        self._missed += steps - 1
        self._take_target()
        try:
            for _ in range(min(steps, MAX_STEPS)):
                position = self._follower.step()
        except DeviceError as error:
            self._give_up(f"this driver stopped the arm: {error}")
            return
        self._control.writeOnce(pylibfranka.JointPositions(position.tolist()))

    def _take_target(self) -> None:
        target, now_s = self._shared.target(), time.monotonic()
        if target is not None and target.number != self._number:
            self._number, self._target_s = target.number, now_s
            if target.act is Act.FOLLOW:
                self._follower.target(target.position_rad, now_s)
            else:
                self._follower.brake()
        elif now_s - self._target_s > self._settings.target_timeout_s:
            self._follower.brake()

    def _give_up(self, why: str) -> None:
        self._control = None  # the library stops a motion that still runs
        self._state = self._robot.read_once()
        errors = json.loads(str(self._state.last_motion_errors))
        said = why.splitlines()[0].replace("libfranka: ", "").split(" [")[0]
        self._fault = f"{said} {errors_in_words(errors)}" if errors else said

    def _report(self) -> None:
        state = self._state
        self._shared.write_report(Report(
            time.monotonic_ns(), time.time_ns(), round(state.time.to_sec() * 1000.0), self._mode(), self._control is not None, self._lost,
            self._fault, state.control_command_success_rate, self._missed, self._number, state.q, state.dq, state.tau_J, state.q_d,
            state.tau_ext_hat_filtered,
        ))

    def _mode(self) -> str:
        return MODES[int(self._state.robot_mode)]

    # --- what the driver asks ------------------------------------------------------------------------------------------

    def _take_orders(self) -> None:
        try:
            data = self._orders.recv(4096)
        except BlockingIOError:
            return
        if not data:
            self._stop()
            self._ended = True
            return
        actions: dict[str, Callable[[], None]] = {"enable": self._enable, "disable": self._stop, "recover": self._recover}
        try:
            actions[json.loads(data)["do"]]()
            answer = {}
        except (DeviceError, pylibfranka.CommandException, pylibfranka.ControlException) as error:
            answer = {"error": str(error).replace("libfranka: ", "")}
        self._report()  # before the answer: the driver looks at it next
        self._orders.send(json.dumps(answer).encode())

    def _enable(self) -> None:
        if self._control is not None:
            return
        mode = self._mode()
        if mode != "Idle":
            raise DeviceError(f"the robot is not ready: {MODE_WORDS[mode]}")
        collision = self._settings.collision
        self._robot.set_collision_behavior(
            collision.lower_torque_nm, collision.upper_torque_nm, collision.lower_force, collision.upper_force,
        )
        self._robot.set_joint_impedance(self._settings.joint_impedance_nm_rad)
        target = self._shared.target()
        self._number = target.number if target is not None else 0
        control = self._robot.start_joint_position_control(pylibfranka.ControllerMode.JointImpedance)
        self._state, _passed = control.readOnce()
        if not np.isfinite(self._state.q_d).all():
            raise DeviceError(f"the robot's desired joints are not finite: {self._state.q_d}")
        self._follower.start(np.array(self._state.q_d))
        control.writeOnce(pylibfranka.JointPositions(self._state.q_d))
        self._control, self._fault, self._missed = control, "", 0

    def _stop(self) -> None:
        """Brakes, then ends the motion; the robot holds the pose by itself."""
        deadline = time.monotonic() + STOP_TIMEOUT_S
        self._follower.brake()
        while self._control is not None and not self._follower.at_rest and time.monotonic() < deadline:
            self._target_s = time.monotonic()
            self.turn()
        if self._control is not None:
            control, self._control = self._control, None
            control.readOnce()
            last = pylibfranka.JointPositions(self._follower.position.tolist())
            last.motion_finished = True
            control.writeOnce(last)

    def _recover(self) -> None:
        if self._control is None and self._mode() != "Idle":
            self._robot.automatic_error_recovery()
            deadline = time.monotonic() + RECOVERY_TIMEOUT_S
            while self._mode() in ("AutomaticErrorRecovery", "Reflex"):
                self.turn()
                if time.monotonic() > deadline:
                    raise DeviceError(f"not recovered within {RECOVERY_TIMEOUT_S} s: {MODE_WORDS[self._mode()]}")
        self._enable()


def main() -> int:
    """Started by the driver, with what it shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--memory", type=int, required=True)
    parser.add_argument("--orders", type=int, required=True)
    parser.add_argument("--limits", type=json.loads, required=True)
    args = parser.parse_args()
    orders = socket.socket(fileno=args.orders)
    try:
        settings = load_settings()
        limits = ArmLimits(**{key: np.array(value) if isinstance(value, list) else value for key, value in args.limits.items()})
        robot = pylibfranka.Robot(args.host, pylibfranka.RealtimeConfig.kIgnore)
    except RuntimeError as error:  # every error of the library, also Poco's own that leak through it
        orders.send(json.dumps({"error": str(error)}).encode())
        return 1
    worker = Worker(robot, TargetFollower(limits, settings.corner_rad_s), settings, SharedMemory(args.memory), orders)
    set_realtime_priority(REALTIME_PRIORITY)  # after the library, which takes the highest there is
    gc.freeze()
    gc.disable()  # the loop makes no cycles; a collection would cost a millisecond
    try:
        worker.turn()
        orders.send(b"{}")
        worker.run()
    except (RuntimeError, OSError) as error:
        worker.fail(f"link to the robot at {args.host} is lost: {str(error).replace('libfranka: ', '')}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
