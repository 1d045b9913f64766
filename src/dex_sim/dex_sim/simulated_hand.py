# SPDX-License-Identifier: Apache-2.0
"""The far end of the `simulated` transport: joints of one plant for one client, held whenever that client is silent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from dex_core.clock import NS
from dex_core.config import CellConfig, Interface
from dex_core.devices.simulated_wire import MAX_JOINTS, Frame, FrameReader, Kind, Refusal, names_checksum, split_address
from dex_core.errors import ConfigError, DexError, JointNameError
from dex_sim.devices import PlantOf, Served
from dex_sim.plant import Plant
from dex_sim.xarm_controller_loop import SocketLoop, Stream

SILENCE_S = 0.25
"""A client that says nothing for so long is taken for dead: the joints are held where they are."""
WATCH_PERIOD_S = 0.05
LIMIT_SLACK_RAD = 1e-3
FAULTS = ("none", "silent", "truncated", "garbage", "other_sequence")
_ANSWERED_LOCKED = (Kind.HELLO, Kind.READ, Kind.HOLD, Kind.DISABLE, Kind.CLEAR)


class SimulatedHand:
    """Serves one interface's plant at ``address``. Everything happens on the loop's thread.

    Args:
        interface: which hand; every frame must name its side, model and joints.
        plant: its joints, named and ordered as ``interface.names``.
        address: ``HOST:PORT``.
        loop: shared with the other hands of the cell.
        silence_s: longest silence of a client before the joints are held [s].

    Attributes:
        fault: what answers suffer: ``none``, ``silent``, ``truncated``, ``garbage`` or ``other_sequence``.
        requests: frames understood. dropped: malformed ones. holds: how often a silent or lost client made it hold.
    """

    def __init__(self, interface: Interface, plant: Plant, address: str, loop: SocketLoop, *, silence_s: float = SILENCE_S) -> None:
        if tuple(plant.names) != interface.names:
            raise JointNameError(f"plant of {interface.name}", plant.names, interface.names)
        if len(interface.names) > MAX_JOINTS:
            raise ConfigError(f"{interface.name} has {len(interface.names)} joints; the simulated transport carries {MAX_JOINTS}")
        self.who = f"{interface.side}_{interface.robot.name}"
        self.fault = "none"
        self.requests = self.dropped = self.holds = 0
        self._joints = names_checksum(interface.names)
        self._lower = np.array([limit.lower_rad for limit in interface.limits]) - LIMIT_SLACK_RAD
        self._upper = np.array([limit.upper_rad for limit in interface.limits]) + LIMIT_SLACK_RAD
        self._plant, self._loop = plant, loop
        self._silence_ns = round(silence_s * NS)
        self._client: Stream | None = None
        self._enabled, self._held, self._closed = False, True, False
        self._error = self._lasting = 0
        self._heard_ns = 0
        self._actions: dict[Kind, Callable[[Frame], Refusal]] = {
            Kind.HELLO: self._disable, Kind.ENABLE: self._enable, Kind.DISABLE: self._disable, Kind.COMMAND: self._command,
            Kind.READ: lambda _frame: Refusal.NONE, Kind.HOLD: self._on_hold, Kind.CLEAR: self._clear,
        }
        host, port = split_address(address, interface.name)
        self._end_listening = loop.listen(host, port, self._accept)
        loop.call(lambda: loop.every(WATCH_PERIOD_S, self._watch))

    def close(self) -> None:
        """Stops to listen and drops the client; the joints are held."""
        self._closed = True
        self._end_listening()
        self.drop_client()

    def drop_client(self) -> None:
        """Ends the connection, as a cable pulled out."""
        self._loop.call_and_wait(lambda: self._client.close() if self._client is not None else None)

    def reset(self) -> None:
        """As after power-on where the joints are now: held, no error."""
        self._loop.call_and_wait(self._power_on)

    def inject_error(self, bits: int, *, lasting: bool = False) -> None:
        """Sets bits of DeviceFault and holds; a lasting one comes back when it is cleared."""
        def fail() -> None:
            self._error |= bits
            self._lasting = bits if lasting else 0
            self._hold()

        self._loop.call_and_wait(fail)

    def _power_on(self) -> None:
        self._error = self._lasting = 0
        self._held = False
        self._hold()

    def _accept(self, stream: Stream) -> None:
        if self._closed:
            self._loop.call(stream.close)
            return
        reader = FrameReader()

        def on_data(data: bytes) -> None:
            before = reader.dropped
            frames = reader.feed(data)
            self.dropped += reader.dropped - before
            for frame in frames:
                self._answer(stream, frame)

        stream.on_data = on_data
        stream.on_close = lambda: self._gone(stream)

    def _gone(self, stream: Stream) -> None:
        if stream is self._client:
            self._client, self._enabled = None, False
            self._lose_client()

    def _watch(self) -> bool:
        """Holds once the client is silent; False, which ends the watch, once this is closed."""
        if self._client is not None and not self._held and time.monotonic_ns() - self._heard_ns > self._silence_ns:
            self._lose_client()
        return not self._closed

    def _lose_client(self) -> None:
        if not self._held:
            self.holds += 1
            self._hold()

    def _hold(self) -> None:
        """Makes the measured position the target, once: a second call does not follow a finger that is pushed away."""
        if not self._held:
            self._plant.hold()
            self._held = True

    def _answer(self, stream: Stream, frame: Frame) -> None:
        self.requests += 1
        refusal = self._refusal(stream, frame)
        if refusal is Refusal.NONE:
            self._client, self._heard_ns = stream, time.monotonic_ns()
            refusal = self._do(frame)
        self._send(stream, frame.sequence, refusal)

    def _refusal(self, stream: Stream, frame: Frame) -> Refusal:
        if frame.who != self.who:
            return Refusal.WRONG_DEVICE
        if frame.joints != self._joints:
            return Refusal.WRONG_JOINTS
        if self._client is not None and self._client is not stream:
            return Refusal.BUSY
        if self._client is None and frame.kind is not Kind.HELLO:
            return Refusal.NOT_ENABLED
        return Refusal.NONE

    def _do(self, frame: Frame) -> Refusal:
        if self._error and frame.kind not in _ANSWERED_LOCKED:
            return Refusal.DEVICE_ERROR
        action = self._actions.get(frame.kind)
        return Refusal.UNKNOWN if action is None else action(frame)

    def _enable(self, _frame: Frame) -> Refusal:
        self._enabled = True
        return Refusal.NONE

    def _disable(self, _frame: Frame) -> Refusal:
        self._enabled = False
        self._hold()
        return Refusal.NONE

    def _on_hold(self, _frame: Frame) -> Refusal:
        self._hold()
        return Refusal.NONE

    def _clear(self, _frame: Frame) -> Refusal:
        self._error = self._lasting
        return Refusal.NONE

    def _command(self, frame: Frame) -> Refusal:
        if not self._enabled:
            return Refusal.NOT_ENABLED
        target = np.array(frame.position_rad)
        if target.shape != self._lower.shape:
            return Refusal.WRONG_JOINTS
        if (target < self._lower).any() or (target > self._upper).any():
            return Refusal.OUT_OF_LIMITS
        self._plant.command(target)
        self._held = False
        return Refusal.NONE

    def _send(self, stream: Stream, sequence: int, refusal: Refusal) -> None:
        if self.fault == "silent":
            return
        state = self._plant.read()
        stamp_ns = time.time_ns()
        kind = Kind.STATE if refusal is Refusal.NONE else Kind.REFUSED
        answer = Frame(
            kind, sequence ^ (self.fault == "other_sequence"), self.who, self._joints, refusal, self._error, self.dropped, stamp_ns,
            tuple(state.position_rad.tolist()), tuple(state.velocity_rad_s.tolist()), tuple(state.effort_nm.tolist()),
        ).pack()
        stream.send({"truncated": answer[: len(answer) // 2], "garbage": bytes(len(answer))}.get(self.fault, answer))


def serve(cell: CellConfig, names: Sequence[str], plant_of: PlantOf) -> Served:
    """One server for each hand without a wire of its own, all on one thread. Raises DeviceError when an address cannot be listened at."""
    loop = SocketLoop("simulated-hands")
    hands: dict[str, SimulatedHand] = {}

    def close() -> None:
        for hand in hands.values():
            hand.close()
        loop.stop()

    try:
        for name in names:
            hands[name] = SimulatedHand(cell.interface(name), plant_of(name), cell.address_of(name), loop)
    except DexError:
        close()
        raise
    return Served(hands, tuple(hand.reset for hand in hands.values()), close)
