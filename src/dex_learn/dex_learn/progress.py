# SPDX-License-Identifier: Apache-2.0
"""Progress bars for long work; plain lines where there is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Update = Callable[[float, str], None]


@contextmanager
def progress(title: str, total: float) -> Iterator[Update]:
    """Shows a bar; the yielded function takes (amount done in all, short text beside the bar).

    Without a terminal one line is written per tenth of the work.
    """
    if sys.stderr.isatty():
        yield from _bar(title, total)
    else:
        yield from _lines(title, total)


def _bar(title: str, total: float) -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, note="")
        yield lambda done, note: bar.update(task, completed=done, note=note)


def _lines(title: str, total: float) -> Iterator[Update]:
    shown = -1

    def update(done: float, note: str) -> None:
        nonlocal shown
        tenth = int(10 * done / total) if total else 10
        if tenth > shown:
            shown = tenth
            sys.stderr.write(f"{title}: {done:.0f} of {total:.0f} {note}\n")
            sys.stderr.flush()

    yield update
