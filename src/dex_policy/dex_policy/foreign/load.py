# SPDX-License-Identifier: Apache-2.0
"""From a description to a policy: the protocol it names is imported only then."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from dex_core.config import CellConfig
from dex_core.errors import BundleError, ConfigError
from dex_policy.foreign.link import Link, ServerMismatch
from dex_policy.foreign.manifest import RemoteManifest, parse_remote
from dex_policy.foreign.policy import ForeignPolicy

POLL_S = 0.05


def _openpi(manifest: RemoteManifest, wall_clock_ns: Callable[[], int]) -> Link:
    from dex_policy.foreign.openpi import OpenpiLink

    return OpenpiLink(manifest.server, manifest.action.key, wall_clock_ns)


def _lerobot(manifest: RemoteManifest, wall_clock_ns: Callable[[], int]) -> Link:
    from dex_policy.foreign.lerobot import LeRobotLink

    return LeRobotLink(manifest, wall_clock_ns)


LINKS: dict[str, Callable[[RemoteManifest, Callable[[], int]], Link]] = {"openpi": _openpi, "lerobot": _lerobot}
"""Protocol -> what speaks it."""


def open_foreign(folder: Path, cell: CellConfig, wall_clock_ns: Callable[[], int] = time.time_ns) -> ForeignPolicy:
    """The policy a description names. It is connected from now on; a server that is away is no error, ``health`` tells it.

    Args:
        folder: holds manifest.yaml alone.
        cell: what is moved.
        wall_clock_ns: wall-clock time [ns].

    Raises:
        BundleError: ``manifest_invalid``, ``file_unlisted``, ``embodiment_mismatch`` (the description does not fit the cell), ``remote_mismatch``
            (a server that answered within ``connect_timeout_s`` is not the one described).
        ConfigError: a package, the token or the certificates are missing.
    """
    manifest, digest = parse_remote(folder)
    link = LINKS[manifest.protocol](manifest, wall_clock_ns)
    try:
        policy = ForeignPolicy(manifest, digest, cell, link, wall_clock_ns)
    except ConfigError as error:
        raise BundleError(f"{folder / 'manifest.yaml'}: {error}", code="embodiment_mismatch") from error
    give_up = time.monotonic() + manifest.server.connect_timeout_s
    while not policy.wait_ready(POLL_S) and time.monotonic() < give_up:
        why = policy.health() or ""
        if why.startswith(ServerMismatch.code):
            policy.close()
            raise BundleError(why, code=ServerMismatch.code)
    return policy
