# SPDX-License-Identifier: Apache-2.0
"""State server and simulated camera over TCP: what is seen, what is refused, who is silent."""
from __future__ import annotations

import dataclasses
import socket
import struct
import threading
import time

import numpy as np
import pytest

from dex_core.config import load_cell
from dex_core.devices.camera import Camera
from dex_core.errors import ConnectionLostError, DeadlineError, DeviceError, StaleError
from dex_sim import state_wire as wire
from dex_sim.camera import SimulatedCamera
from dex_sim.state_server import StateServer, split_address
from dex_sim.world import World

CELL = load_cell("xarm_bimanual")


class Clocked:
    """A world whose state carries the wall clock while ``runs``."""

    def __init__(self) -> None:
        self.world, self.runs = World(CELL), True
        self._frozen_ns = time.time_ns()

    def newest(self):  # noqa: ANN201
        if self.runs:
            self._frozen_ns = time.time_ns()
        return self.world.snapshot(self._frozen_ns)


@pytest.fixture(scope="module")
def source() -> Clocked:
    return Clocked()


@pytest.fixture
def server(source: Clocked):  # noqa: ANN201
    source.runs = True
    with StateServer(source.world.model, source.newest, "127.0.52.1:0") as server:
        yield server


def dial(server: StateServer) -> socket.socket:
    sock = socket.create_connection(split_address(server.address), timeout=2.0)
    assert wire.receive(sock, timeout_s=2.0).header["kind"] == "hello"
    return sock


def camera_for(server: StateServer, **changes: object) -> SimulatedCamera:
    return SimulatedCamera(dataclasses.replace(CELL.cameras["front"], address=server.address, **changes), CELL)


@pytest.mark.render
def test_three_kinds_of_reading(source: Clocked, server: StateServer) -> None:
    camera = camera_for(server, rate_hz=50.0)
    assert isinstance(camera, Camera)
    camera.connect()
    try:
        first, second = camera.next_frame(2.0), camera.next_frame(2.0)
        assert second.stamp_ns > first.stamp_ns and second.sequence == first.sequence + 1
        assert first.rgb.shape == (540, 960, 3) and not first.rgb.flags.writeable and first.depth_m is None
        wanted = time.time_ns()
        assert camera.frame_after(wanted, 2.0).stamp_ns >= wanted
        assert time.time_ns() - camera.newest_frame(0.5).stamp_ns < 0.5e9
        source.world.reset(5)
        seen = camera.frame_after(time.time_ns(), 2.0)
        assert not np.array_equal(seen.rgb, first.rgb), "a reset changes the looks"
    finally:
        camera.disconnect()
        camera.disconnect()


@pytest.mark.render
def test_a_world_that_stands_still_is_told_apart(source: Clocked, server: StateServer) -> None:
    camera = camera_for(server, rate_hz=100.0)
    camera.connect()
    try:
        source.runs = False
        camera.next_frame(2.0)
        with pytest.raises(DeadlineError, match="the simulation was silent for 0.1 s; its time stands still"):
            camera.next_frame(0.1)
        time.sleep(0.02)
        with pytest.raises(StaleError, match="simulated camera picture"):
            camera.newest_frame(0.01)
    finally:
        camera.disconnect()


@pytest.mark.render
def test_depth_comes_when_asked(server: StateServer) -> None:
    camera = camera_for(server, depth=True)
    camera.connect()
    frame = camera.next_frame(2.0)
    camera.disconnect()
    assert frame.depth_m is not None and frame.depth_m.dtype == np.float32 and 0.5 < frame.depth_m.min()


def test_intrinsics_are_those_of_the_native_picture(server: StateServer) -> None:
    inner = camera_for(server).intrinsics()
    assert (inner.width, inner.height) == (960, 540)
    assert 2.0 * np.arctan(270.0 / inner.fy) == pytest.approx(CELL.cameras["front"].fovy_rad)


def test_nobody_there() -> None:
    camera = SimulatedCamera(dataclasses.replace(CELL.cameras["front"], address="127.0.52.1:1"), CELL)
    with pytest.raises(ConnectionLostError, match="no simulation answers on 127.0.52.1:1"):
        camera.connect()


