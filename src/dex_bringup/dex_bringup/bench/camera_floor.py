# SPDX-License-Identifier: Apache-2.0
"""The floor of ``dex bench camera``: pictures through shared memory, with a datagram to wake each reader; no middleware."""

from __future__ import annotations

import json
import mmap
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np

from dex_core.clock import NS
from dex_core.errors import DexError

SLOTS = 4
START_S, ANSWER_S = 20.0, 10.0
_WORD = struct.Struct("<qq")
_READY, _END = b"ready", b"end"


def measure(size_bytes: int, rate_hz: float, readers: int, warm_up_s: float, seconds: float) -> tuple[list[float], int]:
    """Delays [ms] from stamp to a copy in each reader's hands, and how many pictures were lost.

    Raises:
        DexError: ``silent``: a reader did not start or answer in time.
    """
    memory = os.memfd_create("dex_bench_camera")
    os.ftruncate(memory, SLOTS * size_bytes)
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(readers)]
    children = []
    try:
        for ours, theirs in pairs:
            words = [sys.executable, "-m", "dex_bringup.bench.camera_floor", str(memory), str(theirs.fileno()), str(size_bytes)]
            children.append(subprocess.Popen(words, pass_fds=(memory, theirs.fileno()), stdout=subprocess.PIPE, text=True))
            ours.settimeout(START_S)
        for ours, _ in pairs:
            ours.recv(len(_READY))
        sent = _write(memory, size_bytes, [ours for ours, _ in pairs], rate_hz, warm_up_s, seconds)
        found = [json.loads(child.communicate(timeout=ANSWER_S)[0]) for child in children]
    except (TimeoutError, subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        raise DexError(f"a reader of the shared memory was silent: {error!r}", code="silent") from error
    finally:
        for child in children:
            child.kill()
            child.wait()
        for ours, theirs in pairs:
            ours.close()
            theirs.close()
        os.close(memory)
    return [delay for delays in found for delay in delays], sum(sent - len(delays) for delays in found)


def _slots(memory: int, size_bytes: int) -> np.ndarray:
    return np.frombuffer(mmap.mmap(memory, SLOTS * size_bytes), dtype=np.uint8).reshape(SLOTS, size_bytes)


def _write(memory: int, size_bytes: int, wakes: Sequence[socket.socket], rate_hz: float, warm_up_s: float, seconds: float) -> int:
    """Writes at the rate; returns how many were to be measured."""
    slots = _slots(memory, size_bytes)
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
        wake.send(_END)
    return total - warm


def _read(memory: int, wake: socket.socket, size_bytes: int) -> list[float]:
    """Delays of the pictures that count [ms], until the end is told."""
    slots, delays = _slots(memory, size_bytes), []
    wake.settimeout(START_S)
    wake.send(_READY)
    while (word := wake.recv(_WORD.size)) != _END:
        slot, stamp_ns = _WORD.unpack(word)
        slots[slot].copy()
        if stamp_ns:
            delays.append((time.time_ns() - stamp_ns) / NS * 1e3)
    return delays


def main() -> int:
    """One reader: MEMORY_FD SOCKET_FD SIZE; prints its delays as JSON."""
    memory, wake, size_bytes = map(int, sys.argv[1:])
    json.dump(_read(memory, socket.socket(fileno=wake), size_bytes), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
