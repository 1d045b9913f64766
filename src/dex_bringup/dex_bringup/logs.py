# SPDX-License-Identifier: Apache-2.0
"""Follows the log files of a cell and shows them line by line, each with the node's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

_COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
_MAX_READ = 1 << 16


class LogTail:
    """Reads what was appended to each log since the last call; never blocks.

    Args:
        paths: node name -> log file.
        show: takes one finished line.
        colour: ANSI colours by node.
    """

    def __init__(self, paths: dict[str, Path], show: Callable[[str], None], colour: bool) -> None:
        self._paths = paths
        self._show = show
        self._offsets = {name: 0 for name in paths}
        self._partial = {name: b"" for name in paths}
        width = max((len(name) for name in paths), default=0)
        self._prefixes = {name: _prefix(name, width, number if colour else None) for number, name in enumerate(paths)}

    def pump(self) -> None:
        """Shows every new whole line."""
        for name, path in self._paths.items():
            try:
                if path.stat().st_size <= self._offsets[name]:
                    continue
                with path.open("rb") as file:
                    file.seek(self._offsets[name])
                    data = file.read(_MAX_READ)
            except FileNotFoundError:
                continue
            self._offsets[name] += len(data)
            *lines, self._partial[name] = (self._partial[name] + data).split(b"\n")
            for line in lines:
                self._show(self._prefixes[name] + line.decode("utf-8", "replace"))


def _prefix(name: str, width: int, number: int | None) -> str:
    padded = f"{name:<{width}} | "
    return padded if number is None else f"\x1b[{_COLOURS[number % len(_COLOURS)]}m{padded}\x1b[0m"


def last_lines(path: Path, count: int = 12) -> list[str]:
    """The end of a log file; empty when there is none."""
    try:
        data = path.read_bytes()[-_MAX_READ:]
    except FileNotFoundError:
        return []
    return data.decode("utf-8", "replace").splitlines()[-count:]