@pytest.mark.render
def test_the_server_dies_in_mid_stream(source: Clocked) -> None:
    server = StateServer(source.world.model, source.newest, "127.0.52.1:0")
    camera = camera_for(server)
    camera.connect()
    camera.next_frame(2.0)
    server.close()
    with pytest.raises(DeviceError):
        camera.next_frame(1.0)
    camera.disconnect()


def test_another_cell_is_refused(source: Clocked, server: StateServer) -> None:
    moved = CELL.interface("left_arm")
    moved = dataclasses.replace(moved, mount=dataclasses.replace(moved.mount, xyz_m=(0.0, 0.5, 0.0)))
    other = dataclasses.replace(CELL, interfaces={**CELL.interfaces, "left_arm": moved})
    camera = SimulatedCamera(dataclasses.replace(CELL.cameras["front"], address=server.address), other)
    with pytest.raises(DeviceError, match="runs another cell"):
        camera.connect()


@pytest.mark.parametrize("data", [
    struct.pack(">I", 0xFFFFFFFF), struct.pack(">I", 1) + b"{", struct.pack(">I", 4) + b"nope", struct.pack(">I", 2) + b"[]",
    struct.pack(">I", 22) + b'{"bytes": 99999999999}', struct.pack(">I", 12) + b'{"bytes":-1}', struct.pack(">I", 13) + b'{"bytes":1.5}',
    struct.pack(">I", 25) + b'{"bytes":0,"kind":"quit"}', struct.pack(">I", 35) + b'{"bytes":0,"kind":"get","epoch":-2}',
])
def test_malformed_requests_end_the_connection_only(server: StateServer, data: bytes) -> None:
    with dial(server) as sock:
        sock.sendall(data)
        with pytest.raises((ConnectionLostError, DeviceError)):
            wire.receive(sock, timeout_s=2.0)
    with dial(server) as sock:
        wire.send(sock, {"kind": "get", "epoch": -1})
        assert wire.receive(sock, timeout_s=2.0).header["kind"] == "state"


def test_a_ninth_client_is_turned_away(server: StateServer) -> None:
    socks = [dial(server) for _ in range(8)]
    with socket.create_connection(split_address(server.address), timeout=2.0) as extra, pytest.raises(ConnectionLostError):
        wire.receive(extra, timeout_s=2.0)
    for sock in socks:
        sock.close()


def test_a_server_of_garbage_is_refused() -> None:
    listener = socket.create_server(("127.0.52.1", 0))
    thread = threading.Thread(target=lambda: listener.accept()[0].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), daemon=True)
    thread.start()
    address = "{}:{}".format(*listener.getsockname())
    camera = SimulatedCamera(dataclasses.replace(CELL.cameras["front"], address=address), CELL)
    with pytest.raises(DeviceError):
        camera.connect()
    thread.join(2.0)
    listener.close()


def test_states_survive_the_wire(source: Clocked) -> None:
    state = source.world.snapshot(123)
    for known in (-1, state.epoch):
        header, payload = wire.encode_state(state, known)
        back = wire.decode_state(wire.Message({**header, "bytes": len(payload)}, payload), len(state.qpos), state.visual)
        assert np.array_equal(back.qpos, state.qpos) and (back.stamp_ns, back.epoch) == (123, state.epoch)
        assert np.array_equal(back.visual.geom_rgba, state.visual.geom_rgba)
    with pytest.raises(DeviceError, match="bytes; this model takes"):
        wire.decode_state(wire.Message(header, payload[:-8]), len(state.qpos), state.visual)
    bad = np.array(state.qpos)
    bad[3] = np.nan
    with pytest.raises(DeviceError, match="not finite"):
        wire.decode_state(wire.Message(header, bad.tobytes()), len(state.qpos), state.visual)


@pytest.mark.parametrize("address", ("nowhere", "host:", ":80", "host:99999", "host:x"))
def test_addresses_are_checked(address: str) -> None:
    with pytest.raises(DeviceError, match="is not host:port"):
        split_address(address)
