# SPDX-License-Identifier: Apache-2.0
"""Process of one simulated Franka: TCP commands, states and motion commands on UDP at 1 kHz, joints exchanged with the world by a socket.

A process of its own, because clients in C++ hold the interpreter's lock while they wait for the robot, and a millisecond is short.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import selectors
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dex_core.clock import NS, Priority, set_realtime_priority
from dex_core.errors import ConfigError
from dex_sim import franka_wire as wire
from dex_sim.franka_controller import FrankaController
from dex_sim.franka_link import Link
from dex_sim.franka_model import FrankaModel

PERIOD_NS = NS // 1000
EXCHANGE_TICKS = 4
"""Joints are exchanged with the world this often: the world takes two steps of 2 ms at a time."""
JOINTS_OUT, JOINTS_IN = struct.Struct("<7d"), struct.Struct("<21d")
"""To the world: desired joints [rad]. From it: joints [rad], their velocities [rad/s] and efforts [N m]."""
IDLE_S = 0.2


class FrankaServer:
    """Serves one controller until the world's end of ``joints`` is closed.

    Args:
        controller: the arm.
        host: address to listen at, on port 1337.
        joints: to the world, JOINTS_OUT and JOINTS_IN.
        orders: injected faults and questions, as JSON; each is answered.
        patience_s: time stands still for so long when a command is late; 0 is as strict as the robot.
    """

    def __init__(
        self, controller: FrankaController, host: str, joints: socket.socket, orders: socket.socket, patience_s: float = 0.0
    ) -> None:
        self._controller, self._host, self._patience_s = controller, host, patience_s
        self._joints, self._orders = joints, orders
        self._link: Link | None = None
        self._listener: socket.socket | None = None
        self._version = wire.VERSION
        self._silent = self._shuffle = self._garbage = self._ended = False
        self._late: bytes | None = None
        self._lose = self._slipped = 0
        joints.setblocking(False)
        orders.setblocking(False)
        self.listen()

    def listen(self) -> None:
        """Accepts clients. Raises OSError when the address cannot be had."""
        if self._listener is None:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((self._host, wire.PORT))
            except OSError:
                listener.close()
                raise
            listener.listen(4)
            listener.setblocking(False)
            self._listener = listener

    def run(self) -> None:
        """The loop: a millisecond each while a client is there, else asleep until something comes."""
        next_ns = time.monotonic_ns()
        while not self._ended:
            if self._link is None or not self._link.connected:
                self._sleep()
                next_ns = time.monotonic_ns()
            now_ns = time.monotonic_ns()
            if now_ns < next_ns:
                time.sleep((next_ns - now_ns) / NS)
            elif now_ns > next_ns + PERIOD_NS:  # this machine was late, not the client: time slips for both
                self._slipped += 1
                next_ns = now_ns
            if self._patience_s > 0.0 and self._controller.expects_commands and self._link is not None:
                self._link.wait_motion(self._patience_s)
                next_ns = max(next_ns, time.monotonic_ns() - PERIOD_NS)
            next_ns += PERIOD_NS
            self._serve()  # first: who is gone makes room for the next
            self._accept()
            self._take_orders()
        if self._link is not None:
            self._link.close()

    def _sleep(self) -> None:
        with selectors.DefaultSelector() as selector:
            for end in (self._listener, self._orders, self._link.tcp if self._link else None):
                if end is not None:
                    selector.register(end, selectors.EVENT_READ)
            selector.select(IDLE_S)
        self._exchange()

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            tcp, _peer = self._listener.accept()
        except OSError:
            return
        if self._link is not None:  # one client at a time
            tcp.close()
        else:
            self._link = Link(tcp, self._host)

    def _serve(self) -> None:
        link, controller = self._link, self._controller
        if link is None:
            return
        try:
            if not self._silent:
                for request in link.requests():
                    self._answer(link, request)
            command, self._lose = link.motion(self._lose)
            if link.connected:
                controller.tick(command if not self._silent else None)
                if controller.time_ms % EXCHANGE_TICKS == 0:
                    self._exchange()
                if not self._silent:
                    self._send(link)
        except (OSError, wire.FrankaWireError):
            self._hang_up()

    def _answer(self, link: Link, request: wire.Request) -> None:
        if request.command is not wire.Command.CONNECT:
            self._controller.handle(request)
            return
        version, port = wire.parse_connect(request.payload)
        fits = version == self._version
        link.tcp.sendall(request.reply(0 if fits else 1, struct.pack("<H", self._version)))
        if fits:
            link.connect(port)

    def _send(self, link: Link) -> None:
        state = self._controller.state()
        if self._garbage:
            spoilt = np.frombuffer(state, wire.STATE).copy()
            spoilt["q"] = spoilt["dq"] = spoilt["q_d"] = np.nan
            state = spoilt.tobytes()
        if self._shuffle:  # each second state goes out after the one that follows it
            late, self._late = self._late, None if self._late else state
            if late is None:
                state = b""
            else:
                link.send_state(state)
                state = late
        if state:
            link.send_state(state)
        for reply in self._controller.replies:
            link.tcp.sendall(reply)
        self._controller.replies.clear()

    def _hang_up(self, *, reset: bool = False) -> None:
        if self._link is not None:
            self._link.close(reset=reset)
            self._link = None
            self._controller.abandon()

    def _exchange(self) -> None:
        """Desired joints to the world, measured ones from it."""
        try:
            self._joints.send(JOINTS_OUT.pack(*self._controller.desired.position))
        except BlockingIOError:
            pass
        except OSError:
            self._ended = True
            return
        with contextlib.suppress(BlockingIOError):
            while True:
                data = self._joints.recv(JOINTS_IN.size)
                if not data:
                    self._ended = True
                    return
                numbers = np.array(JOINTS_IN.unpack(data))
                self._controller.measure(numbers[:7], numbers[7:14], numbers[14:])

    # --- injected faults -----------------------------------------------------------------------------------------------

    def _take_orders(self) -> None:
        try:
            data = self._orders.recv(4096)
        except BlockingIOError:
            return
        if not data:
            self._ended = True
            return
        order: dict[str, Any] = json.loads(data)
        controller = self._controller
        actions: dict[str, Callable[[Any], None]] = {
            "user_stop": controller.user_stop, "guide": controller.guide, "reflex": controller.reflex,
            "push": lambda torque: controller.push(np.array(torque)), "relocate": lambda position: controller.relocate(np.array(position)),
            "drop": lambda _: self._hang_up(reset=True), "listen": self._set_listening,
            "silent": lambda on: setattr(self, "_silent", on), "shuffle": lambda on: setattr(self, "_shuffle", on),
            "garbage": lambda on: setattr(self, "_garbage", on), "lose": lambda count: setattr(self, "_lose", count),
            "version": lambda version: setattr(self, "_version", version), "ask": lambda _: None,
        }
        for what, value in order.items():
            actions[what](value)
        self._orders.send(json.dumps(self._facts()).encode())

    def _set_listening(self, on: bool) -> None:
        if on:
            self.listen()
        elif self._listener is not None:
            self._listener.close()
            self._listener = None

    def _facts(self) -> dict[str, Any]:
        controller = self._controller
        return {
            "mode": controller.mode.name, "time_ms": controller.time_ms, "motions": controller.motions, "reflexes": controller.reflexes,
            "lost": controller.lost, "slipped": self._slipped, "connected": self._link is not None and self._link.connected,
            "peaks": controller.peaks.tolist(), "desired_rad": controller.desired.position.tolist(),
        }


def main() -> int:
    """Started by ``dex_sim.franka`` with the two sockets it was given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--robot", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--joints", type=int, required=True)
    parser.add_argument("--orders", type=int, required=True)
    parser.add_argument("--position", type=json.loads, required=True)
    parser.add_argument("--patience", type=float, default=0.0)
    args = parser.parse_args()
    set_realtime_priority(Priority.SIMULATED_DEVICE)
    joints, orders = (socket.socket(fileno=number) for number in (args.joints, args.orders))
    try:
        controller = FrankaController(FrankaModel(args.robot), np.array(args.position))
        server = FrankaServer(controller, args.host, joints, orders, args.patience)
    except (OSError, ConfigError) as error:
        orders.send(json.dumps({"error": f"cannot serve a {args.robot} at {args.host}:{wire.PORT}: {error}"}).encode())
        return 1
    orders.send(json.dumps({"mode": "IDLE"}).encode())
    server.run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
