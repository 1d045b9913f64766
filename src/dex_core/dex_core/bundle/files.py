# SPDX-License-Identifier: Apache-2.0
"""Which files a bundle may hold, where they may lie, and that they are the ones that were signed off."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from dex_core.bundle.hashes import sha256_bytes, sha256_file
from dex_core.bundle.manifest import Manifest
from dex_core.bundle.signature import SIGNATURES
from dex_core.errors import BundleError

MANIFEST = "manifest.yaml"


def referenced_files(manifest: Manifest) -> dict[str, str]:
    """Path -> which field of the manifest needs it."""
    needed = {g.file: f"graphs.{n}.file" for n, g in manifest.graphs.items()}
    needed.update({g.golden.file: f"graphs.{n}.golden.file" for n, g in manifest.graphs.items()})
    needed.update({f"embodiments/{e}.yaml": "embodiments" for e in manifest.embodiments})
    if manifest.normalisation is not None:
        needed[manifest.normalisation.file] = "normalisation.file"
    if manifest.tokens is not None and manifest.tokens.tokenizer:
        needed[manifest.tokens.tokenizer] = "tokens.tokenizer"
    return needed


def check_files(folder: Path, manifest: Manifest) -> str:
    """Every file is listed, every listed file is there, plain, inside the folder.

    Raises:
        BundleError: ``path_escape``, ``file_missing`` or ``file_unlisted``.
    """
    needed = referenced_files(manifest)
    for path in (*manifest.files, *needed):
        _check_path(path)
    for path, field in needed.items():
        if path not in manifest.files:
            raise BundleError(f"{MANIFEST}: {field} names {path!r}, which 'files' does not list", code="file_unlisted")
    found = _walk(folder)
    for path in manifest.files:
        if path not in found:
            raise BundleError(f"{folder / path} is listed but does not exist", code="file_missing")
    extra = sorted(found - set(manifest.files) - {MANIFEST, SIGNATURES})
    if extra:
        raise BundleError(f"{folder / extra[0]} is not listed in {MANIFEST}; remove it or list it", code="file_unlisted")
    return f"{len(manifest.files)} files, all listed, all inside"


def _check_path(path: str) -> None:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or ":" in path or str(PurePosixPath(path)) != path:
        raise BundleError(f"{MANIFEST}: path {path!r} must be relative, inside the bundle and in its plain form", code="path_escape")


def _walk(folder: Path) -> set[str]:
    found = set()
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            place = Path(root) / name
            if place.is_symlink():
                raise BundleError(f"{place} is a symbolic link; a bundle holds plain files only", code="path_escape")
        for name in files:
            place = Path(root) / name
            if not place.is_file() or place.stat().st_nlink > 1:
                raise BundleError(f"{place} is no plain file of its own (device, pipe or hard link); copy it", code="path_escape")
            found.add(place.relative_to(folder).as_posix())
    return found


def check_sizes(folder: Path, manifest: Manifest) -> None:
    """Every file has the size it should have; nothing is read. Raises BundleError ``hash_mismatch`` with both values."""
    for path, entry in manifest.files.items():
        size = (folder / path).stat().st_size
        if size != entry.bytes:
            raise BundleError(f"{folder / path}: {size} bytes, the manifest says {entry.bytes}", code="hash_mismatch")


def read_verified(folder: Path, manifest: Manifest) -> tuple[dict[str, bytes], dict[str, str]]:
    """Bytes and sha256 of every listed file and the manifest; what is loaded later are these very bytes.

    External tensor data (``*.data``) are hashed but not held in memory.

    Raises:
        BundleError: ``hash_mismatch`` with both values.
    """
    contents: dict[str, bytes] = {}
    hashes: dict[str, str] = {}
    for path, entry in manifest.files.items():
        place = folder / path
        if path.endswith(".data"):
            hashes[path] = sha256_file(place)
        else:
            contents[path] = place.read_bytes()
            hashes[path] = sha256_bytes(contents[path])
        if hashes[path] != entry.sha256:
            raise BundleError(f"{place}: sha256 {hashes[path]}, the manifest says {entry.sha256}", code="hash_mismatch")
    hashes[MANIFEST] = sha256_file(folder / MANIFEST)
    return contents, hashes
