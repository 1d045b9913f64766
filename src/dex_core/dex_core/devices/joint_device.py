# SPDX-License-Identifier: Apache-2.0
"""The contract of every arm and hand driver: it fits on one screen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from dex_core.types import Array, JointState


@dataclass(frozen=True)
class DeviceHealth:
    """What a device says of itself, for /diagnostics.

    Attributes:
        ok: it can follow commands now.
        code: reason code when not ok (``connection_lost``, ``device_error``, ``not_enabled``, ``overload``...).
        text: one sentence for people, with the vendor's number and its meaning.
        values: further key -> value pairs (temperature_c, current_a, error_code, rate_hz...).
    """

    ok: bool
    code: str = ""
    text: str = "ok"
    values: dict[str, str] = field(default_factory=dict)


@runtime_checkable
class JointDevice(Protocol):
    """An arm or a hand: n named joints, radians, SI. Every call returns or raises within ``timeout_s`` of its config.

    Order of life: connect -> enable -> (read | command | hold)* -> disable -> disconnect. Nothing moves before the
    first ``command``; ``connect`` and ``enable`` never move a joint. After any DeviceError: ``recover`` and a new goal.
    """

    names: tuple[str, ...]

    def connect(self) -> None:
        """Opens the link and checks that it is the device that was asked for. Raises DeviceError."""
        ...

    def enable(self) -> None:
        """Readies the motors for streamed targets without motion. Raises DeviceError."""
        ...

    def read(self) -> JointState:
        """Newest measured state; raises DeviceError when there is none or it is older than the config allows."""
        ...

    def command(self, position_rad: Array) -> Array:
        """Streams one target (n,) [rad] and returns what was really sent. Raises DeviceError; never blocks for motion."""
        ...

    def hold(self) -> None:
        """Stays where it is measured to be."""
        ...

    def recover(self) -> None:
        """Clears errors and enables again without motion. Raises DeviceError when the cause persists."""
        ...

    def health(self) -> DeviceHealth:
        """Newest health; never blocks, never raises."""
        ...

    def disable(self) -> None:
        """Safe end of motion: hold, then motors as the vendor advises."""
        ...

    def disconnect(self) -> None:
        """Closes the link; may be called at any time, any number of times."""
        ...
