# SPDX-License-Identifier: Apache-2.0
"""Where a cell's policy runs when it does not run here: a server of the Open Inference Protocol, and how far it is trusted."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from dex_core.config.strict import bounded
from dex_core.errors import ConfigError

PORTS = {"http": 80, "https": 443, "grpc": 8001, "grpcs": 8001}
"""Scheme -> port when the URL names none."""


class Endpoint(NamedTuple):
    """A URL in parts. ``path``: what stands before ``/v2``, e.g. behind a gateway; never ends with a slash."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def encrypted(self) -> bool:
        """Whether the wire is TLS."""
        return self.scheme in ("https", "grpcs")

    @property
    def is_here(self) -> bool:
        """Whether it is this machine, whose wire nobody else sees."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def parse_url(url: str) -> Endpoint:
    """``http://127.0.0.1:8080``, ``grpcs://gpu.lab:8001``. Raises ConfigError; a password in it is never repeated."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError(f"url is no URL: {error}") from error
    if parts.username is not None or parts.password is not None:
        raise ConfigError("url holds a user or a password; a secret belongs into the file that token_file names")
    if parts.scheme not in PORTS:
        raise ConfigError(f"url is {url!r}; it must begin with one of {[f'{s}://' for s in PORTS]}")
    path = parts.path.rstrip("/")
    if not host or port == 0 or parts.query or parts.fragment or (path and parts.scheme.startswith("grpc")):
        raise ConfigError(f"url is {url!r}; expected scheme://host:port, with a path only for http and https, nothing after it")
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise ConfigError(f"url is {url!r}; it may hold printable ASCII only")
    return Endpoint(parts.scheme, host, port or PORTS[parts.scheme], path)


@dataclass(frozen=True)
class PolicyServerConfig:
    """A server that runs the cell's policy.

    Attributes:
        url: ``http://``, ``https://``, ``grpc://`` or ``grpcs://`` with host and port.
        model: what its models are called before ``.<graph>``; empty: as the bundle.
        version: the version to ask for; empty: the server's choice, which must still be the same bundle.
        deadline_s: longest wait for one answer; a later one is dropped.
        connect_s: longest wait for a connection and for the first answers on it.
        heartbeat_s: how often the server is asked whether it is still there, ready and the same.
        token_file: file with a bearer token, readable by its owner alone; empty: none is sent.
        ca_file: authorities the server's certificate is checked against; empty: the system's.
        insecure: a wire that others can read and change is accepted to a host that is not this one.
        accept_untold_hash: a server that cannot say which bundle it serves is accepted on its answers to the golden cases alone.
    """

    url: str
    model: str = ""
    version: str = ""
    deadline_s: float = bounded(0.01, 60.0, default=1.0)
    connect_s: float = bounded(0.1, 60.0, default=5.0)
    heartbeat_s: float = bounded(0.05, 60.0, default=1.0)
    token_file: str = ""
    ca_file: str = ""
    insecure: bool = False
    accept_untold_hash: bool = False

    def __post_init__(self) -> None:
        endpoint = self.endpoint
        if not (endpoint.encrypted or endpoint.is_here or self.insecure):
            raise ConfigError(
                f"url is {self.url!r}: a wire that others can read to another host; take https:// or grpcs://, or write insecure: true"
            )
        if self.ca_file and not endpoint.encrypted:
            raise ConfigError(f"ca_file is given, but url {self.url!r} is not encrypted; take https:// or grpcs://")
        for name in ("model", "version"):
            value = getattr(self, name)
            if not all(c.isascii() and (c.isalnum() or c in "._-+") for c in value):
                raise ConfigError(f"{name} is {value!r}; allowed: letters, digits and . _ - +")

    @property
    def endpoint(self) -> Endpoint:
        """The URL in parts."""
        return parse_url(self.url)
