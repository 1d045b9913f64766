# SPDX-License-Identifier: Apache-2.0
"""Puts a chunk together: joint slices come with the chunk, all others from the decoders of the two sides, in any order."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from dex_core.chunks.check import ChunkRefused
from dex_core.chunks.spline import NS
from dex_core.types import ActionChunk, ActionSlice

PENDING_MAX = 8
FINISHED_MAX = 256


def decoder_of(interface: str) -> str:
    """Node that decodes for an arm or hand: ``left_hand`` -> ``left_decoder``."""
    return f"{interface.split('_', 1)[0]}_decoder"


class Joined(NamedTuple):
    """A chunk with every interface of the cell in ``joint_position``."""

    chunk: ActionChunk


class Incomplete(ChunkRefused):
    """Slices of a chunk did not come in time; ``silent`` are the decoders that owe them."""

    def __init__(self, message: str, silent: Sequence[str] = ()) -> None:
        super().__init__(message, code="incomplete")
        self.silent = tuple(silent)


class _Pending(NamedTuple):
    """What there is of a chunk: since when [ns], whether it came from the policy itself, what that left to decoders, its joint slices so far."""

    arrived_ns: int
    announced: bool
    owed: frozenset[str]
    newest: ActionChunk
    whole: ActionChunk | None


class ChunkJoiner:
    """Collects slices of one goal by sequence. All times monotonic [ns].

    Args:
        interfaces: what a whole chunk must hold.
        timeout_s: how long to wait for the missing slices [s].
    """

    def __init__(self, interfaces: Sequence[str], timeout_s: float) -> None:
        self._interfaces = tuple(interfaces)
        self._timeout_ns = round(timeout_s * NS)
        self._pending: OrderedDict[int, _Pending] = OrderedDict()
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

        Slices in other spaces are for the decoders: the chunk waits for them from now on.

        Raises:
            ChunkRefused: ``duplicate`` (this slice or sequence came before), ``late`` (a newer one is already followed),
                ``incomplete`` (slices of one sequence contradict each other), ``joint_names`` (an interface the cell lacks).
        """
        ready = tuple(s for s in chunk.slices if s.space == "joint_position")
        if not ready and (chunk.sequence in self._finished or chunk.sequence < self._newest_done):
            return None  # the decoders were faster than the policy's own message: nothing is left of it to take
        self._refuse_old(chunk)
        unknown = [s.interface for s in chunk.slices if s.interface not in self._interfaces]
        if unknown:
            raise ChunkRefused(f"chunk {chunk.sequence} moves {unknown}; this cell has {list(self._interfaces)}", code="joint_names")
        pending = self._add(chunk, ready, now_ns)
        whole = pending.whole
        if whole is None or len(whole.slices) < len(self._interfaces):
            self._pending[chunk.sequence] = pending
            self._bound()
            return None
        self._newest_done = chunk.sequence
        self.finish(chunk.sequence)
        return Joined(whole)

    def expire(self, now_ns: int) -> list[tuple[ActionChunk, ChunkRefused]]:
        """Chunks whose missing slices did not come in time, each with its reason; they count as finished."""
        out = [
            (chunk, Incomplete(f"chunk {chunk.sequence}: more than {PENDING_MAX} chunks wait for slices"))
            for chunk in self._crowded_out
        ]
        self._crowded_out = []
        for sequence, pending in list(self._pending.items()):
            if sequence < self._newest_done:
                reason = ChunkRefused(f"chunk {sequence} was overtaken by {self._newest_done}", code="late")
            elif now_ns - pending.arrived_ns > self._timeout_ns:
                reason = self._incomplete(sequence, pending)
            else:
                continue
            self.finish(sequence)
            out.append((pending.whole or pending.newest, reason))
        return out

    def _add(self, chunk: ActionChunk, ready: tuple[ActionSlice, ...], now_ns: int) -> _Pending:
        """The chunk's part joined with what came before of its sequence."""
        owed = frozenset(s.interface for s in chunk.slices) - {s.interface for s in ready}
        part = dataclasses.replace(chunk, slices=ready) if ready else None
        earlier = self._pending.get(chunk.sequence)
        if earlier is None:
            return _Pending(now_ns, bool(owed), owed, chunk, part)
        if owed and earlier.announced:
            raise ChunkRefused(f"chunk {chunk.sequence}: {sorted(owed)} came before", code="duplicate")
        _require_same(earlier.newest, chunk)
        whole = part if earlier.whole is None else earlier.whole if part is None else _merge(earlier.whole, part)
        return _Pending(earlier.arrived_ns, earlier.announced or bool(owed), earlier.owed | owed, chunk, whole)

    def _incomplete(self, sequence: int, pending: _Pending) -> Incomplete:
        there = {s.interface for s in pending.whole.slices} if pending.whole else set()
        missing = [i for i in self._interfaces if i not in there]
        silent = list(dict.fromkeys(decoder_of(i) for i in missing if i in pending.owed or not pending.announced))
        who = f"; nothing came from {' and '.join(silent)}" if silent else "; the policy does not move them"
        return Incomplete(f"chunk {sequence}: no slice for {missing} within {self._timeout_ns / NS} s{who}", silent)

    def _refuse_old(self, chunk: ActionChunk) -> None:
        if chunk.sequence in self._finished:
            raise ChunkRefused(f"chunk {chunk.sequence} came before", code="duplicate")
        if chunk.sequence < self._newest_done:
            raise ChunkRefused(f"chunk {chunk.sequence} is older than {self._newest_done}, which is being followed", code="late")

    def _bound(self) -> None:
        while len(self._pending) > PENDING_MAX:
            oldest = next(iter(self._pending))
            self._crowded_out.append(self._pending[oldest].whole or self._pending[oldest].newest)
            self.finish(oldest)


def _merge(earlier: ActionChunk, later: ActionChunk) -> ActionChunk:
    """Both parts of one sequence as one chunk."""
    repeated = [s.interface for s in later.slices if earlier.slice_of(s.interface) is not None]
    if repeated:
        raise ChunkRefused(f"chunk {later.sequence}: {repeated} came before", code="duplicate")
    timing = {**earlier.timing_ns, **later.timing_ns}
    decoded = [t["decoded"] for t in (earlier.timing_ns, later.timing_ns) if "decoded" in t]
    if decoded:
        timing["decoded"] = max(decoded)
    return dataclasses.replace(earlier, slices=earlier.slices + later.slices, timing_ns=timing, bundle_hash=earlier.bundle_hash or later.bundle_hash)


def _require_same(earlier: ActionChunk, later: ActionChunk) -> None:
    """Raises ChunkRefused unless both are parts of one chunk."""
    for key in ("stamp_ns", "dt_s", "first_action_offset", "steps"):
        a, b = getattr(earlier, key), getattr(later, key)
        if a != b:
            raise ChunkRefused(f"chunk {later.sequence}: {key} is {a} in one part and {b} in another", code="incomplete")
