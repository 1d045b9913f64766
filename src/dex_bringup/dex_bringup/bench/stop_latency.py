# SPDX-License-Identifier: Apache-2.0
"""Stop latency at the wire of the simulated arms, and the time from a killed upstream process to hold.

The wire is read where it is: a packet socket on the loopback sees every ``servo_j`` on its way to the arms' simulators, stamped by the kernel.
Two ends are told apart: the last command that still follows the plan (the next one is slower: the brake has begun), and the last that moves
at all (the brake has ended). The second depends on how fast the arm was, so the speed is reported beside it.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dex_bringup.bench.closed_loop import FIRST_UNSEEN_SEED
from dex_bringup.bench.live import LiveCell
from dex_bringup.bench.report import Goal, Report, percentile
from dex_core.config import CellConfig, load_task
from dex_core.errors import DexError
from dex_msgs.msg import SafetyState
from dex_ros import names, qos

STOP_P50_MS, STOP_P99_MS, HOLD_MS = 20.0, 40.0, 150.0
TRANSPORT, SERVO_J, HEADER = "xarm_tcp", 29, struct.Struct(">HHHB")
ALL_PROTOCOLS, TIMESTAMPNS = 0x0003, 35
BACK_S = 30.0
"""Longest time until a killed process is active again."""
MOVES_RAD = 1e-6
"""Commands that differ by less stand still: a target is sent in single precision."""
WATCH_S, SETTLE_S, START_S = 0.6, 0.5, 1.2
UPSTREAM = ("policy", "camera", "left_decoder", "task")
SPEED_SHARE = 0.98
"""A command that moves the arm by less than this share of the one before it brakes."""


class Command(NamedTuple):
    """One ``servo_j`` on the wire: wall-clock time [ns], which arm, and its joints [rad]."""

    time_ns: int
    arm: str
    joints_rad: tuple[float, ...]


class Wire:
    """Everything sent to the simulated arms from now on. Needs the right to open packet sockets (CAP_NET_RAW).

    Raises:
        DexError: no arm of the cell speaks ``xarm_tcp``, or the right is missing.
    """

    def __init__(self, cell: CellConfig) -> None:
        self._arms = {}
        for name in cell.interfaces:
            if cell.transport_of(name) == TRANSPORT:
                host, _, port = cell.address_of(name).partition(":")
                self._arms[socket.inet_aton(host), int(port)] = name
        if not self._arms:
            raise DexError(f"no interface of cell {cell.name!r} speaks {TRANSPORT}; this benchmark reads that wire")
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
        except PermissionError as error:
            raise DexError("reading the wire needs a packet socket: run it as root or with CAP_NET_RAW") from error
        self._socket.bind(("lo", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._socket.setsockopt(socket.SOL_SOCKET, TIMESTAMPNS, 1)
        self._socket.settimeout(0.2)
        self.commands: list[Command] = []
        self._open = True
        self._thread = threading.Thread(target=self._run, name="wire", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._open = False
        self._thread.join(timeout=2.0)
        self._socket.close()

    def _run(self) -> None:
        while self._open:
            try:
                packet, extra, _, source = self._socket.recvmsg(65536, 64)
            except TimeoutError:
                continue
            if source[2] == socket.PACKET_OUTGOING:  # the loopback shows every packet twice
                continue
            stamp = next((data for level, kind, data in extra if (level, kind) == (socket.SOL_SOCKET, TIMESTAMPNS)), None)
            now_ns = time.time_ns() if stamp is None else int.from_bytes(stamp[:8], "little") * 10**9 + int.from_bytes(stamp[8:16], "little")
            self._take(packet[14:], now_ns)

    def _take(self, packet: bytes, now_ns: int) -> None:
        """Looks for ``servo_j`` in one IPv4 packet: the client sends each command in a segment of its own."""
        if len(packet) < 40 or packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_TCP:
            return
        start = 4 * (packet[0] & 0x0F)
        arm = self._arms.get((packet[16:20], int.from_bytes(packet[start + 2:start + 4], "big")))
        payload = packet[start + 4 * (packet[start + 12] >> 4):int.from_bytes(packet[2:4], "big")]
        if arm is None or len(payload) < HEADER.size + 28 or HEADER.unpack_from(payload)[3] != SERVO_J:
            return
        self.commands.append(Command(now_ns, arm, struct.unpack_from("<7f", payload, HEADER.size)))


class Ending(NamedTuple):
    """How the stream of one arm came to an end after an event.

    Attributes:
        followed_ms: from the event to the last command that still follows the plan [ms].
        moved_ms: to the last that moves before the stream stands still for the first time [ms].
        speed_rad_s: at the event, of the fastest joint.
        settled_rad: how far the stream goes once more after that, to where the joints are measured: they had lagged behind it.
    """

    followed_ms: float
    moved_ms: float
    speed_rad_s: float
    settled_rad: float


def ending(commands: list[Command], event_ns: int) -> Ending | None:
    """Of one arm's commands in order; None where it stood still already, or never comes to a stand."""
    joints = np.array([command.joints_rad for command in commands])
    if len(joints) < 3:
        return None
    times = np.array([command.time_ns for command in commands])
    steps = np.abs(np.diff(joints, axis=0)).max(axis=1)  # step k leads to command k + 1
    before = np.flatnonzero(times[1:] <= event_ns)
    if not len(before) or steps[before[-1]] <= MOVES_RAD:
        return None
    last = int(before[-1])
    still = np.flatnonzero(steps[last + 1:] <= MOVES_RAD)
    if not len(still):
        return None
    rest = last + 1 + int(still[0])
    brakes = rest
    while brakes > last + 1 and steps[brakes - 1] < SPEED_SHARE * steps[brakes - 2]:
        brakes -= 1
    period_s = (times[last + 1] - times[last]) * 1e-9
    after_ms = np.maximum(0.0, (times - event_ns) * 1e-6)
    settled = float(np.abs(joints[rest:] - joints[rest]).max())
    return Ending(float(after_ms[brakes]), float(after_ms[rest]), float(steps[last] / period_s), settled)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--stops", type=int, default=10, help="how many stops (default %(default)s)")
    parser.add_argument("--kills", type=int, default=4, help=f"how many processes of {', '.join(UPSTREAM)} are killed (default %(default)s)")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Goals of the push task that are stopped, then goals whose upstream is killed."""
    stops: list[Ending] = []
    holds: list[tuple[str, float, float]] = []
    with LiveCell(options.cell, notify=say) as live:
        wire = Wire(live.resolution.cell)
        try:
            for number in range(options.stops):
                stops += _stop(live, wire, FIRST_UNSEEN_SEED + number, say)
            for number in range(options.kills):
                holds += _kill(live, wire, UPSTREAM[number % len(UPSTREAM)], FIRST_UNSEEN_SEED + number, say)
        finally:
            wire.close()
    return Report("stop-latency", _figures(stops, holds), (
        Goal("stop_to_last_following_p50_ms", at_most=STOP_P50_MS, unit="ms"), Goal("stop_to_last_following_p99_ms", at_most=STOP_P99_MS, unit="ms"),
        Goal("stop_to_last_moving_p50_ms", at_most=STOP_P50_MS, unit="ms"), Goal("stop_to_last_moving_p99_ms", at_most=STOP_P99_MS, unit="ms"),
        Goal("killed_to_hold_max_ms", at_most=HOLD_MS, unit="ms"),
    ))


def _figures(stops: list[Ending], holds: list[tuple[str, float, float]]) -> dict[str, Any]:
    figures: dict[str, Any] = {"arms_stopped": len(stops), "speed_at_stop_p50_rad_s": percentile([s.speed_rad_s for s in stops], 50)}
    figures["settled_after_it_max_rad"] = max((s.settled_rad for s in stops), default=float("nan"))
    for name, values in (("following", [s.followed_ms for s in stops]), ("moving", [s.moved_ms for s in stops])):
        figures |= {f"stop_to_last_{name}_p{share}_ms": percentile(values, share) for share in (50, 99)}
    figures["killed_to_hold_max_ms"] = max((hold for _, hold, _ in holds), default=float("nan"))
    for node, hold, moved in holds:
        figures |= {f"killed_{node}_to_hold_ms": hold, f"killed_{node}_to_last_moving_ms": moved}
    return figures


def _moving(live: LiveCell, wire: Wire, seed: int) -> Callable[[], bool]:
    """A goal that has been under way for a while; returns what says that its arms still move."""
    live.client.quiet_gate()
    live.supervisor.wait_active(BACK_S)
    live.client.new_scene(seed)
    wire.commands.clear()
    return lambda: len(_recent(wire)) > START_S * 100.0 and _moves(_recent(wire)[-3:])


def _moves(commands: list[Command]) -> bool:
    """Whether every one of them is elsewhere than the one before."""
    return bool((np.abs(np.diff([command.joints_rad for command in commands], axis=0)).max(axis=1) > MOVES_RAD).all())


def _recent(wire: Wire) -> list[Command]:
    """Commands of the arm that is heard last."""
    commands = list(wire.commands)
    return [c for c in commands if c.arm == commands[-1].arm] if commands else []


def _under_way(live: LiveCell, wire: Wire, seed: int, act: Callable[[], None]) -> None:
    """Runs a goal and calls ``act`` once, while its arms move; returns when the goal has ended."""
    moves, done = _moving(live, wire, seed), []

    def tick() -> None:
        live.supervisor.tick()
        if not done and moves():
            done.append(True)
            act()

    task = load_task("push_cans")
    live.client.run_task(task.instruction, tick=tick)
    live.client.pause(SETTLE_S)


def _stop(live: LiveCell, wire: Wire, seed: int, say: Callable[[str], None]) -> list[Ending]:
    event: list[int] = []
    live.client.prepare_stop()

    def act() -> None:
        time.sleep(seed % 10 * 1e-3)  # this loop wakes in step with the gate's period: a stop may come anywhere in it
        event.append(time.time_ns())
        live.client.stop_gate()

    _under_way(live, wire, seed, act)
    found = _endings(wire, event[0]) if event else {}
    words = [
        f"{arm} {e.followed_ms:.1f} / {e.moved_ms:.1f} ms at {e.speed_rad_s:.2f} rad/s, settles by {e.settled_rad:.1e} rad"
        for arm, e in found.items()
    ]
    say(f"stop {seed}: {', '.join(words)}")
    return list(found.values())


def _kill(live: LiveCell, wire: Wire, node: str, seed: int, say: Callable[[str], None]) -> list[tuple[str, float, float]]:
    event: list[int] = []
    held: list[int] = []

    def on_safety(message: SafetyState) -> None:
        if event and not held and message.mode not in (SafetyState.ARMED, SafetyState.RUNNING):
            held.append(message.header.stamp.sec * 10**9 + message.header.stamp.nanosec)

    subscription = live.client.node.create_subscription(SafetyState, names.SAFETY_STATE, on_safety, qos.LATCHED)

    def act() -> None:
        event.append(time.time_ns())
        os.kill(live.supervisor.child(node).pid, signal.SIGKILL)

    try:
        _under_way(live, wire, seed, act)
    except DexError as error:
        say(f"killed {node}: the goal ended with {error}")  # the task node itself may be the one
    live.client.spin_until(lambda: bool(held) or not event, "safety_state", 2.0)
    live.client.node.destroy_subscription(subscription)
    if not event:
        return []
    moved = max((e.moved_ms for e in _endings(wire, event[0]).values()), default=float("nan"))
    say(f"killed {node}: holding after {(held[0] - event[0]) * 1e-6:.1f} ms, last moving command after {moved:.1f} ms")
    return [(node, (held[0] - event[0]) * 1e-6, moved)]


def _endings(wire: Wire, event_ns: int) -> dict[str, Ending]:
    commands = [c for c in list(wire.commands) if event_ns - WATCH_S * 1e9 <= c.time_ns <= event_ns + WATCH_S * 1e9]
    found = {arm: ending([c for c in commands if c.arm == arm], event_ns) for arm in sorted({c.arm for c in commands})}
    return {arm: end for arm, end in found.items() if end is not None}
