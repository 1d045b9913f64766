# SPDX-License-Identifier: Apache-2.0
"""From a cell's configuration to a policy that is verified and warm."""

from __future__ import annotations

import time
from collections.abc import Callable

from dex_core.bundle.load import Bundle, LoadOptions, load_bundle
from dex_core.config.cell import CellConfig
from dex_core.decode.latent import LatentDecoder
from dex_core.decode.mounted import MountedHand
from dex_core.decode.side import SideDecoder
from dex_core.errors import BundleError
from dex_core.policy.chunk_policy import ChunkPolicy
from dex_core.runtime import OpenSession


def load_options(cell: CellConfig, **changes: object) -> LoadOptions:
    """The options a cell asks of its bundles: provider, threads, trust, latent space."""
    options = {"cell": cell, "provider": cell.policy.provider, "threads": cell.policy.threads, "rules": cell.policy.bundles, **changes}
    return LoadOptions(**options)  # type: ignore[arg-type]


def load_policy(
    cell: CellConfig, *, wall_clock_ns: Callable[[], int] = time.time_ns, open_session: OpenSession | None = None
) -> tuple[ChunkPolicy, Bundle]:
    """The policy the cell names, in the latent space the cell names; every load check has passed and the network is warm.

    Args:
        cell: names both bundles; no latent bundle for a policy that needs none.
        wall_clock_ns: for the chunks' timing.
        open_session: runs the policy's graphs elsewhere; the latent space stays here.

    Raises:
        BundleError: a check failed; ``code`` is its reason.
        ConfigError: there is no such bundle.
    """
    space = load_bundle(cell.policy.latent_bundle, load_options(cell)) if cell.policy.latent_bundle else None
    bundle = load_bundle(cell.policy.bundle, load_options(cell, space=space, open_session=open_session))
    return ChunkPolicy(bundle, wall_clock_ns), bundle


def load_decoding_space(cell: CellConfig) -> Bundle:
    """The cell's latent bundle, as decoders run it: small graphs, one thread of the CPU. Raises BundleError or ConfigError."""
    return load_bundle(cell.policy.latent_bundle, load_options(cell, provider="cpu", threads=1))


def load_side_decoder(cell: CellConfig, side: str, space: Bundle | None = None) -> SideDecoder:
    """What decodes for one side's arm and hand, its latents from ``space``, else from the cell's own. Raises BundleError or ConfigError."""
    hand = cell.interface(f"{side}_hand")
    space = space or load_decoding_space(cell)
    embodiment = f"{side}_{hand.robot.name}"
    return SideDecoder.of_cell(cell, side, LatentDecoder(space, embodiment), space.graph_sha256(f"{embodiment}/decoder"))


def mounted_hands(cell: CellConfig, policy: Bundle) -> dict[str, MountedHand]:
    """Side -> hand, as a cell's description has it, for whoever runs a policy without nodes.

    Args:
        cell: with the hands to be driven.
        policy: loaded; its latent space decodes them.

    Raises:
        ConfigError: a hand without grasp frame. BundleError: ``space_mismatch``, a hand the space does not have.
    """
    if policy.space is None:
        raise BundleError(f"policy {policy.manifest.name!r} has no latent space", code="space_mismatch")
    sides = [i.side for i in cell.interfaces.values() if i.robot.kind == "hand"]
    names = {side: f"{side}_{cell.interface(f'{side}_hand').robot.name}" for side in sides}
    return {side: MountedHand.of_cell(cell, side, policy.space.graph_sha256(f"{name}/decoder")) for side, name in names.items()}
