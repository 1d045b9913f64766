# SPDX-License-Identifier: Apache-2.0
"""The call surface of Paxini's `pxdex.dh13`, for a simulated hand: imported in its place where the address is HOST:PORT. Never a real hand.

Names, order, units and what calls return are the SDK's (1.1.0 and the public parts of 3.2.1); behind them is the `simulated` transport.
Not here: the palm camera, speed and current control, which return False.
"""

from __future__ import annotations

import math
import socket
import time
from dataclasses import dataclass
from enum import Enum, IntEnum

from dex_core.devices.simulated_wire import DeviceFault, Frame, FrameReader, Kind, Refusal, split_address

TIMEOUT_S = 0.5
HOMING_S = 5.0
NEAR_RAD = 0.03
RECEIVE_BYTES = 4096
FINGERS = ("indexFinger", "middleFinger", "ringFinger", "thumb")
JOINTS = 16
MOTOR_JOINTS = (0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 15)
"""Joints with a motor of their own; 3, 7 and 11 follow the one before."""
PAD_JOINTS = (1, 2, 3, 5, 6, 7, 9, 10, 11, 14, 15)
"""The joint that a pad loads: three of index, middle and ring, two of the thumb, proximal to distal."""
LEVER_M, NEWTON_PER_COUNT = 0.03, 0.1
"""Of the model behind the pads: a force is a joint's torque over this lever. The count is what users assume."""


class ControlMode(Enum):
    """How motors are controlled."""

    NONE_CONTROL_MODE = 0
    TORQUE_CONTROL_MODE = 1
    SPEED_CONTROL_MODE = 2
    POSITION_CONTROL_MODE = 3


class ErrorCode(IntEnum):
    """Errors of a motor by the SDK's names, in the order its example lists them; their numbers are not public."""

    OVER_VOLT = 1
    UNDER_VOLT = 2
    OVER_CURRENTU = 3
    OVER_CURRENTV = 4
    OVER_CURRENTW = 5
    OVER_TEMPERATURE = 6
    ADC_CALIB = 7
    FOC_ERR = 8
    OVER_IQ = 9
    OPD_U = 10
    OPD_V = 11
    OPD_W = 12
    POS_REF_OVER = 13
    POS_REF_UNDER = 14
    ABZ_ERR = 15
    ABZ_Z_ERR = 16
    DISCONNECT = 17


_PLAIN = {DeviceFault.OVERLOAD: ErrorCode.OVER_IQ, DeviceFault.OVER_TEMPERATURE: ErrorCode.OVER_TEMPERATURE, DeviceFault.MOTOR: ErrorCode.FOC_ERR}


@dataclass
class FingerAngle:
    """Angles of one finger [deg]."""

    joint1: float = 0.0
    joint2: float = 0.0
    joint3: float = 0.0
    joint4: float = 0.0


@dataclass
class ForcePoint:
    """Force on one pad [counts]."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0


@dataclass
class FingerMotorsError:
    """One motor's error."""

    finger_name: str
    motor_ID: int
    error_code: ErrorCode


class Dex13MotorSpeed:
    """Target speeds motor1_speed .. motor13_speed [rpm]."""

    def __init__(self) -> None:
        for motor in range(1, len(MOTOR_JOINTS) + 1):
            setattr(self, f"motor{motor}_speed", 0)


