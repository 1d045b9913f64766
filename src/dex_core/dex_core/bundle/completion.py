# SPDX-License-Identifier: Apache-2.0
"""Bundles of kind ``completion``: the seen part of one object becomes the whole of it (SnowflakeNet's interface).

One graph, ``completer``: partial (B, points, 3) -> clouds (B, m, 3) from coarse to fine, and, where ``normals`` names one, unit normals of the
finest, pointing outwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dex_core.config.strict import bounded, choice
from dex_core.errors import BundleError, ConfigError, DexError

if TYPE_CHECKING:
    from dex_core.bundle.manifest import Graph, Manifest
    from dex_core.runtime import Session

GRAPH, PARTIAL = "completer", "partial"
_ONES = np.ones(3, np.float32)
LARGEST = 100.0
"""No completed coordinate may be further out than this, in the graph's units, whatever goes in."""


@dataclass(frozen=True)
class CompletionSpec:
    """The frame a partial cloud is put into.

    Attributes:
        frame: ``tabletop``: z up, x level towards the camera, the origin below the middle of the seen points on what the object stands on,
            divided by ``unit_m``; ``centred``: the world's axes, the origin in the middle of the seen points' box, divided so that the
            furthest of them is at ``radius`` (ShapeNet's objects have about 0.5).
        up: of ``centred``: which axis of the graph's frame points up in the world; ShapeNet's is y.
        points: how many the graph takes.
        normals: output that holds the finest cloud's normals; empty: none.
        observed_m: a completed point this near to a seen one counts as observed, the others are invented [m].
    """

    frame: str = choice("tabletop", "centred")
    unit_m: float = bounded(1e-3, 1e3, default=0.1)
    radius: float = bounded(1e-3, 1e3, default=0.5)
    up: str = choice("y", "z", default="z")
    points: int = bounded(16, 10**6, default=2048)
    normals: str = ""
    observed_m: float = bounded(1e-4, 0.1, default=0.01)

    def __post_init__(self) -> None:
        if self.frame == "tabletop" and (self.radius, self.up) != (0.5, "z"):
            raise ConfigError(f"completion.radius {self.radius} and up {self.up!r} belong to the frame 'centred'; leave them out")
        if self.frame == "centred" and self.unit_m != 0.1:
            raise ConfigError(f"completion.unit_m is {self.unit_m}; the frame 'centred' has no unit of its own, leave it out")


def check_graph_names(graphs: Mapping[str, Graph]) -> None:
    """Raises ConfigError unless the graphs are the kind's."""
    if set(graphs) != {GRAPH}:
        raise ConfigError(f"graphs must be {[GRAPH]}, got {sorted(graphs)}")


def clouds_of(manifest: Manifest) -> list[str]:
    """Names of the outputs that are clouds, coarse to fine."""
    spec = manifest.completion
    assert spec is not None  # the kind's manifest check
    return [t.name for t in manifest.graphs[GRAPH].outputs if t.name != spec.normals]


def check_tensors(manifest: Manifest) -> str:
    """The graph has the kind's tensors, clouds grow from coarse to fine. Raises BundleError ``layout_invalid`` naming the tensor."""
    spec, graph = manifest.completion, manifest.graphs[GRAPH]
    assert spec is not None
    shapes = {t.name: tuple(t.shape[1:]) for t in (*graph.inputs, *graph.outputs) if t.dtype == "float32" and isinstance(t.shape[0], str)}
    if [t.name for t in graph.inputs] != [PARTIAL] or shapes.get(PARTIAL) != (spec.points, 3):
        raise _fail(f"inputs are {[(t.name, list(t.shape)) for t in graph.inputs]}; expected one, {PARTIAL!r} float32 [B, {spec.points}, 3]")
    clouds = clouds_of(manifest)
    counts = [shapes[name][0] if len(shapes.get(name, ())) == 2 and shapes[name][1] == 3 else None for name in clouds]
    if not clouds or None in counts or any(not isinstance(c, int) for c in counts) or counts != sorted(counts):  # type: ignore[type-var]
        raise _fail(f"outputs {clouds} have {counts} points; expected float32 [B, m, 3] with a fixed m that does not fall")
    if spec.normals and shapes.get(spec.normals) != shapes[clouds[-1]]:
        raise _fail(f"normals {spec.normals!r} are {shapes.get(spec.normals)}; the finest cloud is {shapes[clouds[-1]]}")
    return f"{spec.points} points -> {', '.join(map(str, counts))}"


def check_completion_probes(manifest: Manifest, session: Session) -> None:
    """A cloud that is one point, one that is a line, one far away: what comes out is finite and bounded. Raises BundleError ``probe_failed``."""
    spec = manifest.completion
    assert spec is not None
    ramp = np.linspace(0.0, 1.0, spec.points, dtype=np.float32)[:, None]
    for probe in (0.0 * ramp * _ONES, ramp * _ONES, ramp + 3.0 * _ONES):
        try:
            found = session.run({PARTIAL: probe[None]})
        except DexError as error:
            raise BundleError(f"graph {session.name!r}: probe: {error}", code="probe_failed") from error
        worst = max(float(np.abs(found[name]).max()) for name in clouds_of(manifest))
        if worst > LARGEST:
            raise BundleError(f"graph {session.name!r}: probe: a point at {worst:.3g}, at most {LARGEST:g} is allowed", code="probe_failed")


def _fail(message: str) -> BundleError:
    return BundleError(f"graph {GRAPH!r}: {message}", code="layout_invalid")
