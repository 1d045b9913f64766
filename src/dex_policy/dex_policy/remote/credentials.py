# SPDX-License-Identifier: Apache-2.0
"""Secrets and certificates from files: read when a connection is made, never kept in a message, a log or a command line."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

from dex_core.config import PolicyServerConfig
from dex_core.errors import ConfigError

MAX_TOKEN_BYTES = 8192
MAX_CA_BYTES = 4 << 20


def read_token(config: PolicyServerConfig) -> str:
    """The bearer token, or an empty text where the cell names none. Raises ConfigError naming the file, never its content."""
    if not config.token_file:
        return ""
    path = Path(config.token_file).expanduser()
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(f"policy.server.token_file {path}: others than its owner may use it; chmod 600 {path}")
        token = _read(path, MAX_TOKEN_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"policy.server.token_file {path}: {type(error).__name__}, expected a readable file with one ASCII token") from None
    if not token or not token.isprintable() or " " in token:
        raise ConfigError(f"policy.server.token_file {path}: expected one token of printable ASCII without spaces")
    return token


def read_authorities(config: PolicyServerConfig) -> bytes | None:
    """The PEM file certificates are checked against; None: the system's. Raises ConfigError naming the file."""
    if not config.ca_file:
        return None
    path = Path(config.ca_file).expanduser()
    try:
        return _read(path, MAX_CA_BYTES)
    except OSError as error:
        raise ConfigError(f"policy.server.ca_file {path}: {error}") from error


def tls_context(config: PolicyServerConfig) -> ssl.SSLContext | None:
    """Certificate and host name are always checked; None for a plain wire. Raises ConfigError naming the file of authorities."""
    if not config.endpoint.encrypted:
        return None
    authorities = read_authorities(config)
    try:
        context = ssl.create_default_context(cadata=authorities.decode("ascii") if authorities is not None else None)
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"policy.server.ca_file {config.ca_file}: no PEM certificates: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(f"more than {limit} bytes")
    return data
