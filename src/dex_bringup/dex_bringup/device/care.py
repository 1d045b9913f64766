# SPDX-License-Identifier: Apache-2.0
"""Calibrations and settings that a vendor keeps in the device itself: which there are, what they do, and how they are done."""

from __future__ import annotations

import importlib
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dex_core.config import Interface
from dex_core.errors import ConfigError, DeviceError

Action = Callable[[Interface, str], str]
INSPIRE_SAVE, INSPIRE_FORCE_CALIBRATION = 1005, 1009
"""Registers of the RH56 manual: write 1."""
INSPIRE_CALIBRATION_S = 15.0
"""Longest a hand may be busy with it: it does not answer meanwhile."""
LEAP_HOMING_LIMIT_COUNTS = 1024
"""In mode 5 a servo takes a homing offset of at most a quarter turn (e-manual, Homing Offset)."""


@dataclass(frozen=True)
class Care:
    """One thing that can be done.

    Attributes:
        what: one sentence: what changes, and what must be so before.
        action: ``module:function`` of (interface, address), which returns what was done.
    """

    what: str
    action: str

    def run(self, interface: Interface, address: str) -> str:
        """Does it. Raises DeviceError."""
        module, _, function = self.action.partition(":")
        done: Action = getattr(importlib.import_module(module), function)
        return done(interface, address)


_INSPIRE = {
    "side": Care("stores which side the hand is (HAND_ID); it must be alone on its bus", "dex_bringup.device.care:inspire_side"),
    "force": Care("zeroes the force sensors (GESTURE_FORCE_CLB); the hand must be open and touch nothing", "dex_bringup.device.care:inspire_force"),
}
_INSPIRE_SAVE = Care("stores the present settings in the hand's flash (SAVE)", "dex_bringup.device.care:inspire_save")
CALIBRATIONS: dict[str, dict[str, Care]] = {
    "inspire_modbus": _INSPIRE,
    "inspire_rs485": _INSPIRE,
    "dexh13_sdk": {
        "home": Care(
            "homes the motors, needed once after power-on; EVERY joint moves to its open end: keep clear", "dex_bringup.device.care:dexh13_home",
        ),
        "touch": Care("zeroes the pads; the hand must touch nothing", "dex_bringup.device.care:dexh13_touch"),
    },
    "leap_dynamixel": {
        "side": Care("stores in every servo which side the hand is (secondary id); the hand goes limp", "dex_bringup.device.care:leap_side"),
        "zero": Care(
            "makes the present posture the flat, open one (homing offsets); bring the fingers there by hand first, they are limp",
            "dex_bringup.device.care:leap_zero",
        ),
    },
}
SAVES: dict[str, Care] = {"inspire_modbus": _INSPIRE_SAVE, "inspire_rs485": _INSPIRE_SAVE}
WITHOUT = {
    "xarm": "an xArm is calibrated and its settings are saved by UFACTORY Studio, not by its driver",
    "ability_serial": "an Ability hand finds its zero by itself; its address on the line is set over Bluetooth",
    "leap_dynamixel": "the servos of a LEAP hand keep at once what is calibrated; there is nothing to save",
    "franka_fci": "a Franka is calibrated and set up by its Desk, not by its driver",
    "ros2_control": "the robot's own ROS driver cares for it",
    "simulated": "a stand-in has nothing to calibrate",
}


def calibration_of(driver: str, what: str) -> Care:
    """One calibration of a driver. Raises ConfigError with those there are, or why there is none."""
    there = CALIBRATIONS.get(driver, {})
    if what in there:
        return there[what]
    if there:
        raise ConfigError(f"driver {driver} has no calibration {what!r}; it has {', '.join(f'{name} ({care.what})' for name, care in there.items())}")
    raise ConfigError(f"driver {driver} has no calibration: {WITHOUT.get(driver, 'its vendor has no call for one')}")


def save_of(driver: str) -> Care:
    """How a driver's device stores its settings. Raises ConfigError when it does not."""
    if driver in SAVES:
        return SAVES[driver]
    raise ConfigError(f"driver {driver} saves nothing in its device: {WITHOUT.get(driver, 'its vendor has no call for it')}")


