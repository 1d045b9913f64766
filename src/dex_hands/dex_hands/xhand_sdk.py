# SPDX-License-Identifier: Apache-2.0
"""An XHand1 by the vendor's `xhand_controller`, in a process of its own: the library can abort the process it lives in."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from dex_core.errors import ConfigError, ConnectionLostError, DeviceError
from dex_hands.vendor_worker import VendorWorker
from dex_hands.xhand_state import CELLS, JOINTS, NEWTON_PER_COUNT, TIPS, Identity, Order, Reading

MODULE = "xhand_controller.xhand_control"
INSTALL = (
    "install RobotEra's wheel with `pip install xhand_controller-1.1.7-cp310-cp310-linux_x86_64.whl` (it comes with the hand, for Python 3.10 and "
    "3.12, not from PyPI) and give that interpreter in DEX_XHAND_PYTHON; a hand on RS-485 needs no SDK with transport xhand_serial"
)
OPEN_S, CLOSE_S = 15.0, 4.0
"""The SDK tries to open a port three times, two seconds each; closing takes it a second."""
SETTLE_S = 1.0
"""After the port is open the SDK's first states are zeros."""
SIDES = {"L": "left", "R": "right"}


class SdkLink:
    """One hand behind the SDK.

    Args:
        port: serial port, or the network interface of an EtherCAT hand.
        baud: of the serial port; 0: EtherCAT.
        timeout_s: longest any call but open may take.
        who: for error texts.
        module: the SDK's module; another one with the same calls in tests.
        python: interpreter the SDK is installed for.
        settle_s: pause after opening.
    """

    def __init__(
        self, port: str, baud: int, timeout_s: float, who: str, *, module: str = MODULE, python: str = sys.executable, settle_s: float = SETTLE_S,
    ) -> None:
        self.transport = "xhand_sdk over RS-485" if baud else "xhand_sdk over EtherCAT"
        self._port, self._baud, self._who, self._module, self._timeout_s, self._settle_s = port, baud, who, module, timeout_s, settle_s
        self.worker = VendorWorker(Path(__file__).with_name("xhand_sdk_worker.py"), who, INSTALL, python=python)
        self.repeated = 0

    @property
    def connected(self) -> bool:
        """Whether the SDK's process runs."""
        return self.worker.running

    def open(self) -> Identity:
        """Starts the SDK's process and opens the hand. Raises ConfigError (no SDK), ConnectionLostError or DeviceError."""
        self.worker.start()
        try:
            found = self.worker.call("open", self._module, self._port, self._baud, self._settle_s, timeout_s=OPEN_S)
        except ConnectionLostError:
            raise
        except ConfigError:
            self.worker.stop()
            raise
        except DeviceError as error:
            self.close()
            raise ConnectionLostError(f"{self._who}: no hand at {self._port}: {error}", device_code=error.device_code) from error
        return Identity(SIDES.get(found["type"][:1].upper(), ""), found["serial_number"], found["hand_id"], f"SDK {found['sdk']}")

    def send(self, order: Order) -> Reading:
        """One command and the state after it. Raises ConnectionLostError or DeviceError."""
        joints = [
            [target, gains.kp, gains.ki, gains.kd, gains.torque_limit_ma, order.mode]
            for target, gains in zip(order.target_rad, order.gains, strict=True)
        ] if order.mode else [[0.0, 0, 0, 0, 0, 0]] * JOINTS
        before_ns = time.time_ns()
        return reading_of(self.worker.call("send", joints, timeout_s=self._timeout_s), before_ns)

    def close(self) -> None:
        """Closes the hand and ends the SDK's process; any number of times."""
        if self.worker.running:
            try:
                self.worker.call("close", timeout_s=CLOSE_S)
            except DeviceError:
                pass  # it goes with its process
        self.worker.stop()


def reading_of(state: dict[str, Any], before_ns: int) -> Reading:
    """A state as the worker tells it. Raises DeviceError (``implausible``) for joints out of order or positions that are no numbers."""
    rows = sorted(state["joints"])
    joints = np.array(rows, dtype=np.float64)  # (12, 7)
    if joints.shape != (JOINTS, 7) or joints[:, 0].tolist() != list(range(JOINTS)) or not np.isfinite(joints).all():
        told = [row[:2] for row in rows]
        raise DeviceError(f"the SDK told a state with joints {told}; expected ids 0 to {JOINTS - 1} at finite positions", code="implausible")
    force = np.array([tip[0] for tip in state["tips"]], dtype=np.float64).reshape(TIPS, 3)
    cells = np.array([tip[1] for tip in state["tips"]], dtype=np.float64).reshape(TIPS, CELLS, 3)
    return Reading(
        joints[:, 1], joints[:, 2], joints[:, 3], joints[:, 4:].astype(np.int64), force * NEWTON_PER_COUNT, cells * NEWTON_PER_COUNT,
        (before_ns + state["stamp_ns"]) // 2,
    )
