# SPDX-License-Identifier: Apache-2.0
"""State machine of a simulated Franka controller: modes, motions, reflexes, settings. No sockets, no clock: one ``tick`` is one millisecond."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from dex_sim.franka_model import FrankaModel, Vector
from dex_sim.franka_motion import Desired, JointLeader, Leader, PlannedLeader, TorqueLeader, make_leader
from dex_sim.franka_settings import FrankaSettings
from dex_sim.franka_wire import ERRORS, STATE, Command, Controller, Generator, Mode, Move, MoveStatus, PlainStatus, Request, SetterStatus

LOST_IN_A_ROW = 20
"""Motion commands lost in a row before the communication reflex; the vendor's number."""
FIRST_COMMAND_TICKS = 100
"""The first command of a motion may take this long; chosen here."""
RECOVERY_TICKS = 50
SUCCESS_WINDOW = 100


class FrankaController:
    """One arm's controller.

    Args:
        model: the arm.
        position_rad: (7,) where its joints are.

    Attributes:
        desired: desired joints; the joints of the world follow them.
        mode: what it is doing.
        time_ms: counts ticks; the id of the newest state.
        replies: frames to send to the client, oldest first; whoever sends them empties the list.
        motions, reflexes: counts since the start.
        lost: commands lost in the present or last motion.
        peaks: (3, 7) largest velocity, acceleration and jerk that were commanded to the joints in that motion, by differences.
    """

    def __init__(self, model: FrankaModel, position_rad: Vector) -> None:
        self.model = model
        self.desired = Desired(position_rad)
        self.mode = Mode.IDLE
        self.time_ms = 0
        self.replies: list[bytes] = []
        self.motions = self.reflexes = self.lost = 0
        self.peaks = np.zeros((3, 7))
        self._measured = (np.array(position_rad), np.zeros(7), np.zeros(7))
        self._external = np.zeros(7)
        self._generator, self._controller = Generator.IDLE, Controller.OTHER
        self._leader: Leader | None = None
        self._move: Request | None = None
        self._recovery: Request | None = None
        self._ending: MoveStatus | None = None
        self._ticks_left = 0
        self._lost_in_a_row = 0
        self._command_ms = 0
        self._answered: deque[bool] = deque(maxlen=SUCCESS_WINDOW)
        self._state = np.zeros(1, STATE)
        self._state[0]["O_ddP_O"] = 0.0, 0.0, -9.81
        self._settings = FrankaSettings(self._state[0])

    @property
    def expects_commands(self) -> bool:
        """A client leads a motion and owes a command in every period."""
        return self.mode is Mode.MOVE and self._ending is None and self._command_ms > 0 and not isinstance(self._leader, PlannedLeader)

    # --- what a client asks on TCP ------------------------------------------------------------------------------------

    def handle(self, request: Request) -> None:
        """Answers a request into ``replies``, at once or when what it asks for is over."""
        handlers: dict[Command, Callable[[Request], int | None]] = {
            Command.MOVE: self._start, Command.STOP_MOVE: self._stop, Command.AUTOMATIC_ERROR_RECOVERY: self._recover,
            Command.GET_ROBOT_MODEL: self._send_model,
        }
        status = handlers.get(request.command, self._set)(request)
        if status is not None:
            self.replies.append(request.reply(status))

    def _start(self, request: Request) -> int | None:
        if self.mode is Mode.USER_STOPPED:
            return MoveStatus.REJECTED_BY_SAFETY
        if self.mode is not Mode.IDLE:
            return MoveStatus.NOT_POSSIBLE
        move = Move.parse(request.payload)
        torque = move is not None and move.controller is Controller.EXTERNAL
        if move is None or torque != (move.generator is Generator.NONE) or move.planned and move.generator is not Generator.JOINT_POSITION:
            return MoveStatus.INVALID_ARGUMENT
        self._leader = make_leader(move, self.model, self.desired, self._settings.tool())
        if torque:
            self.desired.torque = np.zeros(7)
        self.mode, self._generator, self._controller = Mode.MOVE, move.generator, move.controller
        self._move, self._ending = request, None
        self._command_ms, self._lost_in_a_row, self._ticks_left = 0, 0, FIRST_COMMAND_TICKS
        self.lost = 0
        self._answered.clear()
        self._state[0]["reflex_reason"] = 0
        self.motions += 1
        return MoveStatus.STARTED

    def _stop(self, _request: Request) -> int:
        if self._move is not None:
            self._ending = MoveStatus.PREEMPTED
        return PlainStatus.SUCCESS

    def _recover(self, request: Request) -> int | None:
        if self.mode is Mode.USER_STOPPED:
            return PlainStatus.REJECTED_BY_SAFETY
        if self.mode not in (Mode.IDLE, Mode.REFLEX):
            return PlainStatus.NOT_POSSIBLE
        if self.mode is Mode.IDLE:
            return PlainStatus.SUCCESS
        self.mode, self._recovery, self._ticks_left = Mode.RECOVERY, request, RECOVERY_TICKS
        return None

    def _send_model(self, request: Request) -> None:
        self.replies.append(request.reply(PlainStatus.SUCCESS, self.model.urdf.encode()))

    def _set(self, request: Request) -> int:
        if self.mode not in (Mode.IDLE, Mode.GUIDING, Mode.OTHER):
            return SetterStatus.REJECTED_BY_SAFETY if self.mode is Mode.USER_STOPPED else SetterStatus.NOT_POSSIBLE
        if request.command is Command.SET_GUIDING_MODE:
            return SetterStatus.SUCCESS
        return self._settings.apply(request)

    # --- what happens to the arm --------------------------------------------------------------------------------------

    def measure(self, position_rad: Vector, velocity_rad_s: Vector, effort_nm: Vector) -> None:
        """Newest joints of the world (7,)."""
        self._measured = (position_rad, velocity_rad_s, effort_nm)

    def relocate(self, position_rad: Vector) -> None:
        """The joints were put elsewhere: no motion, no error, as after power-on."""
        self._end(MoveStatus.ABORTED, Mode.IDLE)
        if self._recovery is not None:
            self.replies.append(self._recovery.reply(PlainStatus.SUCCESS))
            self._recovery = None
        self.mode = Mode.IDLE
        self.desired = Desired(position_rad)
        self._external = np.zeros(7)
        self.measure(np.array(position_rad), np.zeros(7), np.zeros(7))

    def reflex(self, error: str) -> None:
        """Stops for one of ERRORS."""
        if self.mode in (Mode.USER_STOPPED, Mode.GUIDING):
            return
        self._state[0]["reflex_reason"] = 0
        self._state[0]["reflex_reason"][ERRORS.index(error)] = 1
        self.reflexes += 1
        self._end(MoveStatus.REFLEX_ABORTED, Mode.REFLEX)

    def user_stop(self, pressed: bool) -> None:
        """The button in the user's hand."""
        if pressed:
            self._end(MoveStatus.EMERGENCY_ABORTED, Mode.USER_STOPPED)
        elif self.mode is Mode.USER_STOPPED:
            self.mode = Mode.IDLE

    def guide(self, guiding: bool) -> None:
        """Somebody takes the arm by its handle, or lets go."""
        if guiding and self.mode in (Mode.IDLE, Mode.MOVE):
            self._end(MoveStatus.ABORTED, Mode.GUIDING)
        elif not guiding and self.mode is Mode.GUIDING:
            self.mode = Mode.IDLE

    def push(self, torque_nm: Vector) -> None:
        """External torque (7,) on the joints, as the controller estimates it; beyond the collision thresholds it is a joint reflex."""
        self._external = np.array(torque_nm)

    def abandon(self) -> None:
        """The client is gone: a motion ends without a reply."""
        self._move = self._recovery = None
        self._end(MoveStatus.ABORTED, Mode.IDLE)
        self.replies.clear()

    # --- time ---------------------------------------------------------------------------------------------------------

    def tick(self, command: np.void | None) -> None:
        """One millisecond, with the newest motion command that arrived in it."""
        self.time_ms += 1
        if self.mode is Mode.RECOVERY:
            self._tick_recovery()
        if self.mode is Mode.MOVE and self._ending is None:
            self._tick_motion(command)
        else:
            at_rest = self.desired.brake(self.model.limits.acceleration)
            if self._ending is not None and at_rest:
                self._end(self._ending, Mode.IDLE)
            if self.mode is Mode.GUIDING:
                self.desired.position = np.array(self._measured[0])
        if (np.abs(self._external) > self._settings.torque_thresholds[3]).any() and self.mode in (Mode.IDLE, Mode.MOVE):
            self.reflex("joint_reflex")

    def _tick_recovery(self) -> None:
        self._ticks_left -= 1
        if self._ticks_left > 0:
            return
        self.mode = Mode.IDLE
        self._state[0]["reflex_reason"] = 0
        if self._recovery is not None:
            self.replies.append(self._recovery.reply(PlainStatus.SUCCESS))
            self._recovery = None

    def _tick_motion(self, command: np.void | None) -> None:
        assert self._leader is not None
        command = command if self._is_current(command) else None
        planned = isinstance(self._leader, PlannedLeader)
        self._answered.append(command is not None or planned)
        if command is None:
            self._miss(planned)
            return
        periods = int(command["message_id"]) - self._command_ms if self._command_ms else 1
        self._command_ms, self._lost_in_a_row, self._ticks_left = int(command["message_id"]), 0, 0
        if command["motion_finished"] or command["torque_finished"]:
            self._ending = MoveStatus.SUCCESS
            return
        if not _is_finite(command):
            self._end(MoveStatus.INPUT_ERROR_ABORTED, Mode.IDLE)
            return
        error = self._leader.follow(command, periods)
        if isinstance(self._leader, JointLeader):
            self.peaks = self._leader.peaks
        if error:
            self.reflex(error)

    def _miss(self, planned: bool) -> None:
        """A period without a command."""
        if self._command_ms == 0:
            self._ticks_left -= 1
            if self._ticks_left > 0 or planned:
                return
        elif not planned:
            self.lost += 1
            self._lost_in_a_row += 1
        assert self._leader is not None
        if self._command_ms == 0 or self._lost_in_a_row >= LOST_IN_A_ROW:
            self.reflex("communication_constraints_violation")
        else:
            self._leader.extrapolate()

    def _is_current(self, command: np.void | None) -> bool:
        if command is None:
            return False
        # only the answer to the newest state: a later one would be obeyed where the arm has already gone on by itself
        return int(command["message_id"]) == self.time_ms - 1

    def _end(self, status: MoveStatus, mode: Mode) -> None:
        if self._move is not None:
            self.replies.append(self._move.reply(status))
        self._move = self._leader = self._ending = None
        self._generator, self._controller, self.mode = Generator.IDLE, Controller.OTHER, mode
        self.desired.torque = np.zeros(7)
        self.desired.twist = self.desired.twist_rate = np.zeros(6)

    # --- what a client sees on UDP ------------------------------------------------------------------------------------

    def state(self) -> bytes:
        """The newest state."""
        state, desired = self._state[0], self.desired
        by_torque = isinstance(self._leader, TorqueLeader)
        # under torques the simulated dynamics lead, and the world's joints come a few milliseconds after
        position, velocity, effort = (desired.position, desired.velocity, self._measured[2]) if by_torque else self._measured
        state["message_id"] = self.time_ms
        state["q"] = state["theta"] = position
        state["dq"] = state["dtheta"] = velocity
        state["tau_J"] = effort
        state["q_d"], state["dq_d"], state["ddq_d"], state["tau_J_d"] = desired.position, desired.velocity, desired.acceleration, desired.torque
        tool = self._settings.tool()
        state["O_T_EE"] = (self.model.flange(position) @ tool).T.ravel()
        state["O_T_EE_d"] = state["O_T_EE_c"] = (self.model.flange(desired.position) @ tool).T.ravel()
        state["O_dP_EE_d"] = state["O_dP_EE_c"] = desired.twist
        state["O_ddP_EE_c"] = desired.twist_rate
        state["elbow"] = position[2], 1.0 if position[3] > 0.0 else -1.0
        state["elbow_d"] = state["elbow_c"] = desired.position[2], 1.0 if desired.position[3] > 0.0 else -1.0
        external = np.abs(self._external)
        state["tau_ext_hat_filtered"] = self._external
        _, _, lower, upper = self._settings.torque_thresholds
        state["joint_contact"], state["joint_collision"] = external > lower, external > upper
        state["motion_generator_mode"], state["controller_mode"], state["robot_mode"] = self._generator, self._controller, self.mode
        state["control_command_success_rate"] = float(np.mean(self._answered)) if self._answered and self.mode is Mode.MOVE else 0.0
        return self._state.tobytes()


def _is_finite(command: np.void) -> bool:
    return all(np.isfinite(command[key]).all() for key in ("q_c", "dq_c", "O_T_EE_c", "O_dP_EE_c", "elbow_c", "tau_J_d"))
