# SPDX-License-Identifier: Apache-2.0
"""Puts a chunk together: arm slices come with the chunk, hand slices from their decoders, in any order."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from dex_core.chunks.check import ChunkRefused
from dex_core.chunks.spline import NS
from dex_core.types import ActionChunk

PENDING_MAX = 8
FINISHED_MAX = 256


class Joined(NamedTuple):
    """A chunk with every interface of the cell in ``joint_position``."""

    chunk: ActionChunk


class ChunkJoiner:
    """Collects slices of one goal by sequence. All times monotonic [ns].

    Args:
        interfaces: what a whole chunk must hold.
        timeout_s: how long to wait for the missing slices [s].
    """

    def __init__(self, interfaces: Sequence[str], timeout_s: float) -> None:
        self._interfaces = tuple(interfaces)
        self._timeout_ns = round(timeout_s * NS)
        self._pending: OrderedDict[int, tuple[int, ActionChunk]] = OrderedDict()
        self._finished: OrderedDict[int, None] = OrderedDict()
        self._crowded_out: list[ActionChunk] = []
        self._newest_done = -1

    def clear(self) -> None:
        """Forgets everything: a new goal begins."""
        self._pending.clear()
        self._finished.clear()
        self._crowded_out.clear()
        self._newest_done = -1

    def finish(self, sequence: int) -> None:
        """What comes for this sequence from now on is a duplicate."""
        self._pending.pop(sequence, None)
        self._finished[sequence] = None
        while len(self._finished) > FINISHED_MAX:
            self._finished.popitem(last=False)

    def offer(self, chunk: ActionChunk, now_ns: int) -> Joined | None:
        """Adds the ``joint_position`` slices of a chunk; returns the whole chunk once it is complete.

        Slices in other spaces are for the decoders and are left alone.

        Raises:
            ChunkRefused: ``duplicate`` (this slice or sequence came before), ``late`` (a newer one is already followed),
                ``incomplete`` (slices of one sequence contradict each other), ``joint_names`` (an interface the cell lacks).
        """
        self._refuse_old(chunk)
        unknown = [s.interface for s in chunk.slices if s.interface not in self._interfaces]
        if unknown:
            raise ChunkRefused(f"chunk {chunk.sequence} moves {unknown}; this cell has {list(self._interfaces)}", code="joint_names")
        ready = tuple(s for s in chunk.slices if s.space == "joint_position")
        if not ready:
            return None
        arrived_ns, whole = now_ns, dataclasses.replace(chunk, slices=ready)
        if chunk.sequence in self._pending:
            arrived_ns, earlier = self._pending[chunk.sequence]
            whole = _merge(earlier, whole)
        if len(whole.slices) < len(self._interfaces):
            self._pending[chunk.sequence] = (arrived_ns, whole)
            self._bound()
            return None
        self._newest_done = chunk.sequence
        self.finish(chunk.sequence)
        return Joined(whole)

    def expire(self, now_ns: int) -> list[tuple[ActionChunk, ChunkRefused]]:
        """Chunks whose missing slices did not come in time, each with its reason; they count as finished."""
        out = [
            (chunk, ChunkRefused(f"chunk {chunk.sequence}: more than {PENDING_MAX} chunks wait for slices", code="incomplete"))
            for chunk in self._crowded_out
        ]
        self._crowded_out = []
        for sequence, (arrived_ns, partial) in list(self._pending.items()):
            if sequence < self._newest_done:
                reason = ChunkRefused(f"chunk {sequence} was overtaken by {self._newest_done}", code="late")
            elif now_ns - arrived_ns > self._timeout_ns:
                missing = [i for i in self._interfaces if partial.slice_of(i) is None]
                text = f"chunk {sequence}: no slice for {missing} within {self._timeout_ns / NS} s"
                reason = ChunkRefused(text, code="incomplete")
            else:
                continue
            self.finish(sequence)
            out.append((partial, reason))
        return out

    def _refuse_old(self, chunk: ActionChunk) -> None:
        if chunk.sequence in self._finished:
            raise ChunkRefused(f"chunk {chunk.sequence} came before", code="duplicate")
        if chunk.sequence < self._newest_done:
            raise ChunkRefused(f"chunk {chunk.sequence} is older than {self._newest_done}, which is being followed", code="late")

    def _bound(self) -> None:
        while len(self._pending) > PENDING_MAX:
            oldest = next(iter(self._pending))
            self._crowded_out.append(self._pending[oldest][1])
            self.finish(oldest)


def _merge(earlier: ActionChunk, later: ActionChunk) -> ActionChunk:
    """Both parts of one sequence as one chunk."""
    repeated = [s.interface for s in later.slices if earlier.slice_of(s.interface) is not None]
    if repeated:
        raise ChunkRefused(f"chunk {later.sequence}: {repeated} came before", code="duplicate")
    for key in ("stamp_ns", "dt_s", "first_action_offset", "steps"):
        a, b = getattr(earlier, key), getattr(later, key)
        if a != b:
            raise ChunkRefused(f"chunk {later.sequence}: {key} is {a} in one part and {b} in another", code="incomplete")
    timing = {**earlier.timing_ns, **later.timing_ns}
    decoded = [t["decoded"] for t in (earlier.timing_ns, later.timing_ns) if "decoded" in t]
    if decoded:
        timing["decoded"] = max(decoded)
    return dataclasses.replace(earlier, slices=earlier.slices + later.slices, timing_ns=timing, bundle_hash=earlier.bundle_hash or later.bundle_hash)
