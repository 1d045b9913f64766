# SPDX-License-Identifier: Apache-2.0
"""The policy node in a process of its own, as `dex up` starts it, kept on one core; what surrounds it kept off that core."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from dex_bringup.bench.serving_feed import Feed
from dex_core.bundle import load_bundle
from dex_core.clock import Priority, set_process_realtime
from dex_core.config import CellConfig
from dex_core.decode import MountedHand
from dex_core.errors import DexError

END_S = 10.0


@dataclass(frozen=True)
class Cores:
    """Where things run. Empty: anywhere.

    Attributes:
        server: the core of what is measured. others: of everything else; the same where the machine has one.
    """

    server: tuple[int, ...]
    others: tuple[int, ...]

    @classmethod
    def choose(cls, wanted: int) -> Cores:
        """``wanted``: a core's number, -1 the last of this process's, -2 no matter. Raises DexError ``core_missing``."""
        here = tuple(sorted(os.sched_getaffinity(0)))
        if wanted == -2:
            return cls(here, here)
        core = here[-1] if wanted == -1 else wanted
        if core not in here:
            raise DexError(f"core {core} is not there; this process may use {list(here)}", code="core_missing")
        return cls((core,), tuple(c for c in here if c != core) or here)


@dataclass
class Served:
    """A running server: what it is fed by, its process, and how long it took from its start to READY [s]."""

    feed: Feed
    process: psutil.Process
    start_s: float

    @property
    def cpu_s(self) -> float:
        """Processor time it has taken [s]."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    @property
    def memory_mb(self) -> float:
        """Resident [MB]."""
        return self.process.memory_info().rss / 1e6


@contextmanager
def served(folder: Path, cell: CellConfig, cores: Cores, start_s: float) -> Iterator[Served]:
    """Starts the server of ``cell``, whose file and log are put into ``folder``, and ends it again.

    Raises:
        DexError: it refused or ended. DeadlineError: it was not ready after ``start_s``.
    """
    path, namespace = folder / "cell.yaml", f"bench_serving_{os.getpid()}"
    cell.save(path)
    space = load_bundle(cell.policy.latent_bundle)
    hands = {side: MountedHand.of_cell(cell, side, space.graph_sha256(f"{side}_leap/decoder")) for side in ("left", "right")}
    command = [sys.executable, "-m", "dex_policy.policy_node", "--ros-args", "-r", f"__ns:=/{namespace}", "-p", f"cell_file:={path}"]
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores.server)  # a child inherits it, with every thread it will have
    began = time.monotonic()
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        os.sched_setaffinity(0, cores.others)
        with Feed(cell, hands, namespace) as feed:
            set_process_realtime(Priority.ACTION)  # as a cell's devices: pictures come when they should, however busy the machine is
            feed.wait_ready(start_s, lambda: process.poll() is None)
            yield Served(feed, psutil.Process(process.pid), time.monotonic() - began)
    finally:
        os.sched_setaffinity(0, before)
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
