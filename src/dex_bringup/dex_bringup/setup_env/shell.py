# SPDX-License-Identifier: Apache-2.0
"""Runs the commands of the set-up in a clean environment and tells a person how far they are."""
from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

REPORT_PERIOD_S = 15.0
FOREIGN = ('PYTHONPATH', 'PYTHONHOME', 'VIRTUAL_ENV', 'LD_LIBRARY_PATH', '_ROS_WHEELS_BOOTSTRAP_COMPLETE',
           'AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH', 'COLCON_PREFIX_PATH', 'ROS_DISTRO', 'ROS_VERSION',
           'ROS_PYTHON_VERSION', 'MAKEFLAGS', 'MAKELEVEL', 'MFLAGS')


class SetupError(Exception):
    """Set-up cannot go on; the text says why and what helps, in one or two lines."""


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without another ROS install, virtual environment or make in it."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    kept.update(extra or {})
    return kept


class Console:
    """One line per step with the time since the start; a moving line in between where there is a terminal."""

    def __init__(self, quiet: bool = False) -> None:
        self._start_s = time.monotonic()
        self._last_report_s = self._start_s
        self._live = sys.stdout.isatty()
        self._quiet = quiet

    def elapsed_s(self) -> float:
        """Seconds since this console was made."""
        return time.monotonic() - self._start_s

    def say(self, text: str) -> None:
        """Write one finished line."""
        if self._quiet:
            return
        self._last_report_s = time.monotonic()
        lead = '\r\x1b[K' if self._live else ''
        sys.stdout.write(f'{lead}[set-up {self.elapsed_s():5.1f} s] {text}\n')
        sys.stdout.flush()

    def progress(self, text: str) -> None:
        """Show where a long step is: at once on a terminal, else every 15 s."""
        if self._quiet:
            return
        if self._live:
            sys.stdout.write(f'\r\x1b[K[set-up {self.elapsed_s():5.1f} s] {text}'[:150])
            sys.stdout.flush()
        elif time.monotonic() - self._last_report_s > REPORT_PERIOD_S:
            self.say(text)


def run(command: Sequence[str | Path], log: Path, environment: Mapping[str, str], timeout_s: float,
        on_line: Callable[[str], None] | None = None, cwd: Path | None = None) -> None:
    """Run a command to its end, its output appended to the log; the last lines are in the error when it fails."""
    words = [str(word) for word in command]
    log.parent.mkdir(parents=True, exist_ok=True)
    recent: list[str] = []
    with log.open('a', encoding='utf-8') as sink:
        sink.write('\n$ ' + ' '.join(words) + '\n')
        sink.flush()
        process = subprocess.Popen(words, env=dict(environment), cwd=cwd, text=True, errors='replace',
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        timer = threading.Timer(timeout_s, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                sink.write(line)
                recent = [*recent[-14:], line.rstrip()]
                if on_line:
                    on_line(line.rstrip())
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            timer.cancel()
    if code != 0:
        name = ' '.join(words[:4])
        tail = '\n'.join(f'    {line}' for line in recent)
        raise SetupError(f'`{name} ...` ended with code {code}; the whole output is in {log}\n{tail}')
