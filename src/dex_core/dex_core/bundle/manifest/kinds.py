# SPDX-License-Identifier: Apache-2.0
"""Which parts of a manifest each kind of bundle needs, and which have no place in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from dex_core.bundle import completion as completions
from dex_core.bundle.flow import check_flow_graphs
from dex_core.bundle.segmentation import check_graph_names
from dex_core.errors import ConfigError

if TYPE_CHECKING:
    from dex_core.bundle.manifest.whole import Manifest


NEEDED: Mapping[str, tuple[str, ...]] = {
    "latent_space": (),
    "chunk_policy": ("timing", "image", "instruction", "normalisation"),
    "segmentation": ("segmentation",),
    "picker": ("picker",),
    "completion": ("completion",),
}
"""Kind -> keys it cannot do without, besides those of every kind."""


def _need(manifest: Manifest) -> None:
    for name in NEEDED[manifest.kind]:
        if getattr(manifest, name) is None:
            raise ConfigError(f"key {name!r} is missing; a {manifest.kind} bundle needs it")


def _refuse(manifest: Manifest, *fields: str) -> None:
    for name in fields:
        if getattr(manifest, name) is not None:
            raise ConfigError(f"key {name!r} has no place in a {manifest.kind} bundle")


def _check_latent_space(manifest: Manifest) -> None:
    _refuse(manifest, "image", "instruction", "segmentation", "picker", "completion", "tokens", "flow")
    if manifest.spaces.latent is None:
        raise ConfigError("spaces.latent is missing; a latent_space bundle needs it")
    if not manifest.embodiments:
        raise ConfigError("embodiments is empty; a latent_space bundle names at least one <side>_<hand>")
    wanted = {f"{e}/{part}" for e in manifest.embodiments for part in ("encoder", "decoder")}
    if set(manifest.graphs) != wanted:
        raise ConfigError(f"graphs must be {sorted(wanted)}, got {sorted(manifest.graphs)}")


def _check_chunk_policy(manifest: Manifest) -> None:
    _refuse(manifest, "segmentation", "picker", "completion")
    _need(manifest)
    check_flow_graphs(manifest)


def _check_segmentation(manifest: Manifest) -> None:
    _refuse(manifest, "timing", "image", "instruction", "normalisation", "picker", "completion", "tokens", "flow")
    _need(manifest)
    check_graph_names(manifest.graphs)


def _check_picker(manifest: Manifest) -> None:
    _refuse(manifest, "timing", "image", "instruction", "normalisation", "segmentation", "completion", "tokens", "flow")
    _need(manifest)
    if set(manifest.graphs) != {"picker"}:
        raise ConfigError(f"graphs must be ['picker'], got {sorted(manifest.graphs)}")


def _check_completion(manifest: Manifest) -> None:
    _refuse(manifest, "timing", "image", "instruction", "normalisation", "segmentation", "picker", "tokens", "flow")
    _need(manifest)
    completions.check_graph_names(manifest.graphs)


CHECKS: Mapping[str, Callable[[Manifest], None]] = {
    "latent_space": _check_latent_space, "chunk_policy": _check_chunk_policy, "segmentation": _check_segmentation, "picker": _check_picker,
    "completion": _check_completion,
}
