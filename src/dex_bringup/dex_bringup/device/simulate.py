# SPDX-License-Identifier: Apache-2.0
"""Runs the simulator of one device alone, with its dynamics, until a signal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from dex_bringup.claim import Claim
from dex_bringup.device.choose import Chosen
from dex_bringup.up import StopSignal
from dex_core.config import CellConfig
from dex_core.config.cell import SIDES
from dex_core.errors import ConfigError, DexError

POLL_S = 0.1
CLIENTS: dict[str, str] = {
    "xarm_tcp": "UFACTORY's xArm-Python-SDK: XArmAPI('{host}') (port 502 is served too where this user may)",
    "modbus_tcp": "a Modbus TCP client, e.g. pymodbus: ModbusTcpClient('{host}', port={port})",
    "modbus_rtu": "a Modbus RTU client, e.g. pymodbus: ModbusSerialClient('{address}', baudrate={baud})",
    "inspire_rs485": "Inspire's RS-485 demo, or a client of its EB 90 frames, on '{address}' at {baud} baud",
    "ability_serial": "PSYONIC's ability-hand package: AHSerialClient(port='{address}')",
    "dynamixel": "ROBOTIS' dynamixel-sdk: PortHandler('{address}'), protocol 2.0; LEAP's own LEAP_Hand_API",
    "xhand_serial": "XHand's serial protocol on '{address}' at {baud} baud",
    "franka_fci": "pylibfranka.Robot('{host}') or franky.Robot('{host}')",
    "unitree_dds": "unitree_sdk2py: ChannelFactoryInitialize({domain}, 'lo'), with --address dds:{domain} here (@localhost hears Fast DDS alone) "
    "and multicast on lo (ip link set lo multicast on)",
    "paxini_serial": "what calls Paxini's pxdex library, with dex_hands.dexh13_simulated in its place; the wire itself is not public",
    "simulated": "nothing of a vendor: this transport is the project's own stand-in for a wire that is not simulated",
}
"""Transport -> which client, that nobody here wrote, can be pointed at the simulator."""


def simulated_address(usual: str, address: str, port: int | None, path: str) -> str:
    """Where a simulator shall listen, as it was asked for.

    Args:
        usual: where it would listen.
        address: all of it; port: the same host, another port; path: of a serial line. At most one is given.

    Raises:
        ConfigError: more than one was given, or it is not of the kind that this device has.
    """
    given = [text for text, value in (("--address", address), ("--port", port), ("--path", path)) if value not in ("", None)]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} are given; one says where the device listens")
    serial = usual.startswith("/")
    if (path and not serial) or (port is not None and serial):
        raise ConfigError(f"{given[0]} is given; this device listens at {usual}: give {'--path' if serial else '--port or --address'}")
    if port is not None:
        if not 1 <= port <= 65535:
            raise ConfigError(f"--port is {port}; allowed 1 to 65535")
        return f"{usual.partition(':')[0]}:{port}"
    return address or (os.path.abspath(path) if path else usual)


def client_of(cell: CellConfig, name: str) -> str:
    """Which vendor's client can be pointed at the simulator of one interface, with its arguments."""
    address, interface = cell.address_of(name), cell.interface(name)
    host, _, port = address.partition(":")
    text = CLIENTS.get(cell.transport_of(name), "see docs/devices.md")
    domain = address.partition(":")[2].partition("@")[0]  # of dds:DOMAIN@WHERE
    return text.format(address=address, host=host, port=port, baud=interface.address.baud, domain=domain)


def simulate(chosen: Chosen, say: Callable[[str], None], run_s: float = float("inf")) -> int:
    """Serves every device of the chosen cell until SIGINT, SIGTERM or the time is over.

    Args:
        say: prints one line.
        run_s: how long at most [s].

    Returns:
        0, or 1 when the physics failed.

    Raises:
        DexError: an address is taken, or the device has no simulator.
    """
    from dex_sim.cell import SimCell

    claim, stop = Claim(), StopSignal()
    try:
        for name in chosen.cell.interfaces:
            address = chosen.cell.address_of(name)
            claim.take(f"simulator/{address}", f"the simulator of {name} at {address}")
        with SimCell(chosen.cell) as cell:
            for name, interface in chosen.cell.interfaces.items():
                say(f"{name}: a simulated {interface.robot.name} listens at {chosen.cell.address_of(name)} ({chosen.cell.transport_of(name)})")
                say(f"  clients: {client_of(chosen.cell, name)}")
                side = f"--side {interface.side} " if interface.side in SIDES else ""
                say(f"  here:    dex device state {interface.robot.name} {side}--address {chosen.cell.address_of(name)}")
            say("Ctrl-C ends it")
            return _wait(cell, stop, run_s, say)
    finally:
        claim.release()


def _wait(cell: object, stop: StopSignal, run_s: float, say: Callable[[str], None]) -> int:
    end_s = time.monotonic() + run_s
    try:
        while time.monotonic() < end_s:
            stop.check()
            if not cell.running:  # type: ignore[attr-defined]
                raise DexError(cell.failure or "the simulation ended by itself")  # type: ignore[attr-defined]
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        say("stopped")
    pace = cell.pace()  # type: ignore[attr-defined]
    say(f"ran at {pace.factor:.2f} of real time, {pace.dropped} steps dropped")
    return 0
