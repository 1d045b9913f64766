# SPDX-License-Identifier: Apache-2.0
"""`dex up`: the cell's processes without launch, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from dex_bringup.claim import AlreadyRunningError
from dex_bringup.logs import LogTail
from dex_bringup.resolve import resolve
from dex_bringup.supervisor import Supervisor
from dex_core.errors import DexError

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_BUSY = 0, 1, 2, 3
START_TIMEOUT_S = 60.0


class StopSignal:
    """SIGINT and SIGTERM as a flag; a second one raises KeyboardInterrupt, for whoever will not wait."""

    def __init__(self) -> None:
        self.received: int | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup stays
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: object) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number

    def check(self) -> None:
        """Raises KeyboardInterrupt once a signal came."""
        if self.received is not None:
            raise KeyboardInterrupt


def run_cell(cell: str | Path, arguments: Mapping[str, str], show: Callable[[str], None], start_timeout_s: float = START_TIMEOUT_S) -> int:
    """Starts a cell and keeps it until a signal.

    Args:
        cell: name or YAML path.
        arguments: as for ``resolve``.
        show: prints one line.
        start_timeout_s: longest wait for all nodes to be active [s].

    Returns:
        0 after Ctrl-C or SIGTERM, 1 when the cell failed, 3 when it runs already. Raises ConfigError on wrong arguments.
    """
    resolution = resolve(cell, arguments)
    stop = StopSignal()
    supervisor = Supervisor(resolution, notify=lambda text: show(f"dex: {text}"))
    tail = LogTail({c.name: c.log_path for c in supervisor.children}, show, colour=sys.stdout.isatty())

    def tick() -> None:
        tail.pump()
        stop.check()

    show(
        f"dex: cell {resolution.cell.name}, {'simulated' if resolution.cell.simulated else 'REAL HARDWARE'}, "
        f"{len(supervisor.children)} processes, run folder {resolution.run_folder}"
    )
    try:
        supervisor.start()
        waited_s = supervisor.wait_active(start_timeout_s, tick=tick)
        hint = 'try: dex run "Push the two tomato cans together"' if resolution.cell.policy.bundle else "it has no policy, and waits for trajectories"
        show(f"dex: all nodes active after {waited_s:.1f} s; {hint} (Ctrl-C here stops the robot, then the cell)")
        while True:
            supervisor.tick()
            supervisor.serve(tick)
            tick()
            time.sleep(0.05)
    except KeyboardInterrupt:
        show("dex: stopping the robot, then the cell")
        return EXIT_OK
    except AlreadyRunningError as error:
        show(f"dex: {error}")
        return EXIT_BUSY
    except DexError as error:
        show(f"dex: {error}")
        return EXIT_FAILED
    finally:
        killed = supervisor.stop()
        tail.pump()
        show("dex: cell is down" + (f"; had to kill {killed}" if killed else ""))
