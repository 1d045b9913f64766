# SPDX-License-Identifier: Apache-2.0
"""Bundles of kind ``segmentation``: a cloud is encoded once, each set of clicks is decoded into masks over its points (Point-SAM's tensors).

Graphs and tensors, B clouds of N points with Q clicks each:

- ``encoder``: coords (B, N, 3), colors (B, N, 3) in [0, 1] -> whatever the decoders ask for by the same names.
- ``decoder``: prompt_coords (B, Q, 3) in the units of coords, prompt_labels (B, Q) int64 (1 object, 0 not the object, -1 no click), and any
  inputs and outputs of the encoder -> masks (B, K, N) logits, iou (B, K) what each mask is believed to overlap its object.
- ``decoder_mask`` (optional): the same and prompt_mask (B, N), the logits chosen before, from which the next click goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dex_core.config.strict import bounded, choice
from dex_core.errors import BundleError, ConfigError, DexError

if TYPE_CHECKING:
    from dex_core.bundle.manifest import Graph, Manifest
    from dex_core.runtime import Session

NEEDED = ("encoder", "decoder")
OPTIONAL = ("decoder_mask",)
POINTS, COLORS, CLICKS, LABELS, MASK = "coords", "colors", "prompt_coords", "prompt_labels", "prompt_mask"
PROBE_POINTS = 1024


@dataclass(frozen=True)
class SegmentationSpec:
    """How points in metres become the graphs' ``coords``, and how many of them.

    Attributes:
        coords: ``unit_sphere``: minus their mean, divided by the largest norm, in any frame (Point-SAM); ``lens``: in a frame whose z points
            up, against gravity, minus the place of the camera's lens in it, divided by ``unit_m``: sight lines go through the origin.
        unit_m: length of one unit of ``lens`` coords [m].
        points: a larger cloud is thinned to about so many before it is encoded, and the mask interpolated back.
        min_iou: a mask that is believed to overlap less than this is no target.
    """

    coords: str = choice("unit_sphere", "lens")
    unit_m: float = bounded(1e-3, 1e3, default=1.0)
    points: int = bounded(16, 10**7, default=10_000)
    min_iou: float = bounded(0.0, 1.0, default=0.0)

    def __post_init__(self) -> None:
        if self.coords == "unit_sphere" and self.unit_m != 1.0:
            raise ConfigError(f"segmentation.unit_m is {self.unit_m}; coords 'unit_sphere' have no unit of their own, leave it out")


def check_graph_names(graphs: Mapping[str, Graph]) -> None:
    """Raises ConfigError unless the graphs are the kind's."""
    if not set(NEEDED) <= set(graphs) <= {*NEEDED, *OPTIONAL}:
        raise ConfigError(f"graphs must be {list(NEEDED)} and may be {list(OPTIONAL)}, got {sorted(graphs)}")


def check_tensors(manifest: Manifest) -> None:
    """Every graph has the kind's tensors and can be fed. Raises BundleError ``layout_invalid`` naming graph and tensor."""
    encoder = manifest.graphs["encoder"]
    if {t.name for t in encoder.inputs} != {POINTS, COLORS}:
        raise _fail(f"graph 'encoder': inputs are {[t.name for t in encoder.inputs]}; expected {[POINTS, COLORS]}")
    _expect("encoder", encoder, POINTS, "float32", (None, None, 3))
    _expect("encoder", encoder, COLORS, "float32", (None, None, 3))
    given = {t.name: t for t in (*encoder.inputs, *encoder.outputs)}
    for name in (n for n in manifest.graphs if n != "encoder"):
        _check_decoder(name, manifest.graphs[name], given)


def _check_decoder(name: str, decoder: Graph, given: Mapping[str, object]) -> None:
    prompts = {CLICKS: ("float32", (None, None, 3)), LABELS: ("int64", (None, None))}
    if name == "decoder_mask":
        prompts[MASK] = ("float32", (None, None))
    for tensor, (dtype, shape) in prompts.items():
        _expect(name, decoder, tensor, dtype, shape)
    unknown = [t.name for t in decoder.inputs if t.name not in given and t.name not in prompts]
    if unknown:
        raise _fail(f"graph {name!r}: nothing gives input {unknown[0]!r}; there are {sorted({*given, *prompts})}")
    if [t.name for t in decoder.outputs] != ["masks", "iou"]:
        raise _fail(f"graph {name!r}: outputs are {[t.name for t in decoder.outputs]}; expected ['masks', 'iou']")
    masks, iou = decoder.outputs
    if len(masks.shape) != 3 or len(iou.shape) != 2 or not isinstance(masks.shape[1], int) or masks.shape[1] != iou.shape[1]:
        raise _fail(f"graph {name!r}: masks {list(masks.shape)} and iou {list(iou.shape)}; expected [B, K, N] and [B, K] with a fixed K")


def _expect(name: str, graph: Graph, tensor: str, dtype: str, shape: tuple[int | None, ...]) -> None:
    found = graph.input(tensor)
    fits = found is not None and found.dtype == dtype and len(found.shape) == len(shape)
    fits = fits and all(isinstance(a, str) if w is None else a == w for a, w in zip(found.shape, shape, strict=True))  # type: ignore[union-attr]
    if not fits:
        got = "no such input" if found is None else f"{found.dtype} {list(found.shape)}"
        wanted = ["named" if w is None else w for w in shape]
        raise _fail(f"graph {name!r}: input {tensor!r}: {got}; expected {dtype} {wanted}")


def _fail(message: str) -> BundleError:
    return BundleError(message, code="layout_invalid")


def _probe_points(manifest: Manifest) -> int:
    """Enough for the encoder: Point-SAM needs at least a point for each of its patches."""
    encoder = manifest.graphs["encoder"]
    axis = next(str(tensor.shape[1]) for tensor in encoder.inputs if tensor.name == POINTS)
    return max(PROBE_POINTS, encoder.dynamic[axis][0])


def check_segmentation_probes(manifest: Manifest, sessions: Mapping[str, Session]) -> None:
    """A cloud without spread, one of noise, and a click far outside: masks stay finite. Raises BundleError ``probe_failed``."""
    rng = np.random.default_rng(0)
    flat = np.full((1, _probe_points(manifest), 3), 0.5, np.float32)
    noise = rng.uniform(-1.0, 1.0, flat.shape).astype(np.float32)
    for coords in (flat, noise):
        for click in (coords[:, :1], np.full((1, 1, 3), 5.0, np.float32)):
            try:
                run_probe(sessions, coords, click)
            except DexError as error:
                raise BundleError(f"probe of masks: {error}", code="probe_failed") from error


def run_probe(sessions: Mapping[str, Session], coords: NDArray[np.float32], click: NDArray[np.float32]) -> None:
    """Encodes, decodes one click, and goes on from the mask where a graph for that is there."""
    known = {POINTS: coords, COLORS: np.full_like(coords, 0.5)}
    known |= sessions["encoder"].run(known)
    known |= {CLICKS: click, LABELS: np.ones(click.shape[:2], np.int64)}
    found = _decode(sessions["decoder"], known)
    if "decoder_mask" in sessions:
        _decode(sessions["decoder_mask"], {**known, MASK: np.ascontiguousarray(found["masks"][:, 0])})


def _decode(session: Session, known: Mapping[str, NDArray]) -> dict[str, NDArray]:
    return session.run({t.name: known[t.name] for t in session.spec.inputs})
