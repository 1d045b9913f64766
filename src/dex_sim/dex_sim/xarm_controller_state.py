# SPDX-License-Identifier: Apache-2.0
"""The xArm7 controller as a state machine over a plant: requests in, replies out. No sockets, any clock."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import numpy as np

from dex_core.clock import NS, Clock, SteadyClock
from dex_sim import xarm_controller_wire as wire
from dex_sim.plant import Plant
from dex_sim.xarm_controller_kinematics import JOINT_RANGES_RAD, flange_pose_mm_rad
from dex_sim.xarm_controller_motion import SERVO_PERIOD_S, MoveTask, Planner, RateLimit, ServoWatch
from dex_sim.xarm_controller_statistics import ServoStatistics
from dex_sim.xarm_controller_wire import Request

MOVING, READY, PAUSED, STOPPED, NOT_READY, DECELERATING = 1, 2, 3, 4, 5, 6
MODE_POSITION, MODE_SERVO, MODE_ONLINE = 0, 1, 6
MODES = (0, 1, 2, 4, 5, 6, 7, 11)
ALL_JOINTS = 0x7F
ERROR_EMERGENCY_STOP, ERROR_JOINT_RANGE, ERROR_COLLISION = 1, 23, 31
WARNING_PARAMETER = 12
RANGE_TOLERANCE_RAD = math.radians(0.1)
SERVO_MOVING_NS = 100_000_000
PLANNER_PERIOD_S = 0.01
_STATE_OF_SET = {0: READY, 3: PAUSED, 4: STOPPED, 6: STOPPED}
_SETTINGS = (33, 34, 35, 36, 37, 38, 39, 40, 47, 48, 50, 51, 52, 58, 59, 60, 70, 77, 78, 232, 253)
"""Settings that are accepted and have no effect on the simulated motion."""

FeedbackSink = Callable[[bytes], None]


class InvalidRequest(Exception):
    """The function is unknown to this simulator or its parameters are too short."""


class ClientSession:
    """What the controller remembers of one connection to port 502."""

    def __init__(self, send: FeedbackSink) -> None:
        self.send = send
        self.feedback_mask = 0


class XArmControllerState:
    """Mode, state, motors, errors and motion of one controller. Thread-safe.

    Attributes:
        statistics: of servo_j: arrivals, surplus, refused (see ServoStatistics).
        temperature_c: seven joint temperatures, set by tests.
        servo_codes: seven servo error codes, set with errors 11 to 17.
    """

    def __init__(
        self, plant: Plant, *, serial: str = "XS1305B2311L01", box_serial: str = "AC1304B2311C01", firmware: str = "v2.5.0",
        clock: Clock | None = None,
    ) -> None:
        self.statistics = ServoStatistics()
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
        self._watch, self._rate, self._planner = ServoWatch(), RateLimit(SERVO_PERIOD_S), Planner()
        self._servo_ns = -SERVO_MOVING_NS
        self._planned_ns = 0
        self._tasks = 0
        self._reports = 0
        self._frames = wire.ReportFrames(firmware, JOINT_RANGES_RAD)
        self._handlers = self._table()

    # --- what people and tests read and do -----------------------------------------------------------------------

    @property
    def mode(self) -> int:
        """0 position, 1 servo, 6 online planning."""
        return self._mode

    @property
    def state(self) -> int:
        """1 moving, 2 ready, 3 paused, 4 stopped, 5 not ready."""
        if self._base_state != READY:
            return self._base_state
        return MOVING if self._planner.active or self._clock.now_ns() - self._servo_ns < SERVO_MOVING_NS else READY

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
        return self._planner.active and self._base_state == READY

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
            self._planner.clear()
            self._watch.start(self._plant.read().position_rad.tolist(), self._clock.now_ns())
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
                self.state, self._mode, self._planner.queued, position, measured.velocity_rad_s.tolist(),
                measured.effort_nm.tolist(), flange_pose_mm_rad(position), self._brakes, self._enabled, self._error,
                self._warning, self.servo_codes, self.temperature_c, self._reports,
            ))

    def step(self) -> bool:
        """Advances planned moves to now; True while there is more to do."""
        with self._lock:
            now_ns = self._clock.now_ns()
            dt_s = min((now_ns - self._planned_ns) / NS, 5 * PLANNER_PERIOD_S)
            if dt_s > 1e-4 and self.planning:
                self._planned_ns = now_ns
                target = self._planner.step(dt_s, self._plant.read().position_rad, online=self._mode == MODE_ONLINE)
                if target is not None:
                    self._plant.command(target)
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
        self._planner.clear()
        self._servo_ns = -SERVO_MOVING_NS
        self._plant.hold()

    def _table(self) -> dict[int, Callable[[Request, ClientSession], bytes]]:
        table: dict[int, Callable[[Request, ClientSession], bytes]] = {code: lambda _r, _s: b"" for code in _SETTINGS}
        table.update({
            1: lambda _r, _s: self.version.encode("ascii") + b"\0",
            2: lambda _r, _s: f"{self.serial}\0{self._box_serial}\0".encode("ascii"),
            5: lambda _r, _s: b"\0",
            11: self._motion_enable, 12: self._set_state, 13: lambda _r, _s: bytes((self.state,)),
            14: lambda _r, _s: self._planner.queued.to_bytes(2, "big"),
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
        joint, on = _bytes(request, 2)
        bits = ALL_JOINTS if joint == 8 else 1 << (joint - 1) & ALL_JOINTS
        if on and not self._error:
            self._enabled |= bits
            self._brakes |= bits
        elif not on:
            self._enabled &= ~bits
            self._brakes &= ~bits
            self._stop()
        return b""

    def _brake(self, request: Request, _session: ClientSession) -> bytes:
        joint, on = _bytes(request, 2)
        bits = ALL_JOINTS if joint == 8 else 1 << (joint - 1) & ALL_JOINTS
        self._brakes = self._brakes & ~bits if on else self._brakes | bits
        return b""

    def _set_state(self, request: Request, _session: ClientSession) -> bytes:
        wanted = _STATE_OF_SET.get(_bytes(request, 1)[0])
        if wanted is None:
            raise InvalidRequest
        if wanted == STOPPED:
            self._stop()
        elif not self._error and self._enabled == ALL_JOINTS:
            if wanted == READY and self._base_state != PAUSED:
                self._watch.start(self._plant.read().position_rad.tolist(), self._clock.now_ns())
            self._base_state = wanted
            self._planned_ns = self._clock.now_ns()
        return b""

    def _set_mode(self, request: Request, _session: ClientSession) -> bytes:
        mode = _bytes(request, 1)[0]
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
        now_ns = self._clock.now_ns()
        self.statistics.arrived(now_ns)
        target = wire.read_floats(request.params, 7)
        if target is None:
            raise InvalidRequest
        if not self.ready or self._base_state == PAUSED or self._mode != MODE_SERVO:
            self.statistics.refused += 1
        elif not all(map(math.isfinite, target)):
            self.statistics.refused += 1
            self._warning = WARNING_PARAMETER
        elif not self._rate.admit(now_ns):
            self.statistics.surplus += 1
        elif _out_of_range(target):
            self._fault(ERROR_JOINT_RANGE)
        elif error := self._watch.check(target, now_ns):
            self._fault(error)
        else:
            self._servo_ns = now_ns
            self.statistics.executed += 1
            self._plant.command(np.array(target))
        return b""

    def _move_joint(self, request: Request, session: ClientSession) -> bytes:
        numbers = wire.read_floats(request.params, 10)
        if numbers is None:
            raise InvalidRequest
        if len(request.params) > 40:  # only a check was asked for
            return bytes((ERROR_JOINT_RANGE if _out_of_range(numbers[:7]) else 0, 0, 0))
        self._plan(request, session, numbers[:7], numbers[7], numbers[8])
        return b""

    def _go_home(self, request: Request, session: ClientSession) -> bytes:
        if len(request.params) < 12:
            raise InvalidRequest
        (speed,), (acceleration,) = wire.read_floats(request.params, 1), wire.read_floats(request.params[4:], 1)  # type: ignore[misc]
        self._plan(request, session, (0.0,) * 7, speed, acceleration)
        return b""

    def _plan(self, request: Request, session: ClientSession, target: tuple[float, ...], speed: float, acceleration: float) -> None:
        if not self.ready or self._mode not in (MODE_POSITION, MODE_ONLINE):
            return
        if not (speed > 0.0 and acceleration > 0.0 and math.isfinite(speed * acceleration)) or any(map(math.isnan, target)):
            self._warning = WARNING_PARAMETER
            return
        if _out_of_range(tuple(0.0 if math.isinf(q) else q for q in target)):
            self._fault(ERROR_JOINT_RANGE)
            return
        if not self._planner.active:
            self._planned_ns = self._clock.now_ns()
        task = MoveTask(target, min(speed, math.pi), min(acceleration, 20.0), self._feedback_of(request, session))
        self._planner.add(task, self._plant.read().position_rad, replace=self._mode == MODE_ONLINE)

    def _feedback_of(self, request: Request, session: ClientSession) -> Callable[[int], None]:
        self._tasks += 1
        task, mask, transaction, function = self._tasks, session.feedback_mask, request.transaction, request.function

        def tell(kind: int, result: int) -> None:
            session.send(wire.feedback(transaction, kind, function, task, result, self._clock.now_ns() // 1000))

        if mask & 1:
            tell(1, 0)
        return (lambda result: tell(2, result)) if mask & 2 else (lambda _result: None)

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
        joints = wire.read_floats(request.params, 7)
        if joints is None:
            raise InvalidRequest
        return wire.floats(flange_pose_mm_rad(joints))

    def _joint_limit(self, request: Request, _session: ClientSession) -> bytes:
        joints = wire.read_floats(request.params, 7)
        if joints is None:
            raise InvalidRequest
        return bytes((int(_out_of_range(joints)),))

    def _set_feedback(self, request: Request, session: ClientSession) -> bytes:
        session.feedback_mask = _bytes(request, 1)[0]
        return b""


def _bytes(request: Request, count: int) -> bytes:
    if len(request.params) < count:
        raise InvalidRequest
    return request.params[:count]


def _out_of_range(joints_rad: tuple[float, ...]) -> bool:
    return any(
        not low - RANGE_TOLERANCE_RAD <= q <= high + RANGE_TOLERANCE_RAD for q, (low, high) in zip(joints_rad, JOINT_RANGES_RAD, strict=True)
    )
