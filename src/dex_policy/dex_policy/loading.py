# SPDX-License-Identifier: Apache-2.0
"""From a cell's configuration to the policy its node runs, wherever the model is."""

from __future__ import annotations

import time
from collections.abc import Callable

from dex_core.bundle import Bundle, find_bundle
from dex_core.config import CellConfig
from dex_core.errors import ConfigError
from dex_core.policy import Policy, PolicySpec, load_policy
from dex_policy.foreign import is_remote, open_foreign
from dex_policy.remote.policy import RemotePolicy, open_remote


def open_policy(cell: CellConfig, *, wall_clock_ns: Callable[[], int] = time.time_ns) -> tuple[Policy, Bundle | None]:
    """The policy the cell names, verified and warm, and the bundle it was made from; None for one that has none here.

    Raises:
        BundleError: a check failed; ``code`` is its reason.
        ConfigError: there is no such bundle, or a file of secrets is wrong.
    """
    folder = find_bundle(cell.policy.bundle)
    if is_remote(folder):
        if cell.policy.server is not None:
            raise ConfigError(f"policy.server is set, but {folder} describes a server of its own; leave one of them out")
        return open_foreign(folder, cell, wall_clock_ns), None
    if cell.policy.server is not None:
        return open_remote(cell, wall_clock_ns)
    return load_policy(cell, wall_clock_ns=wall_clock_ns)


def words_of(spec: PolicySpec, bundle: Bundle | None) -> tuple[bool, str, dict[str, str]]:
    """Whether it is fast enough, what runs, and what its checks found; for diagnostics."""
    speed = bundle.speed if bundle else None
    values = {"hash": spec.bundle_hash, "checks": "; ".join(f"{r.number} {r.name}: {r.detail}" for r in bundle.report) if bundle else ""}
    if speed:
        values |= {"p50_ms": f"{speed.p50_ms:.2f}", "p99_ms": f"{speed.p99_ms:.2f}"}
    version = f" {bundle.manifest.version}" if bundle else ""
    return speed is None or speed.ok, f"{spec.name}{version} on {spec.provider}", values


def facts_of(policy: Policy) -> dict[str, str]:
    """State of the connection to the server that runs a policy, for diagnostics; nothing for one that runs here."""
    return policy.facts() if isinstance(policy, RemotePolicy) else {}
