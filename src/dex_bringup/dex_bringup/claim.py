# SPDX-License-Identifier: Apache-2.0
"""One cell, one owner: a second start on the same domain, namespace or device is refused before it touches anything."""

from __future__ import annotations

import os
import socket
import struct
from collections import Counter

from dex_core.config import CellConfig
from dex_core.errors import DexError

XARM_REPORT_PORTS = (30001, 30002, 30003)
FRANKA_PORT = 1337
ASKERS = 512
"""So many may ask in its life which process an owner is."""
SHARED = ("unitree_dds",)
"""Transports whose address is a whole network: every device of the robot has the same."""


class AlreadyRunningError(DexError):
    """The cell, or a device or port of it, is in use. ``pid`` is the owner, 0 where unknown."""

    code = "already_running"

    def __init__(self, message: str, pid: int = 0) -> None:
        super().__init__(message)
        self.pid = pid


class Claim:
    """Names held on this machine until ``release`` or the end of the process, however it ends (abstract UNIX sockets)."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}
        self._shares: Counter[str] = Counter()

    def take(self, key: str, what: str, *, shared: bool = False) -> None:
        """Takes one name. Raises AlreadyRunningError saying ``what`` is taken and by which process.

        Args:
            shared: several of this claim may have it.
        """
        if shared and key in self._sockets:
            self._shares[key] += 1
            return
        holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            holder.bind("\0dex/" + key)
            holder.listen(ASKERS)
        except OSError as error:
            holder.close()
            pid = _owner_of(key)
            raise AlreadyRunningError(
                f"{what} is in use by process {pid or 'unknown'}; stop it first (kill {pid or 'PID'}), or give another namespace or ROS_DOMAIN_ID",
                pid,
            ) from error
        self._sockets[key] = holder

    def release(self) -> None:
        """Gives every name back; any number of times."""
        self._shares.clear()
        while self._sockets:
            self._sockets.popitem()[1].close()

    def take_device(self, cell: CellConfig, name: str) -> None:
        """Takes the address of one interface. Raises AlreadyRunningError, also when a simulator of it could not listen there."""
        address = cell.address_of(name)
        self.take(f"device/{address}", f"{name} at {address}", shared=cell.transport_of(name) in SHARED)
        if cell.simulated and address in listening_addresses(cell):
            try:
                _require_free(address)
            except AlreadyRunningError:
                self.give_device(address)
                raise

    def give_device(self, address: str) -> None:
        """Gives one address back; nothing happens when it was not taken, or another of this claim has it too."""
        key = f"device/{address}"
        if self._shares[key]:
            self._shares[key] -= 1
            return
        holder = self._sockets.pop(key, None)
        if holder is not None:
            holder.close()


def _owner_of(key: str) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # the owner never answers: who comes when its queue is full learns no number, and must not wait
        try:
            probe.connect("\0dex/" + key)
            return struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        except OSError:
            return 0


def claim_cell(cell: CellConfig, namespace: str) -> Claim:
    """Takes the graph (domain and namespace) and every device address of the cell.

    Raises:
        AlreadyRunningError: names what is taken; nothing stays claimed.
    """
    domain = os.environ.get("ROS_DOMAIN_ID") or "0"
    claim = Claim()
    try:
        claim.take(f"graph/{domain}/{namespace}", f"a cell on ROS_DOMAIN_ID {domain}, namespace {('/' + namespace)!r},")
        for name in cell.interfaces:
            address = cell.address_of(name)
            claim.take(f"device/{address}", f"{name} at {address}", shared=cell.transport_of(name) in SHARED)
        if cell.simulated:
            for address in listening_addresses(cell):
                _require_free(address)
    except AlreadyRunningError:
        claim.release()
        raise
    return claim


def listening_addresses(cell: CellConfig) -> list[str]:
    """host:port of every simulator of the cell that an ordinary user may bind."""
    addresses = [cell.sim.state_server]
    for name in cell.interfaces:
        address = cell.address_of(name)
        transport = cell.transport_of(name)
        if transport == "xarm_tcp":
            host, _, control = address.partition(":")
            addresses += [f"{host}:{port}" for port in (*([control] if control else []), *XARM_REPORT_PORTS)]
        elif transport == "franka_fci":
            addresses.append(f"{address}:{FRANKA_PORT}")
        elif transport in ("modbus_tcp", "simulated", "paxini_serial"):
            addresses.append(address)
    return addresses


def _require_free(address: str) -> None:
    host, port = address.rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            raise AlreadyRunningError(f"port {address} is in use ({error.strerror}); a simulator of this cell would listen there") from error
