# SPDX-License-Identifier: Apache-2.0
"""What a fault of the matrix is, and what came of playing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dex_core.config import CellConfig, load_cell
from dex_core.contracts.command_spy import CommandSpy
from dex_core.errors import DexError

if TYPE_CHECKING:
    from dex_bringup.fault.live import FaultCell

LEVELS = {
    "gate": "the gate's core, its clock moved by hand",
    "parser": "the reader of a file, message or argument",
    "device": "real driver, simulated device on its wire",
    "node": "one node or its core, with fakes",
    "live": "the whole simulated cell, every process real",
}


class Unexpected(DexError):
    """A fault was not survived as expected; says what was seen instead."""

    code = "unexpected"


def expect(condition: object, seen: str) -> None:
    """Raises Unexpected with what was seen unless ``condition`` holds."""
    if not condition:
        raise Unexpected(seen)


@dataclass(frozen=True)
class Seen:
    """What was seen, in words, and the time from the fault to the first command that no longer follows [ms], where something moved."""

    text: str
    hold_ms: float | None = None


@dataclass(frozen=True)
class Fault:
    """One row of the matrix that is played.

    Attributes:
        number: ``F6``. title: what goes wrong. injected: how. expected: what must come of it.
        level: one of ``LEVELS``. place: ``module:function`` below dex_bringup.fault; takes a Stage, returns Seen, raises Unexpected.
    """

    number: str
    title: str
    injected: str
    expected: str
    level: str
    place: str

    def play(self, stage: Stage) -> Seen:
        """Plays it once. Raises Unexpected, or whatever the stack raised where it should not."""
        module, _, function = self.place.partition(":")
        return getattr(import_module(f"dex_bringup.fault.{module}"), function)(stage)


class Stage:
    """What faults are played on: a cell's description, a folder of its own for each, and the live cell once one needs it.

    Args:
        cell: name or file of the cell.
        spy: looks at the commands of the live cell, too.
        say: takes one sentence for people.
    """

    def __init__(self, cell: str, spy: CommandSpy, say: Callable[[str], None] = lambda _text: None) -> None:
        self.cell_name, self.spy = cell, spy
        self.cell: CellConfig = load_cell(cell)
        self.say = say
        self._closing = ExitStack()
        self._live: FaultCell | None = None

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """An empty folder, gone afterwards."""
        with TemporaryDirectory(prefix="dex_fault_") as name:
            yield Path(name)

    @property
    def live(self) -> FaultCell:
        """The running cell: started by the first fault that needs it, whole and reset each time it is asked for."""
        if self._live is None:
            from dex_bringup.fault.live import FaultCell

            self._live = self._closing.enter_context(FaultCell(self.cell_name, self.spy, self.say))
        self._live.make_ready()
        return self._live

    def close(self) -> None:
        """Ends the live cell, if there is one."""
        self._closing.close()
