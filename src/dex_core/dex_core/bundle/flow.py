# SPDX-License-Identifier: Apache-2.0
"""Flow policies: bundles of kind ``chunk_policy`` with key ``flow``, whose network is asked several times for a chunk.

Graph ``prefix``: what a one-graph policy takes -> features, any number of float32 tensors.
Graph ``step``: ``x`` (B, chunk, columns), ``time`` (B,), the features -> ``velocity`` as x; ``time`` 0 is noise, 1 the chunk. ``x`` carries the
slices; it is normalised as their statistics say, whatever the inputs are. A ``time`` of (B, chunk) says that the flow was trained with a time of
each row and continues a chunk by its rows at time 1 (arXiv 2512.05964).
Graph ``step_guided``, where there is one: x, time (B,), ``target`` as x, ``weights`` (B, chunk), the features -> ``velocity`` with the pull of
real-time chunking (arXiv 2506.07339).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dex_core.config.strict import bounded, choice
from dex_core.errors import BundleError, ConfigError, DexError

if TYPE_CHECKING:
    from dex_core.bundle.manifest import Graph, Manifest, Tensor
    from dex_core.bundle.probes import Speed
    from dex_core.runtime import Session

PREFIX, STEP, GUIDED = "prefix", "step", "step_guided"
X, TIME, TARGET, WEIGHTS, VELOCITY = "x", "time", "target", "weights", "velocity"
DECAYS = ("exponential", "linear", "ones", "zeros")


@dataclass(frozen=True)
class FlowSpec:
    """How the flow is followed.

    Attributes:
        steps: Euler steps of a chunk.
        decay, cap: of the guidance by the chunk before, see ``dex_core.policy.flow_guidance``.
        seed: of the noise of a goal's chunks.
    """

    steps: int = bounded(1, 1000, default=10)
    decay: str = choice(*DECAYS, default="exponential")
    cap: float = bounded(0.0, 1e4, default=10.0)
    seed: int = bounded(0, 2**32 - 1, default=0)


def check_flow_graphs(manifest: Manifest) -> None:
    """Raises ConfigError unless the graphs are those of a flow policy, or of one without key ``flow``."""
    allowed = [{PREFIX, STEP}, {PREFIX, STEP, GUIDED}] if manifest.flow else [{"policy"}]
    if set(manifest.graphs) not in allowed:
        raise ConfigError(f"graphs must be {' or '.join(str(sorted(names)) for names in allowed)}, got {sorted(manifest.graphs)}")


def check_flow_tensors(manifest: Manifest) -> None:
    """Raises BundleError ``layout_invalid`` unless every step takes what the prefix gives, and ``x`` is the chunk."""
    features = {t.name: t for t in manifest.graphs[PREFIX].outputs}
    odd = [t.name for t in features.values() if t.dtype != "float32" or t.slices or t.name in (X, TIME, TARGET, WEIGHTS)]
    if odd or not features:
        raise _fail(f"graph {PREFIX!r}: outputs {odd or 'none'}; expected features, float32 without slices, of other names than a step's own inputs")
    x = manifest.graphs[STEP].input(X)
    chunk = manifest.timing.chunk  # type: ignore[union-attr]
    if x is None or not x.slices or x.dtype != "float32" or len(x.shape) != 3 or x.shape[1] != chunk or x.kind != "absolute":
        raise _fail(f"graph {STEP!r}: {X!r} must be a sliced, absolute float32 [B, {chunk}, columns]")
    time = manifest.graphs[STEP].input(TIME)
    row_times = time is not None and len(time.shape) == 2
    _check_step(STEP, manifest.graphs[STEP], {X: x.shape, TIME: (x.shape[0], chunk) if row_times else (x.shape[0],)}, features, x)
    if GUIDED in manifest.graphs:
        if row_times:
            raise _fail(f"graph {GUIDED!r}: a flow with a time of each row continues a chunk by itself and is not guided")
        own = {X: x.shape, TIME: (x.shape[0],), TARGET: x.shape, WEIGHTS: (x.shape[0], chunk)}
        _check_step(GUIDED, manifest.graphs[GUIDED], own, features, x)


def _check_step(name: str, graph: Graph, own: Mapping[str, tuple], features: Mapping[str, Tensor], x: Tensor) -> None:
    wanted = {**{key: ("float32", tuple(shape)) for key, shape in own.items()}, **{f.name: (f.dtype, tuple(f.shape)) for f in features.values()}}
    found = {t.name: (t.dtype, tuple(t.shape)) for t in graph.inputs}
    if found != wanted:
        raise _fail(f"graph {name!r}: inputs are {found}; expected {wanted}")
    given = [(t.name, t.dtype, tuple(t.shape)) for t in graph.outputs]
    if given != [(VELOCITY, "float32", tuple(x.shape))]:
        raise _fail(f"graph {name!r}: outputs are {given}; expected {VELOCITY!r} float32 {list(x.shape)}")


def _fail(message: str) -> BundleError:
    return BundleError(message, code="layout_invalid")


def check_flow_probes(manifest: Manifest, sessions: Mapping[str, Session], inputs: Mapping[str, np.ndarray]) -> None:
    """Made-up inputs of the prefix, and noise far out at both ends and between: all stays finite. Raises BundleError ``probe_failed``."""
    x = manifest.graphs[STEP].input(X)
    shape = (1, *map(int, x.shape[1:]))  # type: ignore[union-attr]
    place = 5.0 * np.random.default_rng(0).choice([-1.0, 1.0], shape).astype(np.float32)
    try:
        features = sessions[PREFIX].run(inputs)
        for name in (STEP, GUIDED):
            for time in (0.0, 0.5, 1.0) if name in sessions else ():
                own = {X: place, TARGET: -place, WEIGHTS: np.full(shape[:2], manifest.flow.cap, np.float32)}  # type: ignore[union-attr]
                own[TIME] = np.full((1,) + tuple(map(int, manifest.graphs[name].input(TIME).shape[1:])), time, np.float32)  # type: ignore[union-attr]
                sessions[name].run({t.name: own.get(t.name, features.get(t.name)) for t in manifest.graphs[name].inputs})
    except DexError as error:
        raise BundleError(f"probe of the flow: {error}", code="probe_failed") from error


def speed_of_chunk(manifest: Manifest, speeds: Mapping[str, Speed]) -> Speed:
    """Time of a whole chunk: the prefix and every step, guided where it can be; the 99 % quantiles are added up, so it is an upper bound."""
    step = speeds[GUIDED if GUIDED in speeds else STEP]
    steps = manifest.flow.steps  # type: ignore[union-attr]
    prefix = speeds[PREFIX]
    label = f"{PREFIX} and {steps} times {step.graph}"
    return type(step)(label, prefix.p50_ms + steps * step.p50_ms, prefix.p99_ms + steps * step.p99_ms, step.budget_ms)
