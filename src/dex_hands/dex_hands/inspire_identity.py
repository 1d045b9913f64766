# SPDX-License-Identifier: Apache-2.0
"""Left or right: an Inspire hand is told its side once, in HAND_ID, and refused where it does not fit."""

from __future__ import annotations

from dex_core.config import Interface
from dex_core.errors import DeviceError
from dex_hands.inspire_link import make_link

HAND_ID, SAVE = 1000, 1005
HAND_IDS = {"right": 1, "left": 2}
"""HAND_ID by side: a convention of this project, since the hands do not know their side. See ``assign_side``."""
FACTORY_ID = 1


def check_side(word: int, side: str, who: str, address: str) -> None:
    """Raises DeviceError ``wrong_device`` unless the word at HAND_ID is that of the side."""
    found = word & 0xFF or word >> 8 & 0xFF  # one byte; firmware differs in which half of the word it lies
    if found == HAND_IDS[side]:
        return
    other = next((s for s, i in HAND_IDS.items() if i == found), None)
    raise DeviceError(
        f"{who} at {address}: HAND_ID is {found}" + (f", which is the {other} hand" if other else "")
        + f"; the {side} hand has {HAND_IDS[side]}. Swap the addresses, or give a new hand its side once with assign_side",
        code="wrong_device", device_code=found,
    )


def assign_side(interface: Interface, address: str, *, present_id: int = FACTORY_ID) -> None:
    """Stores in a hand which side it is (HAND_ID, kept in its flash). For a new hand, alone on its bus, once.

    Args:
        interface: whose side it gets, and how it is reached.
        address: ``HOST:PORT`` or a serial port.
        present_id: HAND_ID it has now; on a serial line it answers to nothing else.

    Raises:
        ConnectionLostError: nothing answers at ``address``.
    """
    link = make_link(interface, address, 2.0, f"{interface.side}_hand", unit_id=present_id)
    link.open()
    try:
        link.write_one(HAND_ID, HAND_IDS[interface.side])
    finally:
        link.close()
    link = make_link(interface, address, 2.0, f"{interface.side}_hand", unit_id=HAND_IDS[interface.side])  # on a serial line, its address now
    link.open()
    try:
        link.write_one(SAVE, 1)
    finally:
        link.close()
