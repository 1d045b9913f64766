# SPDX-License-Identifier: Apache-2.0
"""CLIP's byte-pair tokens, from the two files that come with every CLIP checkpoint: ``vocab.json`` and ``merges.txt``.

As OWL-ViT asks for them: lower case, start and end marks, 16 tokens, padded with token 0 (``!``).
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import BundleError

START, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"
PAD = 0
MOST_BYTES = 16 << 20
_PIECES = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+")
"""Endings of English, letters, single digits, anything else: one piece each."""


@lru_cache(maxsize=1)
def _letters_of_bytes() -> dict[int, str]:
    """A printable character for each byte, as byte-level BPE writes them: printable Latin-1 stays, the others follow from U+0100 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {**{byte: chr(byte) for byte in plain}, **{byte: chr(0x100 + k) for k, byte in enumerate(others)}}


class ClipTokens:
    """Text to token ids.

    Args:
        folder: holds ``vocab.json`` (piece -> id) and ``merges.txt`` (pairs, most frequent first).
        length: tokens of a text, marks included; longer text is cut.

    Raises:
        BundleError: ``file_missing``, or ``format_refused`` for files that are not those.
    """

    def __init__(self, folder: Path, length: int = 16) -> None:
        self._ids: dict[str, int] = _vocabulary(folder / "vocab.json")
        lines = _text(folder / "merges.txt").split("\n")
        pairs = [tuple(line.split()) for line in lines if line.strip() and not line.startswith("#version")]
        if not pairs or any(len(pair) != 2 for pair in pairs):
            raise BundleError(f"{folder / 'merges.txt'}: expected two pieces on each line", code="format_refused")
        self._rank = {pair: k for k, pair in enumerate(pairs)}
        self.length = length

    def __call__(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(1, length) ids and (1, length) attention mask."""
        clean = re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).strip().lower()
        letters = _letters_of_bytes()
        pieces = [piece for word in _PIECES.findall(clean) for piece in self._merged("".join(letters[b] for b in word.encode("utf-8")))]
        found = [self._ids.get(piece, self._ids[END]) for piece in pieces][: self.length - 2]
        ids = np.full((1, self.length), PAD, dtype=np.int64)
        ids[0, : len(found) + 2] = [self._ids[START], *found, self._ids[END]]
        return ids, (np.arange(self.length) < len(found) + 2).astype(np.int64)[None]

    def _merged(self, word: str) -> list[str]:
        """Joins the pair that is highest in the list, again and again."""
        parts = [*word[:-1], word[-1] + WORD_END]
        while len(parts) > 1:
            best = min(zip(parts, parts[1:], strict=False), key=lambda pair: self._rank.get(pair, len(self._rank)))
            if best not in self._rank:
                break
            joined: list[str] = []
            for part in parts:
                if joined and (joined[-1], part) == best:
                    joined[-1] += part
                else:
                    joined.append(part)
            parts = joined
        return parts


def _vocabulary(file: Path) -> dict[str, int]:
    try:
        ids = json.loads(_text(file))
    except ValueError as error:
        raise BundleError(f"{file}: {error}", code="format_refused") from error
    if not isinstance(ids, dict) or not all(isinstance(v, int) for v in ids.values()) or not {START, END} <= set(ids):
        raise BundleError(f"{file}: expected a mapping of pieces to numbers with {START} and {END}", code="format_refused")
    return ids


def _text(file: Path) -> str:
    if not file.is_file():
        raise BundleError(f"{file} does not exist; bring vocab.json and merges.txt of the detector's checkpoint", code="file_missing")
    if file.stat().st_size > MOST_BYTES:
        raise BundleError(f"{file}: {file.stat().st_size} bytes; at most {MOST_BYTES}", code="format_refused")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{file}: {error}", code="format_refused") from error
