# SPDX-License-Identifier: Apache-2.0
"""A camera that sees the simulated cell: fetches the world's state over TCP and draws it in the caller's process."""
from __future__ import annotations

import os
import socket
import time

import numpy as np

from dex_core.clock import NS
from dex_core.config import CameraConfig, CellConfig, load_task
from dex_core.devices.camera import Frame, Intrinsics
from dex_core.errors import ConnectionLostError, DeadlineError, DeviceError, StaleError
from dex_sim import state_wire as wire
from dex_sim.model import build_model
from dex_sim.render import CellRenderer
from dex_sim.scene import Visual
from dex_sim.state_server import split_address
from dex_sim.world import WorldState

CONNECT_TIMEOUT_S = 2.0
REPLY_TIMEOUT_S = 0.5
POLL_S = 0.002


class SimulatedCamera:
    """Implements dex_core.devices.camera.Camera. Use it from one thread: it owns an OpenGL context.

    An exposure is stamped with the wall-clock time of the physics instant it shows.

    Args:
        config: size, field of view, rate and address (empty: the cell's state server).
        cell: the cell; both ends build the model from it.
    """

    noise_free = True
    """A scene that stands still gives the same pixels: equal pictures are no sign of a frozen camera."""

    def __init__(self, config: CameraConfig, cell: CellConfig) -> None:
        self._config, self._cell = config, cell
        self._address = config.address or cell.sim.state_server
        self._period_ns = round(NS / config.rate_hz)
        self._sock: socket.socket | None = None
        self._renderer: CellRenderer | None = None
        self._last: Frame | None = None
        self._sequence = 0
        self._due_ns = 0

    def connect(self) -> None:
        """Opens the line and checks that the simulation runs this cell. Raises DeviceError or DeadlineError."""
        self.disconnect()
        try:
            self._sock = socket.create_connection(split_address(self._address), timeout=CONNECT_TIMEOUT_S)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise ConnectionLostError(f"no simulation answers on {self._address}: {error}") from error
        try:
            self._greet(self._sock)
        except DeviceError:
            self.disconnect()
            raise
        self._due_ns = time.monotonic_ns()

    def intrinsics(self) -> Intrinsics:
        """Of the native picture."""
        return Intrinsics.of_view(self._config.native_wh, self._config.fovy_rad)

    def next_frame(self, timeout_s: float) -> Frame:
        """Waits for the next exposure of the camera's rate. Raises DeadlineError or DeviceError."""
        deadline_ns = time.monotonic_ns() + round(timeout_s * NS)
        wait_ns = min(self._due_ns, deadline_ns) - time.monotonic_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / NS)
        now_ns = time.monotonic_ns()
        self._due_ns += max(1, 1 + (now_ns - self._due_ns) // self._period_ns) * self._period_ns
        newer_than = -1 if self._last is None else self._last.stamp_ns
        return self._expose(self._state_after(newer_than + 1, deadline_ns, timeout_s))

    def newest_frame(self, max_age_s: float) -> Frame:
        """What there is to see now. Raises StaleError when the simulation stands still, DeviceError when it is gone."""
        last = self._last
        if last is None or time.time_ns() - last.stamp_ns > max_age_s * NS:
            state = self._request()
            if last is None or state.stamp_ns > last.stamp_ns:
                last = self._expose(state)
        age_s = (time.time_ns() - last.stamp_ns) / NS
        if age_s > max_age_s:
            raise StaleError("simulated camera picture", age_s, max_age_s)
        return last

    def frame_after(self, stamp_ns: int, timeout_s: float) -> Frame:
        """Waits for an exposure not older than ``stamp_ns``. Raises DeadlineError or DeviceError."""
        if self._last is not None and self._last.stamp_ns >= stamp_ns:
            return self._last
        return self._expose(self._state_after(stamp_ns, time.monotonic_ns() + round(timeout_s * NS), timeout_s))

    def disconnect(self) -> None:
        """Closes the line and the renderer; any number of times."""
        if self._sock is not None:
            self._sock.close()
        if self._renderer is not None:
            self._renderer.close()
        self._sock = self._renderer = self._last = None

    def _greet(self, sock: socket.socket) -> None:
        hello = wire.receive(sock, timeout_s=CONNECT_TIMEOUT_S)
        if hello.header.get("kind") != "hello" or hello.header.get("version") != wire.VERSION:
            raise DeviceError(f"{self._address} is no state server of version {wire.VERSION}: it sent {hello.header}", code="malformed")
        os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa's software renderer in this thread: no barrier to wait at on a busy machine
        model = build_model(self._cell, [load_task(name) for name in self._cell.sim.every_task])
        if hello.header.get("fingerprint") != wire.fingerprint(model):
            raise DeviceError(f"the simulation on {self._address} runs another cell than {self._cell.name!r} as configured here")
        self._nq = int(model.nq)
        self._visual, self._epoch = Visual.of(model), -1
        self._renderer = CellRenderer(model, *self._config.native_wh)

    def _request(self) -> WorldState:
        if self._sock is None:
            raise ConnectionLostError("the simulated camera is not connected")
        wire.send(self._sock, {"kind": "get", "epoch": self._epoch}, timeout_s=REPLY_TIMEOUT_S)
        state = wire.decode_state(wire.receive(self._sock, timeout_s=REPLY_TIMEOUT_S), self._nq, self._visual)
        self._visual, self._epoch = state.visual, state.epoch
        return state

    def _state_after(self, stamp_ns: int, deadline_ns: int, timeout_s: float) -> WorldState:
        while True:
            state = self._request()
            if state.stamp_ns >= stamp_ns:
                return state
            if time.monotonic_ns() >= deadline_ns:
                raise DeadlineError("the simulation", timeout_s, "its time stands still")
            time.sleep(POLL_S)

    def _expose(self, state: WorldState) -> Frame:
        assert self._renderer is not None
        rgb = self._renderer.rgb(state)
        depth = None
        if self._config.depth:
            depth = self._renderer.depth(state).astype(np.float32)
            depth.setflags(write=False)
        rgb.setflags(write=False)
        self._sequence += 1
        self._last = Frame(rgb, depth, state.stamp_ns, self._sequence)
        return self._last
