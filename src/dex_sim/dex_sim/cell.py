# SPDX-License-Identifier: Apache-2.0
"""The simulated cell at real time: one physics thread, the simulators of its devices, the camera's state server. No ROS."""
from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dex_core.clock import NS, Priority, set_realtime_priority
from dex_core.config import CellConfig
from dex_core.errors import DexError
from dex_sim.devices import serve_devices
from dex_sim.judge import Judgement
from dex_sim.state_server import StateServer
from dex_sim.world import World, WorldState

BATCH_STEPS = 2
CATCH_UP_S = 0.10
"""A backlog longer than this is dropped, so that an overloaded machine makes time slow instead of the load worse."""


@dataclass(frozen=True)
class Pace:
    """How well the physics thread keeps real time.

    Attributes:
        steps: physics steps made.
        dropped: steps given up because the backlog was too long.
        late_max_s: longest a batch began after its tick.
        factor: simulated time over wall time since the start.
    """

    steps: int
    dropped: int
    late_max_s: float
    factor: float


class SimCell:
    """Runs a World in a thread at real time and serves it as the devices of the cell.

    Args:
        cell: what to run and where the devices listen.
        devices: start the device simulators named in the cell; False for a world without wires.

    Attributes:
        world: the physics.
        arms: interface -> the simulator of that arm (or body), while running; for statistics and injected faults.
        hands: interface -> the simulator of that hand, while running.
        failure: why the physics thread ended by itself; empty while all is well.
    """

    def __init__(self, cell: CellConfig, *, devices: bool = True) -> None:
        self.cell = cell
        self.world = World(cell)
        self._with_devices = devices
        self._newest: WorldState = self.world.snapshot(time.time_ns())
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.arms: dict[str, Any] = {}
        self.hands: dict[str, Any] = {}
        self._closers: list[Callable[[], None]] = []
        self._resets: list[Callable[[], None]] = []
        self._steps = self._dropped = 0
        self._late_max_ns = 0
        self._start_ns = time.monotonic_ns()
        self.failure: str = ""

    def start(self) -> None:
        """Starts physics, state server and devices; undone as a whole when one cannot start. Raises DexError."""
        if self._thread is not None:
            raise DexError("the simulated cell runs already")
        self._stop.clear()
        self._start_ns = time.monotonic_ns()
        self._thread = threading.Thread(target=self._run, name="physics", daemon=True)
        self._thread.start()
        try:
            server = StateServer(self.world.model, self.newest, self.cell.sim.state_server)
            self._closers.append(server.close)
            if self._with_devices:
                self._start_devices()
        except DexError:
            self.close()
            raise

    def close(self) -> None:
        """Stops devices, server and physics; any number of times."""
        while self._closers:
            self._closers.pop()()
        self._resets.clear()
        self.arms, self.hands = {}, {}
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
            self._thread = None

    def __enter__(self) -> SimCell:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """True while the physics thread lives."""
        return self._thread is not None and self._thread.is_alive()

    def newest(self) -> WorldState:
        """The newest state, stamped with the wall-clock time of its instant."""
        return self._newest

    def judge(self) -> Judgement:
        """The referee's verdict now."""
        return self.world.judge()

    def reset(self, seed: int, task: str = "") -> int:
        """Objects of ``task`` (the cell's own when empty) and looks as ``seed`` says, robots home and holding; returns the new epoch."""
        self.world.reset(seed, task)
        for reset in self._resets:
            reset()
        return self.world.epoch

    def pace(self) -> Pace:
        """How well real time was kept since the start."""
        elapsed_s = max(1e-9, (time.monotonic_ns() - self._start_ns) / NS)
        return Pace(self._steps, self._dropped, self._late_max_ns / NS, self._steps * self.world.timestep_s / elapsed_s)

    def _run(self) -> None:
        set_realtime_priority(Priority.CONTROL_PROCESS)
        period_ns = round(self.world.timestep_s * NS)
        next_ns = time.monotonic_ns()
        try:
            while not self._stop.is_set():
                left_ns = next_ns - time.monotonic_ns()
                if left_ns > 0:
                    self._stop.wait(left_ns / NS)
                behind_ns = max(0, time.monotonic_ns() - next_ns)
                self._late_max_ns = max(self._late_max_ns, behind_ns)
                if behind_ns > CATCH_UP_S * NS:
                    self._dropped += behind_ns // period_ns
                    next_ns += behind_ns // period_ns * period_ns
                self.world.step(BATCH_STEPS)
                self._steps += BATCH_STEPS
                self._newest = self.world.snapshot(time.time_ns())
                next_ns += BATCH_STEPS * period_ns
        except Exception as error:  # the thread's outermost loop: say why it ended, the owner must see it
            self.failure = f"physics ended: {type(error).__name__}: {error}"
            raise

    def _start_devices(self) -> None:
        for served in serve_devices(self.cell, list(self.cell.interfaces), self.world.plant):
            self._closers.append(served.close)
            self._resets.extend(served.resets)
            for name, device in served.devices.items():
                (self.hands if self.cell.interfaces[name].robot.kind == "hand" else self.arms)[name] = device
