# SPDX-License-Identifier: Apache-2.0
"""What the gate and the state node tell of each chunk's way, into one book of statistics."""

from __future__ import annotations

from collections.abc import Callable

from dex_core.config import PolicyConfig
from dex_core.latency import LatencyBook, LatencyBudget
from dex_core.latency.book import TOTAL
from dex_msgs.msg import ChunkLatency, ChunkReport
from dex_ros import names, qos
from dex_ros.convert import timing_from_msg
from dex_ros.diagnostics import OK, WARN
from dex_ros.node import DexNode

TELL_PERIOD_S = 1.0
TOLERATED = 0.05
"""Share of the newest chunks that may be over the budget of the whole before it is a warning."""
LEAST_CHUNKS = round(1.0 / TOLERATED)
"""Of fewer no such share can be told: the first chunk after a start is slow, and no sign of anything."""


def book_of(config: PolicyConfig, window: int = 512) -> LatencyBook:
    """An empty book with the cell's budgets; ``window``: how many chunks are the newest."""
    return LatencyBook(LatencyBudget.of(config.latency_budget_ms, config.stage_budgets_ms), window)


def note_report(book: LatencyBook, report: ChunkReport) -> None:
    """Takes a chunk up to its first command; a refused one has none."""
    if report.accepted:
        book.add(timing_from_msg(report.timing))


def note_motion(book: LatencyBook, latency: ChunkLatency) -> None:
    """Takes the motion that followed, where one was seen."""
    if latency.motion == ChunkLatency.SEEN:
        book.add_motion(timing_from_msg(latency.timing), latency.from_rest)


class LatencyWatch:
    """Tells in a node's /diagnostics, as ``latency``, how long each stage of the newest chunks took.

    Args:
        node: an executor runs its callbacks. config: with the budgets.
        on_report: is given every chunk's report besides.
    """

    def __init__(self, node: DexNode, config: PolicyConfig, on_report: Callable[[ChunkReport], None] | None = None) -> None:
        self.book = book_of(config)
        self._node, self._on_report = node, on_report
        self._told = 0
        self._subscriptions = [
            node.create_subscription(ChunkReport, names.CHUNK_REPORT, self._take_report, qos.REPORT),
            node.create_subscription(ChunkLatency, names.CHUNK_LATENCY, lambda m: note_motion(self.book, m), qos.REPORT),
        ]
        self._timer = node.create_timer(TELL_PERIOD_S, self._tell)

    def _take_report(self, report: ChunkReport) -> None:
        note_report(self.book, report)
        if self._on_report is not None:
            self._on_report(report)

    def destroy(self) -> None:
        """Ends subscriptions and timer."""
        self._node.destroy_timer(self._timer)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _tell(self) -> None:
        book = self.book
        if book.chunks == self._told or TOTAL not in book.stages:
            return
        self._told = book.chunks
        newest, worst = book.stages[TOTAL].newest, book.worst()
        slow = newest.count >= LEAST_CHUNKS and newest.over > TOLERATED
        words = f"chunks come late: over the budget of {book.stages[TOTAL].budget_ms:g} ms, worst in {worst}" if slow else "within the budget"
        self._node.diagnostics.set(
            "latency", WARN if slow else OK, words, {"chunks": book.chunks, "worst": worst, **book.as_words()},
        )
