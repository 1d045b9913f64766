# SPDX-License-Identifier: Apache-2.0
"""Which LEAP hand is it: number, ids, models and side of the servos on a line."""

from __future__ import annotations

from dex_core.config import Interface
from dex_core.errors import ConfigError, DeviceError
from dex_hands.leap_bus import ServoBus
from dex_hands.leap_registers import GROUPS, IDENTITY, MODELS, NO_GROUP, REVERSED, SECONDARY_ID, TORQUE_ENABLE

_FIRMWARE, _DRIVE_MODE, _SECONDARY = 6, 10, 12


def bus_of(interface: Interface, address: str, timeout_s: float) -> ServoBus:
    """The closed line of a hand: ids 0, 1, 2... are its joints in the hardware's order. Raises ConfigError."""
    return ServoBus(address, interface.address.baud, dict(enumerate(interface.names)), timeout_s, f"{interface.side}_{interface.robot.kind}")


def check_identity(bus: ServoBus, interface: Interface) -> tuple[int, int]:
    """Model number of the servos and their oldest firmware.

    Raises:
        ConnectionLostError: nobody answers.
        DeviceError: ``wrong_device``, other ids, models or the other side; ``servo_setup``, a servo counts the other way.
    """
    who = f"{interface.side}_{interface.robot.kind} at {bus.path}"
    found = bus.found()
    if found and set(found) != set(bus.joints):
        missing = [f"{joint} (id {identifier})" for identifier, joint in bus.joints.items() if identifier not in found]
        surplus = sorted(set(found) - set(bus.joints))
        raise DeviceError(
            f"{who}: servos {'missing: ' + ', '.join(missing) if missing else ''}{'; ' if missing and surplus else ''}"
            f"{f'with ids that no joint has: {surplus}' if surplus else ''}; a hand has the ids 0 to {len(bus.joints) - 1} on a line of its own",
            code="wrong_device" if surplus or len(missing) > 4 else "servo_silent",
        )
    identity = {identifier: reply.data for identifier, reply in bus.read(IDENTITY).items()}
    models = {int.from_bytes(data[:2], "little") for data in identity.values()}
    if len(models) != 1 or not models <= set(MODELS):
        raise DeviceError(f"{who}: servos are of the models {sorted(models)}; allowed: all of one of {MODELS}", code="wrong_device")
    for identifier, data in identity.items():
        _check_side(who, interface.side, bus.joints[identifier], data[_SECONDARY])
        if data[_DRIVE_MODE] & REVERSED:
            raise DeviceError(f"{who}: {bus.joints[identifier]} counts the other way (drive mode {data[_DRIVE_MODE]}); set bit 0 of it to 0",
                              code="servo_setup")
    return models.pop(), min(data[_FIRMWARE] for data in identity.values())


def _check_side(who: str, side: str, joint: str, group: int) -> None:
    if group == GROUPS[side]:
        return
    other = next((name for name, number in GROUPS.items() if number == group), None)
    says = f"belongs to the {other} hand" if other else "does not say its side" if group >= NO_GROUP else "belongs to something else"
    raise DeviceError(
        f"{who}: the servo of {joint} {says} (secondary id {group}); the {side} hand has {GROUPS[side]}. "
        "Swap the addresses, or give a new hand its side once with assign_side", code="wrong_device", device_code=group,
    )


def assign_side(interface: Interface, address: str) -> None:
    """Stores in every servo of a hand which side it is (secondary id, kept in its EEPROM). Once, for a new hand; it goes limp.

    Raises:
        ConnectionLostError: nothing answers at ``address``.
        DeviceError: a servo refuses.
    """
    if interface.side not in GROUPS:
        raise ConfigError(f"{interface.name}: side is {interface.side!r}; allowed {sorted(GROUPS)}")
    bus = bus_of(interface, address, 2.0)
    bus.open()
    try:
        for identifier in bus.joints:
            bus.write_one(identifier, TORQUE_ENABLE, 0)
            bus.write_one(identifier, SECONDARY_ID, GROUPS[interface.side])
    finally:
        bus.close()
