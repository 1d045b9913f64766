# SPDX-License-Identifier: Apache-2.0
"""Streams of their own rates on one fixed rate: at every tick the sample nearest in time, and where one is too far away the run ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NS = 10**9
Stamps = NDArray[np.int64]


class Run(NamedTuple):
    """Ticks without a gap. ``stamps_ns`` (k,) fixed rate; ``picks``: stream -> (k,) index of its sample."""

    stamps_ns: Stamps
    picks: dict[str, NDArray[np.intp]]

    def farthest_ns(self, streams: Mapping[str, Stamps]) -> dict[str, int]:
        """Stream -> the largest distance of a tick to the sample it was given [ns]."""
        return {name: int(np.abs(streams[name][pick] - self.stamps_ns).max()) for name, pick in self.picks.items()}


class Gap(NamedTuple):
    """Where a run ended: the tick [ns], and the stream that had nothing near it."""

    stamp_ns: int
    stream: str


def runs_of(streams: Mapping[str, Stamps], lead: str, begin_ns: int, end_ns: int, fps: int, limit_s: float) -> tuple[list[Run], list[Gap]]:
    """All runs between two times, and the gaps between them.

    A run starts at a sample of ``lead``, with every stream near; the next one after the first sample of ``lead`` past the gap. A stream that ends
    less than a frame before the span does leaves no gap.

    Args:
        streams: name -> (n,) growing stamps [ns]. lead: the one whose samples start runs.
        begin_ns, end_ns: of the span [ns].
        fps: ticks per second. limit_s: how far a sample may be from its tick [s].
    """
    limit_ns = round(limit_s * NS)
    last_ns = end_ns - NS // fps - limit_ns
    runs: list[Run] = []
    gaps: list[Gap] = []
    done_ns, told = begin_ns - 1, False
    for start_ns in streams[lead][(streams[lead] >= begin_ns) & (streams[lead] <= end_ns)]:
        if start_ns <= done_ns:
            continue
        ticks = start_ns + np.round(np.arange(int((end_ns - start_ns) * fps // NS) + 1) * (NS / fps)).astype(np.int64)
        picks = {name: nearest(stamps, ticks) for name, stamps in streams.items()}
        near = {name: np.abs(streams[name][pick] - ticks) <= limit_ns for name, pick in picks.items()}
        whole = np.logical_and.reduce(list(near.values()))
        length = len(ticks) if whole.all() else int(np.argmin(whole))
        if length:
            runs.append(Run(ticks[:length], {name: pick[:length] for name, pick in picks.items()}))
            told = False
        if length == len(ticks) or ticks[length] > last_ns:
            break
        done_ns = int(ticks[length])
        if not told:
            gaps.append(Gap(done_ns, next(name for name in streams if not near[name][length])))
            told = True
    return runs, gaps


def nearest(stamps: Stamps, ticks: Stamps) -> NDArray[np.intp]:
    """(k,) index of the sample nearest to each tick; of two that are equally near the earlier."""
    after = np.clip(np.searchsorted(stamps, ticks), 1, max(len(stamps) - 1, 1))
    before = after - 1
    if len(stamps) == 1:
        return np.zeros(len(ticks), dtype=np.intp)
    return np.where(ticks - stamps[before] <= stamps[after] - ticks, before, after)