def inspire_side(interface: Interface, address: str) -> str:
    """See ``_INSPIRE``."""
    from dex_hands.inspire_identity import HAND_IDS, assign_side

    assign_side(interface, address)
    return f"the hand is the {interface.side} one now (HAND_ID {HAND_IDS[interface.side]}), kept in its flash"


def inspire_force(interface: Interface, address: str) -> str:
    """See ``_INSPIRE``. The hand is asked again until it answers."""
    _inspire_write(interface, address, INSPIRE_FORCE_CALIBRATION)
    return "the force sensors are zeroed; save keeps it"


def inspire_save(interface: Interface, address: str) -> str:
    """See ``SAVES``."""
    _inspire_write(interface, address, INSPIRE_SAVE)
    return "the settings are in the hand's flash"


def _inspire_write(interface: Interface, address: str, register: int) -> None:
    """Writes 1 to a register of the hand of this side and waits until it answers again. Raises DeviceError."""
    from dex_hands.inspire_identity import HAND_ID, check_side
    from dex_hands.inspire_link import make_link

    link = make_link(interface, address, 2.0, interface.name)
    link.open()
    try:
        check_side(link.read(HAND_ID, 1)[0], interface.side, interface.name, address)
        link.write_one(register, 1)
        deadline = time.monotonic() + INSPIRE_CALIBRATION_S
        while True:
            try:
                link.open()
                link.read(HAND_ID, 1)
                return
            except DeviceError as error:
                if time.monotonic() > deadline:
                    raise DeviceError(f"{interface.name} does not answer after register {register} was written: {error}") from error
                time.sleep(0.2)
    finally:
        link.close()


def leap_side(interface: Interface, address: str) -> str:
    """See ``CALIBRATIONS``."""
    from dex_hands.leap_identity import assign_side

    assign_side(interface, address)
    return f"every servo says {interface.side} now, kept in its EEPROM"


def leap_zero(interface: Interface, address: str) -> str:
    """See ``CALIBRATIONS``. Raises DeviceError when a joint is further off than its servo can be told."""
    from dex_hands.leap_identity import bus_of, check_identity
    from dex_hands.leap_joints import JointMap
    from dex_hands.leap_registers import MOTION, TORQUE_ENABLE, Register

    homing = Register(20, 4)
    flat = JointMap(interface).target(np.clip(0.0, *np.array([(v.lower_rad, v.upper_rad) for v in interface.limits]).T), interface.name)
    bus = bus_of(interface, address, 2.0)
    bus.open()
    try:
        check_identity(bus, interface)
        for identifier in bus.joints:
            bus.write_one(identifier, TORQUE_ENABLE, 0)
        offsets = {}
        for identifier, reply in bus.read(MOTION).items():
            present = struct.unpack_from("<i", reply.data, 6)[0]
            before = int.from_bytes(bus.read(homing, [identifier])[identifier].data, "little", signed=True)
            offsets[identifier] = before + flat[identifier] - present
        far = {bus.joints[i]: offset for i, offset in offsets.items() if abs(offset) > LEAP_HOMING_LIMIT_COUNTS}
        if far:
            raise DeviceError(
                f"{interface.name}: {far} counts of homing offset are needed; at most {LEAP_HOMING_LIMIT_COUNTS} can be told to a servo: is the hand "
                "flat and open, and are its horns mounted as LEAP says?", code="servo_setup",
            )
        for identifier, offset in offsets.items():
            bus.write_one(identifier, homing, offset % 2**32)
    finally:
        bus.close()
    return "homing offsets in counts: " + ", ".join(f"{joint} {offsets[identifier]}" for identifier, joint in bus.joints.items())


def dexh13_home(interface: Interface, address: str) -> str:
    """See ``CALIBRATIONS``."""
    _dexh13(interface, address, "calibrate")
    return "the motors know their zero until the power goes"


def dexh13_touch(interface: Interface, address: str) -> str:
    """See ``CALIBRATIONS``."""
    _dexh13(interface, address, "zero_touch")
    return "the pads are zeroed"


def _dexh13(interface: Interface, address: str, call: str) -> None:
    """Opens the hand of this side, does one call of its driver and leaves. Raises DeviceError."""
    from dex_hands.dexh13 import DexH13Driver

    hand = DexH13Driver(interface, address)
    hand.connect()
    try:
        getattr(hand, call)()
    finally:
        hand.disconnect()
