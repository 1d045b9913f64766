# SPDX-License-Identifier: Apache-2.0
"""A device of one's own for a while: claimed on this machine, connected, and always left holding and closed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dex_bringup.claim import Claim
from dex_bringup.device.choose import Chosen
from dex_core.devices.limited import Limited
from dex_core.errors import ConfigError


@contextmanager
def claimed(chosen: Chosen) -> Iterator[None]:
    """The device's address, held as a cell holds it. Raises AlreadyRunningError while a cell or another tool has it."""
    claim = Claim()
    claim.take(f"device/{chosen.address}", f"{chosen.name} at {chosen.address}")
    try:
        yield
    finally:
        claim.release()


@contextmanager
def open_device(chosen: Chosen) -> Iterator[Limited]:
    """The device, connected within its limits and not enabled. Raises AlreadyRunningError or DeviceError."""
    with claimed(chosen):
        device = Limited(chosen.driver(), chosen.interface.limits)
        try:
            device.connect()
            yield device
        finally:
            device.disconnect()


@contextmanager
def enabled(device: Limited) -> Iterator[None]:
    """Enabled meanwhile, then held and disabled, however it ends. Raises DeviceError."""
    device.enable()
    try:
        yield
    finally:
        device.disable()


def ask(what: str, name: str) -> bool:
    """Asks a person to type a name; False when something else was typed.

    Raises:
        ConfigError: nobody is there to be asked.
    """
    if not sys.stdin.isatty():
        raise ConfigError(f"nobody can be asked here; a script says --yes ({what} is {name})")
    sys.stdout.write(f"Type the name of {what} ({name}) to go on: ")
    sys.stdout.flush()
    if sys.stdin.readline().strip() == name:
        return True
    sys.stdout.write("not done\n")
    return False