class DexH13Control:
    """One hand. Setters return whether they were obeyed, getters raise RuntimeError without a hand."""

    def __init__(self) -> None:
        self._link: socket.socket | None = None
        self._reader = FrameReader()
        self._sequence = self._joint_sum = 0
        self._who = ""
        self._mode = ControlMode.NONE_CONTROL_MODE
        self._enabled = False
        self._zero = [0.0] * len(PAD_JOINTS)

    # -- connection -----------------------------------------------------------------------------------------------------
    def activeHandy(self, handy_port_num: str, camera_port_num: str) -> int:
        """Opens ``HOST:PORT``; 1 for a left hand, 2 for a right one. Raises RuntimeError."""
        del camera_port_num  # a simulated hand has no eye
        self.disconnectHandy()
        try:
            self._link = socket.create_connection(split_address(handy_port_num, "DexH13"), TIMEOUT_S)
            self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise RuntimeError(f"no hand at {handy_port_num}: {error}") from error
        self._who, self._joint_sum = "", 0
        told = self._ask(Kind.HELLO)  # a stranger is refused, and told by whom
        self._who, self._joint_sum = told.who, told.joints
        hello = self._ask(Kind.HELLO)
        if hello.kind is not Kind.STATE or len(hello.position_rad) not in (len(MOTOR_JOINTS), JOINTS):
            self.disconnectHandy()
            raise RuntimeError(f"{told.who!r} at {handy_port_num} refuses: {hello.code.name.lower()}")
        return 1 if self._who.startswith("left_") else 2

    def isConnectHandy(self) -> bool:
        """Whether the hand answers."""
        try:
            self._ask(Kind.READ)
        except RuntimeError:
            return False
        return True

    def disconnectHandy(self) -> bool:
        """Lets the hand go."""
        was, self._link, self._enabled = self._link, None, False
        if was is not None:
            was.close()
        self._reader = FrameReader()
        return was is not None

    # -- motors -----------------------------------------------------------------------------------------------------------
    def initMotorPosition(self) -> bool:
        """Homes: the joints go to zero; returns when they are there, False when they are not within ``HOMING_S``."""
        home = (0.0,) * len(self._ask(Kind.READ).position_rad)
        if not self._obeyed(Kind.ENABLE, home):
            return False
        deadline_s = time.monotonic() + HOMING_S
        while time.monotonic() < deadline_s:
            if max(map(abs, self._ask(Kind.READ).position_rad)) < NEAR_RAD:
                self._obeyed(Kind.HOLD)
                return True
            time.sleep(0.01)
        return False

    def setMotorControlMode(self, mode: ControlMode) -> bool:
        """Sets the mode, while motors are off only."""
        if self._enabled or mode is not ControlMode.POSITION_CONTROL_MODE:
            return False
        self._mode = mode
        return True

    def getMotorControlMode(self) -> ControlMode:
        """The mode."""
        return self._mode

    def enableMotor(self) -> bool:
        """Motors on, where they are."""
        self._enabled = self._mode is ControlMode.POSITION_CONTROL_MODE and self._obeyed(Kind.ENABLE)
        return self._enabled

    def isMotorEnabled(self) -> bool:
        """Whether motors are on."""
        return self._enabled

    def disableMotor(self) -> bool:
        """Motors off."""
        self._enabled = False
        return self._obeyed(Kind.DISABLE)

    def setMotorMaxSpeed(self, speed: int) -> bool:
        """Of speed control, which the simulated hand does not have."""
        del speed
        return False

    def setMotorTargetSpeed(self, speed: Dex13MotorSpeed) -> bool:
        """Of speed control, which the simulated hand does not have."""
        del speed
        return False

    # -- joints -----------------------------------------------------------------------------------------------------------
    def setJointPositionsRadian(self, radians: list[float]) -> bool:
        """Sixteen targets [rad], index, middle, ring, thumb; what has no motor is not looked at."""
        if not self._enabled or len(radians) != JOINTS:
            return False
        slots = MOTOR_JOINTS if len(self._ask(Kind.READ).position_rad) == len(MOTOR_JOINTS) else range(JOINTS)
        answer = self._ask(Kind.COMMAND, tuple(float(radians[slot]) for slot in slots))
        self._enabled = answer.code is not Refusal.NOT_ENABLED  # a hand that was without power says so
        return answer.kind is Kind.STATE

    def getJointPositionsRadian(self) -> list[float]:
        """Sixteen positions [rad]."""
        return _sixteen(self._ask(Kind.READ).position_rad)

    def setJointPositionsAngle(self, angles: list[FingerAngle]) -> bool:
        """Targets of four fingers [deg], index, middle, ring, thumb."""
        return self.setJointPositionsRadian([math.radians(a) for f in angles for a in (f.joint1, f.joint2, f.joint3, f.joint4)])

    def getJointPositionsAngle(self) -> list[FingerAngle]:
        """Positions of four fingers [deg]."""
        degrees = [math.degrees(q) for q in self.getJointPositionsRadian()]
        return [FingerAngle(*degrees[at : at + 4]) for at in range(0, JOINTS, 4)]

    # -- touch --------------------------------------------------------------------------------------------------------------
    def getFingerTactile(self) -> list[ForcePoint]:
        """Eleven pads."""
        return [ForcePoint(0.0, 0.0, z - zero) for z, zero in zip(self._pads(), self._zero, strict=True)]

    def calibrateSensor(self) -> bool:
        """What pads feel now is nothing from now on."""
        self._zero = self._pads()
        return True

    # -- errors -------------------------------------------------------------------------------------------------------------
    def isFault(self) -> bool:
        """Whether any motor has an error."""
        return self._ask(Kind.READ).error != 0

    def getFaultCode(self) -> list[FingerMotorsError]:
        """Every motor's error."""
        word = self._ask(Kind.READ).error
        motor, number = word >> 16 & 0xFF, word >> 8 & 0xFF
        if number:
            return [FingerMotorsError(FINGERS[min((motor - 1) // 3, 3)], motor, ErrorCode(number))]
        return [FingerMotorsError("", 0, _PLAIN.get(bit, ErrorCode.FOC_ERR)) for bit in DeviceFault if word & bit]

    def clearFaultCode(self) -> bool:
        """Clears errors whose cause has gone."""
        return self._obeyed(Kind.CLEAR) and not self.isFault()

    def getSDKVersion(self) -> str:
        """Says that this is a simulation."""
        return "simulated"

    def getFirmwareVersion(self) -> str:
        """Says that this is a simulation."""
        return "simulated"

    # -- inside -------------------------------------------------------------------------------------------------------------
    def _pads(self) -> list[float]:
        torque = _sixteen(self._ask(Kind.READ).effort_nm)
        return [float(round(abs(torque[joint]) / LEVER_M / NEWTON_PER_COUNT)) for joint in PAD_JOINTS]

    def _obeyed(self, kind: Kind, position_rad: tuple[float, ...] = ()) -> bool:
        try:
            return self._ask(kind, position_rad).kind is Kind.STATE
        except RuntimeError:
            return False

    def _ask(self, kind: Kind, position_rad: tuple[float, ...] = ()) -> Frame:
        """One request and its answer, a refusal too. Raises RuntimeError when none comes; the hand is lost then."""
        link = self._link
        if link is None:
            raise RuntimeError("no hand is connected")
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        deadline_s = time.monotonic() + TIMEOUT_S
        try:
            link.sendall(Frame(kind, self._sequence, self._who, self._joint_sum, position_rad=position_rad).pack())
            while True:
                link.settimeout(max(deadline_s - time.monotonic(), 1e-6))
                data = link.recv(RECEIVE_BYTES)
                if not data:
                    raise ConnectionResetError("it closed the connection")
                for frame in self._reader.feed(data):
                    if frame.sequence == self._sequence and frame.kind in (Kind.STATE, Kind.REFUSED):
                        return frame
        except OSError as error:
            self.disconnectHandy()
            raise RuntimeError(f"the hand does not answer {kind.name}: {error or type(error).__name__}") from error


def _sixteen(values: tuple[float, ...]) -> list[float]:
    """Values of every joint; those without a motor have the one of the joint before."""
    if len(values) == JOINTS:
        return list(values)
    by_slot = dict(zip(MOTOR_JOINTS, values, strict=True))
    return [by_slot[slot] if slot in by_slot else by_slot[slot - 1] for slot in range(JOINTS)]
