# SPDX-License-Identifier: Apache-2.0
"""Paxini's `pxdex.dh13` as a table of calls for a process of its own. Standard library and the SDK only; positions in rad, SDK's order."""

from __future__ import annotations

import importlib
from typing import Any

LEFT = 1
"""What activeHandy returns for a left hand."""
NO_CAMERA = "none"
JOINTS = 16


class SdkError(Exception):
    """A call of the SDK did not do what it should. ``kind`` is ``lost`` when the hand has gone."""

    def __init__(self, what: str, kind: str = "failed") -> None:
        super().__init__(what)
        self.kind = kind


class Hand:
    """The one hand this process drives."""

    def __init__(self) -> None:
        self.sdk: Any = None
        self.control: Any = None

    def open(self, module: str, port: str) -> dict[str, Any]:
        """Opens the hand at a port with the module's SDK; no motor moves. Says who answers."""
        self.sdk = importlib.import_module(module)
        self.control = self.sdk.DexH13Control()
        kind = self.control.activeHandy(port, NO_CAMERA)
        if not self.control.isConnectHandy():
            raise SdkError(f"no hand answers at {port}", "lost")
        return {"left": kind == LEFT, "sdk": str(self.control.getSDKVersion()), "firmware": str(self.control.getFirmwareVersion())}

    def enable(self) -> None:
        """Position mode, motors on, and the measured position as their target."""
        here = self.read()["position"]
        mode = self.sdk.ControlMode.POSITION_CONTROL_MODE
        if not self.control.isMotorEnabled():  # the mode can be set while motors are off only
            self._need("setMotorControlMode", mode)
            self._need("enableMotor")
        if not self.control.isMotorEnabled() or self.control.getMotorControlMode() != mode:
            raise SdkError("the motors are not on in position mode; was the hand homed after power-on? (initMotorPosition, which moves it)")
        self.command(here)

    def read(self) -> dict[str, Any]:
        """Positions of the sixteen joints."""
        position = [float(value) for value in self._call("getJointPositionsRadian")]
        if len(position) != JOINTS:
            raise SdkError(f"getJointPositionsRadian told {len(position)} joints; expected {JOINTS}")
        return {"position": position}

    def command(self, position: list[float]) -> None:
        """Targets of the sixteen joints."""
        self._need("setJointPositionsRadian", [float(value) for value in position])

    def status(self) -> dict[str, Any]:
        """Errors ([finger, motor, name of the code] each) and touch ([x, y, z] counts per pad)."""
        faults = self._call("getFaultCode") if self._call("isFault") else []
        return {
            "faults": [[_name(fault.finger_name), int(fault.motor_ID), _name(fault.error_code)] for fault in faults],
            "touch": [[pad.x, pad.y, pad.z] for pad in self._call("getFingerTactile")],
        }

    def clear(self) -> None:
        """Clears errors."""
        self._need("clearFaultCode")

    def home(self) -> None:
        """Moves the motors to their ends and back, once after power-on."""
        self._need("initMotorPosition")

    def zero_touch(self) -> None:
        """Takes what the pads feel now for nothing."""
        self._need("calibrateSensor")

    def close(self) -> None:
        """Lets the hand go."""
        if self.control is not None:
            self.control.disconnectHandy()
            self.control = None

    def _call(self, name: str, *args: Any) -> Any:
        try:
            return getattr(self.control, name)(*args)
        except Exception as error:  # whatever the closed SDK throws becomes one kind, with its words
            raise SdkError(f"{name}: {error}", self._kind()) from error

    def _need(self, name: str, *args: Any) -> None:
        if not self._call(name, *args):
            raise SdkError(f"{name} was refused", self._kind())

    def _kind(self) -> str:
        return "failed" if self.control.isConnectHandy() else "lost"


def _name(value: Any) -> str:
    """An SDK's enumerated value in words, whatever it is made of."""
    return str(getattr(value, "name", value))


_HAND = Hand()
CALLS = {
    "open": _HAND.open, "enable": _HAND.enable, "read": _HAND.read, "command": _HAND.command, "status": _HAND.status, "clear": _HAND.clear,
    "home": _HAND.home, "zero_touch": _HAND.zero_touch, "close": _HAND.close,
}
