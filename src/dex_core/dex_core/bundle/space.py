# SPDX-License-Identifier: Apache-2.0
"""The latent space a policy was trained with against the one that is here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dex_core.bundle.loaded import Bundle, LoadOptions
from dex_core.errors import BundleError, ConfigError

if TYPE_CHECKING:
    from dex_core.decode.mounted import MountedHand


def check_space(b: Bundle) -> str:
    """The space a policy emits into is there, and is the one it was trained with. Raises BundleError ``space_mismatch`` with both values."""
    required = [r for r in b.manifest.requires if r.kind == "latent_space"]
    latent = [s for s in b.manifest.chunk_tensor.slices if s.space == "latent"] if b.manifest.kind == "chunk_policy" else []
    if not latent:
        return "nothing required"
    if len(required) != 1:
        raise BundleError(f"{b.folder}: latent slices need exactly one required latent_space, got {len(required)}", code="space_mismatch")
    b.space = _resolve_space(b, required[0].bundle)
    space = b.space.manifest
    if space.kind != "latent_space":
        raise BundleError(f"{b.space.folder}: kind {space.kind!r}, the policy requires 'latent_space'", code="space_mismatch")
    for graph, digest in required[0].anchors.items():
        found = b.space.graph_sha256(graph)
        if found != digest:
            raise BundleError(f"{b.space.folder}: graph {graph!r} has sha256 {found}, the policy was trained with {digest}", code="space_mismatch")
    for s in latent:
        if s.anchor not in required[0].anchors:
            raise BundleError(
                f"slice {s.interface!r}: anchor {s.anchor!r} is not among the pinned {sorted(required[0].anchors)}", code="space_mismatch"
            )
        if s.width != space.spaces.latent.dim:  # type: ignore[union-attr]
            dim = space.spaces.latent.dim  # type: ignore[union-attr]
            raise BundleError(f"slice {s.interface!r}: {s.width} columns, the space has {dim}", code="space_mismatch")
        interface = b.options.cell.interfaces.get(s.interface) if b.options.cell else None
        if interface is not None and f"{interface.side}_{interface.robot.name}" not in space.embodiments:
            raise BundleError(
                f"{interface.side}_{interface.robot.name} is mounted, space {space.name!r} has {list(space.embodiments)}", code="space_mismatch"
            )
    for hand in b.options.mounted.values():
        check_mounted(b.space, hand)
    told = f", {len(b.options.mounted)} running decoder(s) of it" if b.options.mounted else ""
    return f"{space.name} {space.version}, {len(required[0].anchors)} anchor(s) equal{told}"


def check_mounted(space: Bundle, hand: MountedHand) -> None:
    """The decoder that runs for a hand decodes with the very graph of this space. Raises BundleError ``space_mismatch`` with both values."""
    graph = f"{hand.embodiment}/decoder"
    if hand.embodiment not in space.embodiments:
        raise BundleError(f"{hand.embodiment} is mounted; latent space {space.manifest.name!r} has {list(space.embodiments)}", code="space_mismatch")
    found = space.graph_sha256(graph)
    if hand.decoder_sha256 != found:
        text = f"is decoded by graph {hand.decoder_sha256[:16] or 'unknown'}; {graph} of space {space.manifest.name!r} is {found[:16]}"
        raise BundleError(f"{hand.embodiment} {text}", code="space_mismatch")


def _resolve_space(b: Bundle, name: str) -> Bundle:
    chosen = b.options.space
    if isinstance(chosen, Bundle):
        return chosen
    if chosen is None:
        sibling = b.folder.parent / name
        chosen = sibling if sibling.is_dir() else name
    from dex_core.bundle.load import load_bundle  # a policy loads its space as anybody loads a bundle

    options = LoadOptions(cell=b.options.cell, provider=b.options.provider, threads=b.options.threads, rules=b.options.rules)
    try:
        return load_bundle(chosen, options)
    except ConfigError as error:
        raise BundleError(f"the latent space {name!r} that {b.manifest.name!r} requires: {error}", code="space_mismatch") from error
