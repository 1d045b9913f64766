# SPDX-License-Identifier: Apache-2.0
"""The floor of ``dex bench camera``: pictures through shared memory, with a datagram to wake each reader; no middleware."""

from __future__ import annotations

import multiprocessing
import socket
import struct
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory

import numpy as np

from dex_core.clock import NS

SLOTS = 4
_WORD = struct.Struct("<qq")


def measure(size_bytes: int, rate_hz: float, readers: int, warm_up_s: float, seconds: float) -> tuple[list[float], int]:
    """Delays [ms] from stamp to a copy in each reader's hands, and how many pictures were lost."""
    context = multiprocessing.get_context("spawn")
    memory = SharedMemory(create=True, size=SLOTS * size_bytes)
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(readers)]
    answers = [context.Pipe(duplex=False) for _ in range(readers)]
    children = [
        context.Process(target=_read, args=(memory.name, size_bytes, theirs, answer[1]), daemon=True)
        for (_, theirs), answer in zip(pairs, answers, strict=True)
    ]
    try:
        for child in children:
            child.start()
        for answer, _ in answers:
            answer.recv()  # it is there
        sent = _write(memory, size_bytes, [ours for ours, _ in pairs], rate_hz, warm_up_s, seconds)
        found = [answer.recv() for answer, _ in answers]
    finally:
        for child in children:
            child.join(timeout=5.0)
        for ours, theirs in pairs:
            ours.close()
            theirs.close()
        memory.close()
        memory.unlink()
    return [delay for delays in found for delay in delays], sum(sent - len(delays) for delays in found)


def _write(
    memory: SharedMemory, size_bytes: int, wakes: Sequence[socket.socket], rate_hz: float, warm_up_s: float, seconds: float,
) -> int:
    """Writes at the rate; returns how many were to be measured."""
    slots = np.ndarray((SLOTS, size_bytes), dtype=np.uint8, buffer=memory.buf)
    picture = np.random.default_rng(0).integers(0, 256, size_bytes, dtype=np.uint8)
    warm, total = round(warm_up_s * rate_hz), round((warm_up_s + seconds) * rate_hz)
    due_s = time.monotonic()
    for number in range(total):
        time.sleep(max(0.0, due_s - time.monotonic()))
        due_s += 1.0 / rate_hz
        stamp_ns = time.time_ns()
        slots[number % SLOTS] = picture
        for wake in wakes:
            wake.send(_WORD.pack(number % SLOTS, stamp_ns if number >= warm else 0))
    for wake in wakes:
        wake.send(b"")
    del slots
    return total - warm


def _read(name: str, size_bytes: int, wake: socket.socket, answer: Connection) -> None:
    memory = SharedMemory(name=name)
    slots = np.ndarray((SLOTS, size_bytes), dtype=np.uint8, buffer=memory.buf)
    delays: list[float] = []
    answer.send(True)
    while True:
        word = wake.recv(_WORD.size)
        if not word:
            break
        slot, stamp_ns = _WORD.unpack(word)
        slots[slot].copy()
        if stamp_ns:
            delays.append((time.time_ns() - stamp_ns) / NS * 1e3)
    answer.send(delays)
    del slots
    memory.close()
