# SPDX-License-Identifier: Apache-2.0
"""Serves the newest state of the world on TCP, so that a camera can draw it in a process of its own."""
from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable

import mujoco

from dex_core.errors import DeadlineError, DeviceError, DexError
from dex_sim import state_wire as wire
from dex_sim.world import WorldState

MAX_CLIENTS = 8
IDLE_S = 60.0
LOGGER = logging.getLogger(__name__)


def split_address(address: str) -> tuple[str, int]:
    """``host:port`` -> (host, port). Raises DeviceError when it is not one."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise DeviceError(f"address {address!r} is not host:port")
    return host, int(port)


class StateServer:
    """Answers every request with the newest state. One thread per client, at most eight clients.

    Args:
        model: of the world; only its fingerprint is told.
        newest: gives the newest state; called from client threads.
        address: ``host:port``; port 0 picks one.

    Attributes:
        address: where it listens.
    """

    def __init__(self, model: mujoco.MjModel, newest: Callable[[], WorldState], address: str) -> None:
        self._hello = {"kind": "hello", "version": wire.VERSION, "nq": int(model.nq), "fingerprint": wire.fingerprint(model)}
        self._newest = newest
        self._closing = threading.Event()
        self._clients: set[socket.socket] = set()
        self._lock = threading.Lock()
        host, port = split_address(address)
        try:
            self._listener = socket.create_server((host, port), backlog=MAX_CLIENTS, reuse_port=False)
        except OSError as error:
            raise DeviceError(f"the state server cannot listen on {address}: {error}") from error
        self.address = "{}:{}".format(*self._listener.getsockname()[:2])
        self._thread = threading.Thread(target=self._accept, name="state-server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Drops every client and stops listening; any number of times."""
        self._closing.set()
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # already down
        self._listener.close()
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            self._hang_up(client)
        self._thread.join(timeout=2.0)

    def __enter__(self) -> StateServer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _peer = self._listener.accept()
            except OSError:
                return  # closed
            with self._lock:
                full = len(self._clients) >= MAX_CLIENTS
                if not full:
                    self._clients.add(client)
            if full:
                LOGGER.warning("state server: a client was turned away, %d are connected", MAX_CLIENTS)
                client.close()
                continue
            threading.Thread(target=self._serve, args=(client,), name="state-client", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire.send(client, self._hello)
            while not self._closing.is_set():
                request = wire.receive(client, timeout_s=IDLE_S)
                if request.header.get("kind") != "get":
                    raise DeviceError(f"state server: unknown request {request.header.get('kind')!r}; allowed: 'get'", code="malformed")
                wire.send(client, *wire.encode_state(self._newest(), request.integer("epoch", -1, 2**62)))
        except DeadlineError:
            LOGGER.info("state server: a client was silent for %g s and is dropped", IDLE_S)
        except DexError as error:
            if error.code == "malformed":
                LOGGER.warning("state server: %s; the client is dropped", error)
        except OSError as error:
            LOGGER.info("state server: a client is gone: %s", error)
        finally:
            with self._lock:
                self._clients.discard(client)
            client.close()

    @staticmethod
    def _hang_up(client: socket.socket) -> None:
        try:
            client.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it hung up first
