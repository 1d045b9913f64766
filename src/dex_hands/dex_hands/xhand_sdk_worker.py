# SPDX-License-Identifier: Apache-2.0
"""The vendor's `xhand_controller` as a table of calls for a process of its own. Standard library and the SDK only; positions in rad."""

from __future__ import annotations

import time
from typing import Any

CRC_ERROR, CRC_PAUSE_S = 1501070, 0.08
STATE_VALID = frozenset({0, 1501018, 1501019, 1501020, 1501035})
"""Codes with which the joints of a state are valid: fingertips that do not read, and the current limit at work."""
GONE = frozenset({1501038, 1501039, 1501050})
"""Not initialised, cannot be opened, serial communication error: there is no hand any more."""
ETHERCAT_INIT, INIT_TIMEOUT_US = 1, 500_000


class SdkError(Exception):
    """The SDK answered with an error code. ``kind`` is ``lost`` when the hand has gone."""

    def __init__(self, what: str, error: Any) -> None:
        super().__init__(f"{what}: {error.error_message} ({error.error_code})")
        self.device_code = int(error.error_code)
        self.kind = "lost" if self.device_code in GONE else "failed"


class Hand:
    """The one hand this process drives."""

    def __init__(self) -> None:
        self.module: Any = None
        self.control: Any = None
        self.hand_id = 0
        self.ethercat = False
        self.command: Any = None

    def open(self, module: str, port: str, baud: int, settle_s: float) -> dict[str, Any]:
        """Opens the port (``baud`` 0: EtherCAT on that network interface) with the module's SDK, waits ``settle_s``, says who answers."""
        self.module = __import__(module, fromlist=["XHandControl"])
        self.control, self.command, self.ethercat = self.module.XHandControl(), None, baud == 0
        self._check("open", self.control.open_ethercat(port) if self.ethercat else self.control.open_serial(port, baud))
        hands = list(self.control.list_hands_id())
        if len(hands) != 1:
            raise LookupError(f"{len(hands)} hands answer on {port}, ids {hands}; expected one")
        self.hand_id = hands[0]
        time.sleep(settle_s)
        return {
            "type": self._value("get_hand_type", self.control.get_hand_type(self.hand_id)),
            "serial_number": self._value("get_serial_number", self.control.get_serial_number(self.hand_id)),
            "hand_id": self.hand_id, "sdk": str(self.control.get_sdk_version()),
        }

    def send(self, joints: list[list[float]]) -> dict[str, Any]:
        """Commands twelve motors ([target, kp, ki, kd, torque limit mA, mode] each) and reads the state."""
        self.command = self.command or self.module.HandCommand_t()
        for joint, (target, kp, ki, kd, torque_ma, mode) in enumerate(joints):
            motor = self.command.finger_command[joint]
            motor.id, motor.position, motor.mode = joint, float(target), int(mode)
            motor.kp, motor.ki, motor.kd, motor.tor_max = int(kp), int(ki), int(kd), int(torque_ma)
        error = self.control.send_command(self.hand_id, self.command)
        if error.error_code == CRC_ERROR:
            time.sleep(CRC_PAUSE_S)
            error = self.control.send_command(self.hand_id, self.command)
        self._check("send_command", error, STATE_VALID)
        return self.read(self.ethercat)

    def read(self, update: bool = True) -> dict[str, Any]:
        """The newest state; ``update`` asks the hand for it instead of taking what answered the newest command."""
        error, state = self.control.read_state(self.hand_id, update)
        self._check("read_state", error, STATE_VALID)
        joints = [
            [j.id, j.position, j.torque, j.temperature & 0xFF, j.commboard_err, j.jonitboard_err, j.tipboard_err] for j in state.finger_state
        ]
        tips = [[_xyz(tip.calc_force), [_xyz(cell) for cell in tip.raw_force]] for tip in state.sensor_data]
        return {"joints": joints, "tips": tips, "stamp_ns": time.time_ns()}

    def close(self) -> None:
        """Leaves the bus as the next owner needs it."""
        if self.control is not None:
            if self.ethercat:
                self.control.set_firmware_state(self.hand_id, 1, ETHERCAT_INIT, INIT_TIMEOUT_US)
            self.control.close_device()
            self.control = None

    def _value(self, what: str, answer: Any) -> str:
        error, value = answer
        self._check(what, error)
        return str(value).strip("\0 ")

    @staticmethod
    def _check(what: str, error: Any, allowed: frozenset[int] = frozenset({0})) -> None:
        if error.error_code not in allowed:
            raise SdkError(what, error)


def _xyz(force: Any) -> list[int]:
    return [force.fx, force.fy, force.fz]


_HAND = Hand()
CALLS = {"open": _HAND.open, "send": _HAND.send, "close": _HAND.close}
