# SPDX-License-Identifier: Apache-2.0
"""Breaks bytes fast: a block of frames at a time with NumPy, each frame flipped, overwritten, cut, lengthened, repeated or reordered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

BLOCK = 512
EVIL = np.array([0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF, 0x55, 0xAA], dtype=np.uint8)
EXTRA_MAX = 64
"""Longest stretch of random bytes that is put after a frame."""

Reseal = Callable[[bytes], bytes]


class Mutator:
    """Endless broken frames of some good ones; the same for the same seed.

    Args:
        seeds: good frames.
        rng: source of all chance.
        reseal: makes the checksum of a frame right again, so that what lies behind it is reached; used on every second frame.
    """

    def __init__(self, seeds: Sequence[bytes], rng: np.random.Generator, reseal: Reseal | None = None) -> None:
        self._seeds, self._rng, self._reseal = [np.frombuffer(seed, dtype=np.uint8) for seed in seeds], rng, reseal

    def frames(self, count: int) -> Iterator[bytes]:
        """``count`` broken frames."""
        left = count
        while left > 0:
            block = self._block(min(BLOCK, left))
            left -= len(block)
            yield from block

    def _block(self, count: int) -> list[bytes]:
        rng = self._rng
        seed = self._seeds[int(rng.integers(len(self._seeds)))]
        size = len(seed)
        rows = np.tile(seed, (count, 1))
        flips = rng.integers(1, 5, count)
        for k in range(int(flips.max())):  # bits, and whole bytes by evil ones
            hit = np.flatnonzero(flips > k)
            where = rng.integers(0, size, len(hit))
            bits = rng.random(len(hit)) < 0.6
            rows[hit, where] = np.where(bits, rows[hit, where] ^ (1 << rng.integers(0, 8, len(hit))), EVIL[rng.integers(0, len(EVIL), len(hit))])
        ways = rng.integers(0, 8, count)
        cuts, extra = rng.integers(0, size + 1, count), rng.bytes(EXTRA_MAX)
        return [self._shaped(row.tobytes(), int(way), int(cut), extra, k) for k, (row, way, cut) in enumerate(zip(rows, ways, cuts, strict=True))]

    def _shaped(self, frame: bytes, way: int, cut: int, extra: bytes, number: int) -> bytes:
        if self._reseal is not None and number % 2:
            return self._reseal(frame)
        if way == 0:
            return frame[:cut]
        if way == 1:
            return frame + extra[: cut % EXTRA_MAX]
        if way == 2:
            return frame[cut:] + frame[:cut]
        if way == 3:
            return frame[:cut] + frame
        return frame
