# SPDX-License-Identifier: Apache-2.0
"""Bundles of kind ``picker``: do these words describe this thing? One graph, one row per thing in view.

Graph ``picker``: tokens (B, 24) int64 as dex_core.text makes them, things (B, F) float32 features -> logit (B, 1), above 0 where they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dex_core import text
from dex_core.config.strict import bounded
from dex_core.errors import BundleError, ConfigError, DexError

if TYPE_CHECKING:
    from dex_core.bundle.manifest import Manifest
    from dex_core.runtime import Session

GRAPH = "picker"
TOKENS, THINGS, LOGIT = "tokens", "things", "logit"


@dataclass(frozen=True)
class PickerSpec:
    """What a picker knows.

    Attributes:
        features: name and version of the features it reads; the runtime refuses others.
        words: every word it was trained with.
        plural: words after which any of several things that fit will do.
        margin: a second thing whose probability comes so near to the best makes words ambiguous.
    """

    features: str
    words: tuple[str, ...]
    plural: tuple[str, ...] = ()
    margin: float = bounded(0.0, 1.0, default=0.15)

    def __post_init__(self) -> None:
        if not self.words or len(set(self.words)) != len(self.words) or not set(self.plural) <= set(self.words):
            raise ConfigError("picker.words must name every word once, and hold those of picker.plural")


def check_picker_tensors(manifest: Manifest) -> None:
    """Raises BundleError ``layout_invalid`` unless the graph has the kind's tensors."""
    graph = manifest.graphs[GRAPH]
    shapes = {t.name: (t.dtype, t.shape) for t in (*graph.inputs, *graph.outputs)}
    wide = graph.input(THINGS).shape[-1] if graph.input(THINGS) is not None else 0  # type: ignore[union-attr]
    wanted = {TOKENS: ("int64", ("B", text.LENGTH)), THINGS: ("float32", ("B", wide)), LOGIT: ("float32", ("B", 1))}
    if shapes != wanted or not isinstance(wide, int):
        raise BundleError(f"graph {GRAPH!r}: tensors are {shapes}; expected {wanted} with a fixed number of features", code="layout_invalid")


def check_picker_probes(session: Session) -> None:
    """No words, every word, and features far outside what was seen: logits stay finite. Raises BundleError ``probe_failed``."""
    wide = int(session.spec.input(THINGS).shape[-1])  # type: ignore[union-attr]
    for token in (0, text.BUCKETS - 1):
        for value in (-1e3, 0.0, 1e3):
            inputs = {TOKENS: np.full((2, text.LENGTH), token, np.int64), THINGS: np.full((2, wide), value, np.float32)}
            try:
                session.run(inputs)
            except DexError as error:
                raise BundleError(f"graph {GRAPH!r}: probe with token {token} and features {value}: {error}", code="probe_failed") from error
