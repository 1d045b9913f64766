# SPDX-License-Identifier: Apache-2.0
"""sha256 of files and of whole bundles."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256_bytes(data: bytes) -> str:
    """Hexadecimal sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal sha256 of a file, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def bundle_hash(file_sha256: dict[str, str]) -> str:
    """One hash for a bundle: sha256 over its sorted (path, hash) lines, the manifest included."""
    lines = "".join(f"{path}\0{digest}\n" for path, digest in sorted(file_sha256.items()))
    return sha256_bytes(lines.encode("utf-8"))
