# SPDX-License-Identifier: Apache-2.0
"""The xArm7 controller as a state machine over a plant: requests in, replies out. No sockets, any clock."""

from __future__ import annotations

import threading
from collections.abc import Callable

from dex_core.clock import Clock, SteadyClock
from dex_sim import xarm_controller_wire as wire
from dex_sim.plant import Plant
from dex_sim.xarm_controller_kinematics import JOINT_RANGES_RAD, flange_pose_mm_rad
from dex_sim.xarm_controller_motion import ERROR_JOINT_RANGE
from dex_sim.xarm_controller_moves import PlannedMoves
from dex_sim.xarm_controller_requests import ALL_JOINTS, ClientSession, InvalidRequest, out_of_range, read_bytes, read_numbers, read_switch
from dex_sim.xarm_controller_servo import ServoStream
from dex_sim.xarm_controller_statistics import ServoStatistics
from dex_sim.xarm_controller_wire import Request

MOVING, READY, PAUSED, STOPPED, NOT_READY, DECELERATING = 1, 2, 3, 4, 5, 6
MODE_POSITION, MODE_SERVO, MODE_ONLINE = 0, 1, 6
MODES = (0, 1, 2, 4, 5, 6, 7, 11)
ERROR_EMERGENCY_STOP = 1
_STATE_OF_SET = {0: READY, 3: PAUSED, 4: STOPPED, 6: STOPPED}
_SETTINGS = (33, 34, 35, 36, 37, 38, 39, 40, 47, 48, 50, 51, 52, 58, 59, 60, 70, 77, 78, 232, 253)
"""Settings that are accepted and have no effect on the simulated motion."""


