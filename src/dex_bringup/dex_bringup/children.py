# SPDX-License-Identifier: Apache-2.0
"""Starts, watches and ends the processes of a cell; none outlives its parent."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dex_bringup.process import ProcessDescription
from dex_core.errors import ConfigError

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def _before_exec(nice: int, parent: int) -> None:
    """In the child: the kernel ends it by SIGTERM when the parent dies, however that happens; and its priority is as asked where allowed."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the parent's handler, copied by the fork, would note the signal here and lose it at the exec
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the kernel was told to say so
        os._exit(1)
    try:
        os.nice(nice)
        with open("/proc/self/autogroup", "w", encoding="ascii") as group:  # a session of its own is a scheduling group of its own
            group.write(str(nice))
    except OSError:
        return  # not allowed, or a kernel without autogroups: as good as it gets


def command_of(process: ProcessDescription) -> list[str]:
    """The command line. A Python node starts as ``python -m``: 0.1 s sooner than through its console script.

    Raises:
        ConfigError: the executable is not installed.
    """
    if process.package == "rviz2":
        path = shutil.which("rviz2")
        if path is None:
            raise ConfigError(
                "rviz:=true, but rviz2 is not installed here; install ROS 2 with RViz, or leave rviz:=false and open the recording in Foxglove"
            )
        return [path, *process.arguments, "--ros-args", *process.ros_arguments()]
    return [sys.executable, "-m", process.module, *process.arguments, "--ros-args", *process.ros_arguments()]


@dataclass
class Child:
    """One running process.

    Attributes:
        process: what it is.
        log_path: where its output goes; it writes there itself, so a slow console never blocks it.
        starts: monotonic times of its starts [s].
    """

    process: ProcessDescription
    log_path: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    popen: subprocess.Popen | None = None
    starts: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Node name."""
        return self.process.name

    @property
    def pid(self) -> int:
        """Process id of the newest start; 0 before the first."""
        return self.popen.pid if self.popen else 0

    @property
    def running(self) -> bool:
        """True while the process lives; reaps it when it ended."""
        return self.popen is not None and self.popen.poll() is None

    @property
    def exit_text(self) -> str:
        """How it ended, for people: ``killed by SIGKILL`` or ``exit code 1``."""
        code = self.popen.poll() if self.popen else None
        if code is None:
            return "running"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def start(self) -> None:
        """Starts it in a process group of its own, so that a terminal's Ctrl-C reaches only the supervisor."""
        environment = {**os.environ, **self.process.env, **self.environment}
        before = partial(_before_exec, self.process.nice, os.getpid())
        with self.log_path.open("ab", buffering=0) as log:
            self.popen = subprocess.Popen(  # noqa: S603
                command_of(self.process), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=environment, start_new_session=True, preexec_fn=before,  # noqa: PLW1509
            )
        self.starts.append(time.monotonic())

    def signal(self, number: int) -> None:
        """Sends a signal to the whole group; nothing happens when it is gone."""
        if self.running:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                return


def stop_in_order(children: list[Child], stage_timeout_s: float = 4.0) -> list[str]:
    """Ends stage after stage: SIGTERM, a deadline, then SIGKILL.

    Returns:
        Names of the processes that had to be killed.
    """
    killed: list[str] = []
    for stage in sorted({child.process.stop_stage for child in children}):
        members = [child for child in children if child.process.stop_stage == stage and child.running]
        for child in members:
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + stage_timeout_s
        while any(child.running for child in members) and time.monotonic() < deadline:
            time.sleep(0.01)
        for child in members:
            if child.running:
                killed.append(child.name)
                child.signal(signal.SIGKILL)
                child.popen.wait(timeout=5.0)  # type: ignore[union-attr]
    return killed
