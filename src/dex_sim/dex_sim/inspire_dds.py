# SPDX-License-Identifier: Apache-2.0
"""Unitree's DDS service of a G1's Inspire hands: twelve numbers from 0 (closed) to 1 (open), right hand first."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np

from dex_core.clock import Clock, Priority, SteadyClock, Ticker, set_realtime_priority
from dex_core.devices.topic_link import Topic, TopicLink
from dex_core.devices.unitree_wire import HAND_CMD, HAND_STATE, UnitreeWireError, pack_motors, unpack_motors
from dex_core.errors import ConfigError
from dex_sim.inspire_modbus_hand import InspireHand
from dex_sim.inspire_modbus_map import FINGERS

COMMANDS, STATES = Topic("inspire/cmd", "unitree_go/MotorCmds", depth=16), Topic("inspire/state", "unitree_go/MotorStates")
WRITES, READS = (STATES,), (COMMANDS,)
RATE_HZ = 100.0
ANGLE_SET, ANGLE_ACT, FULL_SCALE = 1486, 1546, 1000.0
SIDES = ("right", "left")
BOTH = len(SIDES) * len(FINGERS)


class InspireService:
    """The service beside its hands: 100 times a second it writes ANGLE_SET, reads ANGLE_ACT and publishes. Nothing moves before a command.

    Args:
        hands: side -> hand; a side that is missing reports 0 and loses every frame, as a hand that is not plugged in.
        link: open; writes ``WRITES`` and reads ``READS``.
        clock: of the thread that ``start`` begins.

    Attributes:
        commands, refused: commands obeyed, and ignored for their length or numbers.
        unplugged: sides whose serial line is pulled out: their angles stand still and ``lost`` counts.
        silent: publish nothing.
    """

    def __init__(self, hands: Mapping[str, InspireHand], link: TopicLink, *, clock: Clock | None = None) -> None:
        if unknown := set(hands) - set(SIDES):
            raise ConfigError(f"hands of {sorted(unknown)}; allowed: {SIDES}")
        self.unplugged: set[str] = set(SIDES) - set(hands)
        self.silent = False
        self.commands = self.refused = 0
        self._hands, self._link, self._clock = dict(hands), link, clock or SteadyClock()
        self._states = np.zeros(BOTH, HAND_STATE)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to publish and to obey."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="inspire-dds", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends; any number of times."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
            self._thread = None

    def step(self) -> None:
        """Obeys what has come, moves the hands and publishes one state."""
        for sample in self._link.take(COMMANDS):
            self._obey(sample.data)
        for number, side in enumerate(SIDES):
            part = self._states[number * len(FINGERS):(number + 1) * len(FINGERS)]
            if side in self.unplugged:
                part["lost"] += 1
                continue
            self._hands[side].step()
            part["q"] = np.array(self._hands[side].read_words(ANGLE_ACT, len(FINGERS))) / FULL_SCALE
        if not self.silent:
            self._link.publish(STATES, pack_motors(self._states))

    def _run(self) -> None:
        set_realtime_priority(Priority.SIMULATED_DEVICE)
        ticker = Ticker(RATE_HZ, self._clock)
        while not self._stop.is_set():
            ticker.wait()
            self.step()

    def _obey(self, data: bytes) -> None:
        try:
            q = unpack_motors(data, HAND_CMD, BOTH)["q"]
        except UnitreeWireError:
            self.refused += 1
            return
        if not np.isfinite(q).all():
            self.refused += 1
            return
        self.commands += 1
        counts = np.rint(np.clip(q, 0.0, 1.0) * FULL_SCALE).astype(int)
        for number, side in enumerate(SIDES):
            if side not in self.unplugged:
                self._hands[side].write_words(ANGLE_SET, counts[number * len(FINGERS):(number + 1) * len(FINGERS)].tolist())
