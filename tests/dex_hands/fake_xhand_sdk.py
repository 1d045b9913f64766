# SPDX-License-Identifier: Apache-2.0
"""The calls of RobotEra's `xhand_controller.xhand_control` (1.1.7) that the driver makes, over a hand in memory; FAKE_XHAND_... make it fail."""
from __future__ import annotations

import os
from types import SimpleNamespace

JOINTS, TIPS, CELLS = 12, 5, 120


def _error(code: int = 0) -> SimpleNamespace:
    return SimpleNamespace(error_code=code, error_message="as asked" if code else "")


def _force(x: int, y: int, z: int) -> SimpleNamespace:
    return SimpleNamespace(fx=x, fy=y, fz=z)


class HandCommand_t:  # noqa: N801  the SDK's name
    """Twelve motors."""

    def __init__(self) -> None:
        self.finger_command = [SimpleNamespace(id=i, kp=0, ki=0, kd=0, position=0.0, tor_max=0, mode=0) for i in range(JOINTS)]


class XHandControl:
    """One hand that is where it was told to be."""

    def __init__(self) -> None:
        self._position = [0.2, 0.2, 0.2, 0.0] + [0.2] * 8
        self._wrong = os.environ.get("FAKE_XHAND_SEND", "0")

    def open_serial(self, port: str, baud: int) -> SimpleNamespace:
        assert port == "/dev/ttyUSB0" and baud == 3_000_000
        return _error(int(os.environ.get("FAKE_XHAND_OPEN", "0")))

    def list_hands_id(self) -> list[int]:
        return list(range(int(os.environ.get("FAKE_XHAND_HANDS", "1"))))

    def get_hand_type(self, hand_id: int) -> tuple[SimpleNamespace, str]:
        return _error(), os.environ["FAKE_XHAND_ANSWERS"][0].upper()

    def get_serial_number(self, hand_id: int) -> tuple[SimpleNamespace, str]:
        return _error(), "FAKE0001\0\0"

    def get_sdk_version(self) -> str:
        return "1.4.2"

    def send_command(self, hand_id: int, command: HandCommand_t) -> SimpleNamespace:
        if self._wrong == "abort":
            os.abort()
        for joint, motor in enumerate(command.finger_command):
            assert motor.id == joint
            if motor.mode == 3 and motor.kp > 0 and 0 < motor.tor_max <= 400:
                self._position[joint] = motor.position
        code, _, once = self._wrong.partition("_")
        if once:
            self._wrong = "0"
        return _error(int(code))

    def read_state(self, hand_id: int, force_update: bool) -> tuple[SimpleNamespace, SimpleNamespace]:
        joints = [
            SimpleNamespace(id=i, position=q, torque=5, temperature=0x1F21, commboard_err=0, jonitboard_err=0, tipboard_err=0)
            for i, q in enumerate(self._position)
        ]
        tips = [SimpleNamespace(calc_force=_force(1, -2, 200), raw_force=[_force(0, 0, 0)] * CELLS) for _ in range(TIPS)]
        return _error(), SimpleNamespace(finger_state=joints, sensor_data=tips)

    def close_device(self) -> None:
        pass
