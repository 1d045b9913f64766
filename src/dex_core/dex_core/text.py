# SPDX-License-Identifier: Apache-2.0
"""Instruction text -> token ids by feature hashing; no vocabulary file, the same in training and at run time."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import DexError

BUCKETS = 4096
LENGTH = 24
MAX_CHARS = 256


def fnv1a_32(text: str) -> int:
    """32-bit FNV-1a of the UTF-8 bytes (Fowler, Noll, Vo)."""
    value = 0x811C9DC5
    for byte in text.encode("utf-8"):
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def tokenize(instruction: str) -> NDArray[np.int64]:
    """(1, 24) int64 ids: words, then neighbouring word pairs, each hashed to 1..4095; 0 pads.

    Raises:
        DexError: empty, or longer than 256 characters.
    """
    if len(instruction) > MAX_CHARS:
        raise DexError(f"instruction has {len(instruction)} characters; at most {MAX_CHARS} are allowed", code="instruction_invalid")
    words = re.findall(r"[a-z0-9]+", instruction.lower())
    if not words:
        raise DexError(f"instruction {instruction!r} holds no word", code="instruction_invalid")
    features = words + [f"{a} {b}" for a, b in zip(words, words[1:], strict=False)]
    ids = np.zeros((1, LENGTH), dtype=np.int64)
    hashed = [1 + fnv1a_32(f) % (BUCKETS - 1) for f in features[:LENGTH]]
    ids[0, : len(hashed)] = hashed
    return ids
