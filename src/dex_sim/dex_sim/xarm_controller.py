# SPDX-License-Identifier: Apache-2.0
"""A simulated xArm7 controller on TCP: the unmodified ``xarm-python-sdk`` connects to it as to a real one.

Several controllers share one ``SocketLoop`` (one thread). Each has its own address, as real ones have:

    loop = SocketLoop("xarm")
    left = XArmController(world.plant("left_arm"), "127.0.0.11", loop=loop)
    right = XArmController(world.plant("right_arm"), "127.0.0.12", loop=loop)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dex_core.config import CellConfig
from dex_core.errors import DeviceError
from dex_sim import xarm_controller_wire as wire
from dex_sim.devices import PlantOf, Served
from dex_sim.plant import Plant
from dex_sim.xarm_controller_loop import SocketLoop, Stream
from dex_sim.xarm_controller_moves import PLANNER_PERIOD_S
from dex_sim.xarm_controller_requests import ClientSession
from dex_sim.xarm_controller_state import XArmControllerState
from dex_sim.xarm_controller_statistics import ServoStatistics


def split_address(address: str) -> tuple[str, int]:
    """``127.0.0.11`` -> (host, 502); ``127.0.0.11:20502`` -> (host, 20502), for machines where 502 needs root."""
    host, _, port = address.partition(":")
    return host, int(port) if port else wire.PORT_CONTROL


class XArmController:
    """One controller box on the network, in front of a plant.

    Args:
        plant: the seven joints it moves.
        address: ``ip`` or ``ip:control_port``. With another control port it listens on 502 as well where that is allowed.
        loop: thread to share; its own when None.
        options: for XArmControllerState (serial, firmware, clock).

    Attributes:
        controller: the state machine, for injections and checks.
        control_ports: the ports the control protocol is served on.
    """

    def __init__(self, plant: Plant, address: str, *, loop: SocketLoop | None = None, **options: Any) -> None:
        self.controller = XArmControllerState(plant, **options)
        self.host, port = split_address(address)
        self._loop = loop or SocketLoop(f"xarm {self.host}")
        self._own_loop = loop is None
        self._streams: set[Stream] = set()
        self._subscribers: dict[int, set[Stream]] = {p: set() for p in wire.REPORT_BYTES}
        self._silent = False
        self._stepping = False
        self._listeners: list[Any] = []
        self.control_ports: tuple[int, ...] = ()
        try:
            self._open(port)
        except DeviceError:
            self.close()
            raise

    @property
    def servo_statistics(self) -> ServoStatistics:
        """Counts and inter-arrival times of servo_j, for the jitter benchmark."""
        return self.controller.statistics

    @property
    def clients(self) -> int:
        """Open connections to the control port."""
        return len(self._streams)

    def drop_connections(self) -> None:
        """Cuts every connection with a TCP reset, as a power cut of the box does; new ones are accepted."""
        self._loop.call_and_wait(lambda: [s.reset() for s in [*self._streams, *self._report_streams()]] and None)

    def set_silent(self, silent: bool) -> None:
        """Half-open link: connections stay, nothing is answered or reported while ``silent``."""
        self._silent = silent

    def stop_listening(self) -> None:
        """Refuses new connections until ``listen_again``."""
        for end in self._listeners:
            end()
        self._listeners.clear()

    def listen_again(self) -> None:
        """Accepts connections again on the same ports."""
        if not self._listeners:
            self._open(self.control_ports[0])

    def close(self) -> None:
        """Ends every connection and listener; any number of times."""
        self.stop_listening()
        self._loop.call_and_wait(lambda: [s.close() for s in [*self._streams, *self._report_streams()]] and None)
        if self._own_loop:
            self._loop.stop()

    def __enter__(self) -> XArmController:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _open(self, port: int) -> None:
        try:
            self._listeners.append(self._loop.listen(self.host, port, self._accept_control))
        except DeviceError as error:
            raise DeviceError(
                f"{error}; port {port} of the xArm protocol needs root here: give the address as {self.host}:20502", code=error.code
            ) from error
        ports = [port]
        if port != wire.PORT_CONTROL:
            try:
                self._listeners.append(self._loop.listen(self.host, wire.PORT_CONTROL, self._accept_control))
                ports.append(wire.PORT_CONTROL)
            except DeviceError:
                pass  # allowed: whoever gave another port reaches that one
        self.control_ports = tuple(ports)
        for report_port in wire.REPORT_BYTES:
            self._listeners.append(self._loop.listen(self.host, report_port, lambda s, p=report_port: self._accept_report(s, p)))

    def _report_streams(self) -> list[Stream]:
        return [s for streams in self._subscribers.values() for s in streams]

    def _accept_control(self, stream: Stream) -> None:
        reader, session = wire.FrameReader(), ClientSession(stream.send)
        self._streams.add(stream)
        stream.on_close = lambda: self._streams.discard(stream)

        def on_data(data: bytes) -> None:
            try:
                requests = reader.feed(data)
            except wire.WireError:
                stream.close()
                return
            if self._silent:
                return
            for request in requests:
                answer = self.controller.handle(request, session)
                if answer is not None:
                    stream.send(answer)
            if self.controller.planning and not self._stepping:
                self._stepping = True
                self._loop.every(PLANNER_PERIOD_S, self._step)

        stream.on_data = on_data

    def _step(self) -> bool:
        self._stepping = self.controller.step()
        return self._stepping

    def _accept_report(self, stream: Stream, port: int) -> None:
        subscribers = self._subscribers[port]
        if not subscribers:
            self._loop.every(1.0 / wire.REPORT_RATE_HZ[port], lambda: self._push(port))
        subscribers.add(stream)
        stream.on_close = lambda: subscribers.discard(stream)
        if not self._silent:
            stream.send(self.controller.report(port))

    def _push(self, port: int) -> bool:
        subscribers = self._subscribers[port]
        if subscribers and not self._silent:
            frame = self.controller.report(port)
            for stream in list(subscribers):
                stream.send(frame)
        return bool(subscribers)


def serve(cell: CellConfig, names: Sequence[str], plant_of: PlantOf) -> Served:
    """One controller for each arm, all on one thread. Raises DeviceError when an address cannot be listened at."""
    loop = SocketLoop("xarm")
    devices: dict[str, XArmController] = {}

    def close() -> None:
        for device in devices.values():
            device.close()
        loop.stop()

    try:
        for name in names:
            devices[name] = XArmController(plant_of(name), cell.address_of(name), loop=loop)
    except DeviceError:
        close()
        raise
    return Served(devices, tuple(device.controller.relocated for device in devices.values()), close)
