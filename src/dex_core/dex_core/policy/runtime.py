# SPDX-License-Identifier: Apache-2.0
"""From a cell's configuration to a policy that is verified and warm."""

from __future__ import annotations

import time
from collections.abc import Callable

from dex_core.bundle.load import Bundle, LoadOptions, load_bundle
from dex_core.config.cell import CellConfig
from dex_core.decode.latent import LatentDecoder
from dex_core.policy.chunk_policy import ChunkPolicy


def load_options(cell: CellConfig, **changes: object) -> LoadOptions:
    """The options a cell asks of its bundles: provider, threads, latent space."""
    options = {"cell": cell, "provider": cell.policy.provider, "threads": cell.policy.threads, **changes}
    return LoadOptions(**options)  # type: ignore[arg-type]


def load_policy(cell: CellConfig, *, wall_clock_ns: Callable[[], int] = time.time_ns) -> tuple[ChunkPolicy, Bundle]:
    """The policy the cell names, in the latent space the cell names; every load check has passed and the network is warm.

    Raises:
        BundleError: a check failed; ``code`` is its reason.
        ConfigError: there is no such bundle.
    """
    space = load_bundle(cell.policy.latent_bundle, load_options(cell))
    bundle = load_bundle(cell.policy.bundle, load_options(cell, space=space))
    hands = {name: f"{i.side}_{i.robot.name}" for name, i in cell.interfaces.items() if i.robot.kind == "hand"}
    return ChunkPolicy(bundle, hands, wall_clock_ns), bundle


def load_latent_decoder(cell: CellConfig, interface: str) -> LatentDecoder:
    """The decoder of one mounted hand, from the cell's latent bundle. Raises BundleError or ConfigError."""
    mounted = cell.interface(interface)
    space = load_bundle(cell.policy.latent_bundle, load_options(cell, provider="cpu", threads=1))
    return LatentDecoder(space, f"{mounted.side}_{mounted.robot.name}")
