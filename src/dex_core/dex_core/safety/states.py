# SPDX-License-Identifier: Apache-2.0
"""The newest measured joints of every device, by name; tells what is missing, late, misnamed or frozen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import DexError, JointNameError
from dex_core.limits.base import JointLimits
from dex_core.safety.reasons import Reason, Trip
from dex_core.types import Array, JointState, index_map

FROZEN_AFTER_S = 0.2
FROZEN_TRAVEL_SHARE = 0.2
"""Frozen: not one number changed for FROZEN_AFTER_S while a joint was commanded further than this share of its step."""


class _Device:
    """One interface's part of the book."""

    def __init__(self, interface: str, names: tuple[str, ...], place: slice) -> None:
        self.interface, self.names, self.place = interface, names, place
        self.heard_ns: int | None = None
        self.stamp_ns: int | None = None
        self.error: DexError | None = None
        self.payload = b""
        self.changed_ns = 0
        self.command_when_changed: Array | None = None
        self._order: tuple[tuple[str, ...], np.ndarray] | None = None

    def order(self, names: tuple[str, ...]) -> np.ndarray:
        """Index map from ``names``, kept while the device keeps its order."""
        if self._order is None or self._order[0] != names:
            self._order = (names, index_map(names, self.names, f"joint_states of {self.interface}"))
        return self._order[1]


class StateBook:
    """Measured joints of the cell. Ages count from arrival on the monotonic clock [ns].

    Args:
        interfaces: (interface, joint names) in the cell's order.
        limits: of all joints, same order.
        timeout_s: oldest allowed state [s].
    """

    def __init__(self, interfaces: Sequence[tuple[str, tuple[str, ...]]], limits: JointLimits, timeout_s: float) -> None:
        self._limits = limits
        self._timeout_ns = round(timeout_s * 1e9)
        self._devices: dict[str, _Device] = {}
        start = 0
        for interface, names in interfaces:
            self._devices[interface] = _Device(interface, names, slice(start, start + len(names)))
            start += len(names)
        self._position = np.full(start, np.nan)
        self._velocity = np.full(start, np.nan)

    @property
    def position_rad(self) -> Array:
        """(n,) newest measured positions [rad]; NaN where a device was never heard."""
        return self._position

    @property
    def velocity_rad_s(self) -> Array:
        """(n,) newest measured velocities [rad/s]; NaN where a device was never heard."""
        return self._velocity

    def complete(self) -> bool:
        """True once every device was heard."""
        return bool(np.isfinite(self._position).all())

    def fresh(self, now_ns: int) -> NDArray[np.bool_]:
        """(n,) True for joints whose device was heard in time and is not misread."""
        mask = np.zeros(len(self._position), dtype=bool)
        for device in self._devices.values():
            heard = device.heard_ns is not None and now_ns - device.heard_ns <= self._timeout_ns
            mask[device.place] = heard and device.error is None
        return mask

    def update(self, interface: str, state: JointState, now_ns: int, commanded_rad: Array | None = None) -> None:
        """Notes a measurement. Wrong names are kept as the device's error until a right one comes.

        Args:
            interface: whose.
            state: what it measured.
            now_ns: monotonic time of arrival [ns].
            commanded_rad: (n,) of the whole cell, what is being commanded; tells a frozen device from a resting one.
        """
        device = self._devices[interface]
        if state.stamp_ns == device.stamp_ns:
            return  # the same measurement again is no sign of life
        try:
            order = device.order(state.names)
        except JointNameError as error:
            device.error = error
            return
        device.error, device.heard_ns, device.stamp_ns = None, now_ns, state.stamp_ns
        self._position[device.place] = state.position_rad[order]
        self._velocity[device.place] = state.velocity_rad_s[order]
        payload = state.position_rad.tobytes() + state.velocity_rad_s.tobytes() + state.effort.tobytes()
        if payload != device.payload or commanded_rad is None or device.command_when_changed is None:
            device.payload, device.changed_ns, device.command_when_changed = payload, now_ns, commanded_rad

    def refuse(self, interface: str, error: DexError) -> None:
        """Notes that a message of this device could not be read."""
        self._devices[interface].error = error

    def trips(self, now_ns: int, commanded_rad: Array | None = None) -> list[Trip]:
        """What is wrong with the devices' states now, in the cell's order; ``commanded_rad`` as in ``update``."""
        found = (self._complaint(device, now_ns, commanded_rad) for device in self._devices.values())
        return [trip for trip in found if trip is not None]

    def _complaint(self, device: _Device, now_ns: int, commanded_rad: Array | None) -> Trip | None:
        if device.error is not None:
            code = Reason.JOINT_NAMES if isinstance(device.error, JointNameError) else Reason.STATE_STALE
            return Trip(code, device.interface, str(device.error))
        if device.heard_ns is None:
            return Trip(Reason.STATE_STALE, device.interface, f"no joint state of {device.interface} yet")
        age_ns = now_ns - device.heard_ns
        if age_ns > self._timeout_ns:
            text = f"joint state of {device.interface} is {age_ns / 1e9:.3f} s old; at most {self._timeout_ns / 1e9} s is allowed"
            return Trip(Reason.STATE_STALE, device.interface, text)
        return self._frozen(device, now_ns, commanded_rad)

    def _frozen(self, device: _Device, now_ns: int, commanded_rad: Array | None) -> Trip | None:
        before = device.command_when_changed
        if commanded_rad is None or before is None or now_ns - device.changed_ns < FROZEN_AFTER_S * 1e9:
            return None
        place = device.place
        travel = np.abs(commanded_rad[place] - before[place])
        worst = int(np.argmax(travel - FROZEN_TRAVEL_SHARE * self._limits.step_rad[place]))
        if travel[worst] <= FROZEN_TRAVEL_SHARE * self._limits.step_rad[place][worst]:
            return None
        text = (
            f"joint state of {device.interface} did not change for {(now_ns - device.changed_ns) / 1e9:.2f} s while "
            f"{device.names[worst]} was commanded {travel[worst]:.3f} rad further: frozen"
        )
        return Trip(Reason.STATE_STALE, device.interface, text)