class XArmControllerState:
    """Mode, state, motors, errors and motion of one controller. Thread-safe.

    Attributes:
        temperature_c: seven joint temperatures, set by tests.
        servo_codes: seven servo error codes, set with errors 11 to 17.
    """

    def __init__(
        self, plant: Plant, *, serial: str = "XS1305B2311L01", box_serial: str = "AC1304B2311C01", firmware: str = "v2.5.0",
        clock: Clock | None = None,
    ) -> None:
        self.temperature_c = [34] * 7
        self.servo_codes = [0] * 7
        self.serial, self._box_serial = serial, box_serial
        self.version = f"7,7,{serial},{box_serial},{firmware}"
        self._plant = plant
        self._clock: Clock = clock or SteadyClock()
        self._lock = threading.RLock()
        self._base_state, self._mode = STOPPED, MODE_POSITION
        self._enabled = self._brakes = 0
        self._error = self._warning = 0
        self._estop = False
        self._servo, self._moves = ServoStream(plant, self._clock), PlannedMoves(plant, self._clock)
        self._reports = 0
        self._frames = wire.ReportFrames(firmware, JOINT_RANGES_RAD)
        self._handlers = self._table()

    # --- what people and tests read and do -----------------------------------------------------------------------

    @property
    def statistics(self) -> ServoStatistics:
        """Of servo_j: arrivals, surplus, refused."""
        return self._servo.statistics

    @property
    def mode(self) -> int:
        """0 position, 1 servo, 6 online planning."""
        return self._mode

    @property
    def state(self) -> int:
        """1 moving, 2 ready, 3 paused, 4 stopped, 5 not ready."""
        if self._base_state != READY:
            return self._base_state
        return MOVING if self._moves.active or self._servo.moving else READY

    @property
    def error(self) -> int:
        """Active error code, 0 when none."""
        return self._error

    @property
    def warning(self) -> int:
        """Active warning code, 0 when none."""
        return self._warning

    @property
    def ready(self) -> bool:
        """Moves are accepted."""
        return self._base_state in (READY, PAUSED) and self._enabled == ALL_JOINTS and not self._error

    @property
    def planning(self) -> bool:
        """A planned move needs ``step``."""
        return self._moves.active and self._base_state == READY

    def inject_error(self, code: int, *, servo: int | None = None, servo_code: int = 0) -> None:
        """Raises a controller error (31 collision, 11 to 17 servos...); ``servo`` 1 to 7 gets ``servo_code``."""
        with self._lock:
            if servo is not None:
                self.servo_codes[servo - 1] = servo_code
            self._fault(code)

    def inject_warning(self, code: int) -> None:
        """Raises a controller warning."""
        with self._lock:
            self._warning = code

    def press_emergency_stop(self) -> None:
        """The button of the control box: error 1, motors off, until released and cleared."""
        with self._lock:
            self._estop = True
            self._fault(ERROR_EMERGENCY_STOP)

    def relocated(self) -> None:
        """The world put the arm elsewhere: planned moves are dropped and servo streaming goes on from where it is now."""
        with self._lock:
            self._moves.clear()
            self._servo.start()
            self._plant.hold()

    def release_emergency_stop(self) -> None:
        """Lets the button out; nothing moves and the error stays until it is cleared."""
        with self._lock:
            self._estop = False

    # --- requests ------------------------------------------------------------------------------------------------

    def handle(self, request: Request, session: ClientSession) -> bytes | None:
        """Reply frame for one request; None when none is due."""
        if request.function == wire.HEARTBEAT_FUNCTION and request.protocol != 0:
            return None
        if request.protocol == 0:
            return wire.modbus_refusal(request) if request.params else None
        with self._lock:
            handler = self._handlers.get(request.function)
            try:
                if handler is None:
                    raise InvalidRequest
                data = handler(request, session)
            except InvalidRequest:
                self.statistics.invalid += 1
                return wire.reply(request, self._state_byte() | wire.STATE_INVALID)
            return wire.reply(request, self._state_byte(), data)

    def report(self, port: int) -> bytes:
        """One report frame for ``port``."""
        with self._lock:
            measured = self._plant.read()
            self._reports += 1
            position = measured.position_rad.tolist()
            return self._frames.build(port, wire.ReportStatus(
                self.state, self._mode, self._moves.queued, position, measured.velocity_rad_s.tolist(),
                measured.effort_nm.tolist(), flange_pose_mm_rad(position), self._brakes, self._enabled, self._error,
                self._warning, self.servo_codes, self.temperature_c, self._reports,
            ))

    def step(self) -> bool:
        """Advances planned moves to now; True while there is more to do."""
        with self._lock:
            if self.planning:
                self._moves.step(online=self._mode == MODE_ONLINE)
            return self.planning

    def _state_byte(self) -> int:
        return (
            (wire.STATE_ERROR if self._error else 0) | (wire.STATE_WARNING if self._warning else 0)
            | (0 if self.ready else wire.STATE_NOT_READY)
        )

    def _fault(self, code: int) -> None:
        self._error = code
        self._stop()
        self._enabled = self._brakes = 0

    def _stop(self) -> None:
        self._base_state = STOPPED
        self._moves.clear()
        self._servo.stop()
        self._plant.hold()

    def _table(self) -> dict[int, Callable[[Request, ClientSession], bytes]]:
        table: dict[int, Callable[[Request, ClientSession], bytes]] = {code: lambda _r, _s: b"" for code in _SETTINGS}
        table.update({
            1: lambda _r, _s: self.version.encode("ascii") + b"\0",
            2: lambda _r, _s: f"{self.serial}\0{self._box_serial}\0".encode("ascii"),
            5: lambda _r, _s: b"\0",
            11: self._motion_enable, 12: self._set_state, 13: lambda _r, _s: bytes((self.state,)),
            14: lambda _r, _s: self._moves.queued.to_bytes(2, "big"),
            15: lambda _r, _s: bytes((self._error, self._warning)),
            16: self._clean_error, 17: self._clean_warning, 18: self._brake, 19: self._set_mode,
            23: self._move_joint, 24: self._move_joint, 25: self._go_home, 29: self._servo_j,
            41: lambda _r, _s: wire.floats(flange_pose_mm_rad(self._plant.read().position_rad.tolist())),
            42: self._joint_states, 44: self._forward_kinematics, 45: self._joint_limit,
            55: lambda _r, _s: wire.floats(self._plant.read().effort_nm.tolist()),
            254: self._set_feedback,
        })
        return table

    def _motion_enable(self, request: Request, _session: ClientSession) -> bytes:
        bits, on = read_switch(request)
        if on and not self._error:
            self._enabled |= bits
            self._brakes |= bits
        elif not on:
            self._enabled &= ~bits
            self._brakes &= ~bits
            self._stop()
        return b""

    def _brake(self, request: Request, _session: ClientSession) -> bytes:
        bits, on = read_switch(request)
        self._brakes = self._brakes & ~bits if on else self._brakes | bits
        return b""

    def _set_state(self, request: Request, _session: ClientSession) -> bytes:
        wanted = _STATE_OF_SET.get(read_bytes(request, 1)[0])
        if wanted is None:
            raise InvalidRequest
        if wanted == STOPPED:
            self._stop()
        elif not self._error and self._enabled == ALL_JOINTS:
            if wanted == READY and self._base_state != PAUSED:
                self._servo.start()
            self._base_state = wanted
            self._moves.resume()
        return b""

    def _set_mode(self, request: Request, _session: ClientSession) -> bytes:
        mode = read_bytes(request, 1)[0]
        if mode not in MODES:
            raise InvalidRequest
        self._stop()
        self._mode = mode
        self._base_state = STOPPED if self._error else NOT_READY
        return b""

    def _clean_error(self, _request: Request, _session: ClientSession) -> bytes:
        if not self._estop:
            self._error = 0
            self.servo_codes = [0] * 7
        return b""

    def _clean_warning(self, _request: Request, _session: ClientSession) -> bytes:
        self._warning = 0
        return b""

    def _servo_j(self, request: Request, _session: ClientSession) -> bytes:
        self.statistics.arrived(self._clock.now_ns())
        ready = self.ready and self._base_state != PAUSED and self._mode == MODE_SERVO
        self._judge(self._servo.target(read_numbers(request, 7), ready))
        return b""

    def _move_joint(self, request: Request, session: ClientSession) -> bytes:
        numbers = read_numbers(request, 10)
        if len(request.params) > 40:  # only a check was asked for
            return bytes((ERROR_JOINT_RANGE if out_of_range(numbers[:7]) else 0, 0, 0))
        self._plan(request, session, numbers[:7], numbers[7], numbers[8])
        return b""

    def _go_home(self, request: Request, session: ClientSession) -> bytes:
        read_bytes(request, 12)
        (speed,), (acceleration,) = read_numbers(request, 1), read_numbers(request, 1, offset=4)
        self._plan(request, session, (0.0,) * 7, speed, acceleration)
        return b""

    def _plan(self, request: Request, session: ClientSession, target: tuple[float, ...], speed: float, acceleration: float) -> None:
        if not self.ready or self._mode not in (MODE_POSITION, MODE_ONLINE):
            return
        self._judge(self._moves.add(request, session, target, speed, acceleration, online=self._mode == MODE_ONLINE))

    def _judge(self, codes: tuple[int, int]) -> None:
        """Takes what came of a move: (error, warning), zeros when all is well."""
        error, warning = codes
        self._warning = warning or self._warning
        if error:
            self._fault(error)

    def _joint_states(self, request: Request, _session: ClientSession) -> bytes:
        count = request.params[0] & 15 if request.params else 1
        if not 1 <= count <= 3:
            raise InvalidRequest
        measured = self._plant.read()
        numbers = measured.position_rad.tolist()
        if count >= 2:
            numbers += measured.velocity_rad_s.tolist()
        if count == 3:
            numbers += measured.effort_nm.tolist()
        return wire.floats(numbers)

    def _forward_kinematics(self, request: Request, _session: ClientSession) -> bytes:
        return wire.floats(flange_pose_mm_rad(read_numbers(request, 7)))

    def _joint_limit(self, request: Request, _session: ClientSession) -> bytes:
        return bytes((int(out_of_range(read_numbers(request, 7))),))

    def _set_feedback(self, request: Request, session: ClientSession) -> bytes:
        session.feedback_mask = read_bytes(request, 1)[0]
        return b""
