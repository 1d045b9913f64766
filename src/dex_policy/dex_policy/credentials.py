# SPDX-License-Identifier: Apache-2.0
"""Secrets and certificates from files: read when a connection is made, never kept in a message, a log or a command line."""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path

from dex_core.errors import ConfigError

MAX_TOKEN_BYTES = 8192
MAX_CA_BYTES = 4 << 20


def read_token(file: str, key: str) -> str:
    """The one word of a token file, or an empty text where none is named. Raises ConfigError naming ``key`` and the file, never the token."""
    if not file:
        return ""
    path = Path(file).expanduser()
    try:
        with path.open("rb") as source:
            if os.fstat(source.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(f"{key} {path}: others than its owner may use it; chmod 600 {path}")
            data = source.read(MAX_TOKEN_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{key} {path}: {error.strerror}") from None
    words = data.decode("ascii", errors="replace").split()
    if len(data) > MAX_TOKEN_BYTES or len(words) != 1 or not words[0].isprintable() or "\ufffd" in words[0]:
        raise ConfigError(f"{key} {path}: expected one word of printable ASCII, at most {MAX_TOKEN_BYTES} bytes")
    return words[0]


def read_authorities(file: str, key: str) -> bytes | None:
    """The PEM file certificates are checked against; None: the system's. Raises ConfigError naming ``key`` and the file."""
    if not file:
        return None
    path = Path(file).expanduser()
    try:
        return _read(path, MAX_CA_BYTES)
    except OSError as error:
        raise ConfigError(f"{key} {path}: {error}") from error


def tls_context(file: str, key: str) -> ssl.SSLContext:
    """For a client: certificate and host name are always checked. Raises ConfigError naming ``key`` and the file of authorities."""
    authorities = read_authorities(file, key)
    try:
        context = ssl.create_default_context(cadata=authorities.decode("ascii") if authorities is not None else None)
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{key} {file}: no PEM certificates: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(f"more than {limit} bytes")
    return data
