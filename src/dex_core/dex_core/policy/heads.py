# SPDX-License-Identifier: Apache-2.0
"""From a policy network's inputs to the numbers of a chunk: by one graph, or along a flow that can continue the chunk before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from dex_core.bundle.flow import GUIDED, PREFIX, STEP, TARGET, TIME, VELOCITY, WEIGHTS, X
from dex_core.bundle.load import Bundle
from dex_core.policy.flow import Floats, sample
from dex_core.policy.flow_guidance import Before, Guidance
from dex_core.runtime import Session
from dex_core.transforms import tensor_normaliser
from dex_core.types import Array

if TYPE_CHECKING:
    from dex_core.chunks import Committed

Arrays = Mapping[str, NDArray]


class Head(Protocol):
    """What gives a chunk.

    Attributes:
        continues: it minds what is committed of the chunk before.
    """

    continues: bool

    def reset(self) -> None:
        """A goal begins."""
        ...

    def chunk(self, inputs: Arrays, committed: Committed | None) -> Array:
        """(chunk, columns) in SI units, of the network's inputs, batch 1. Raises ShapeError or NonFiniteError."""
        ...


class OneGraph:
    """A network that gives its chunk at once and minds nothing before it; a Head."""

    continues = False

    def __init__(self, bundle: Bundle) -> None:
        self._session, self._output = bundle.sessions["policy"], bundle.manifest.chunk_tensor
        inside = bundle.manifest.normalisation.inside_graph  # type: ignore[union-attr]
        self._normaliser = None if inside else tensor_normaliser(self._output, bundle.stats)

    def reset(self) -> None:
        """Nothing is remembered."""

    def chunk(self, inputs: Arrays, committed: Committed | None) -> Array:
        """See Head."""
        del committed
        values = self._session.run(inputs)[self._output.name][0].astype(np.float64)
        return values if self._normaliser is None else self._normaliser.inverse(values)


class FlowHead:
    """A flow, followed from noise by Euler steps; a Head. One goal's noise is that of the next: equal observations give equal chunks.

    What is committed binds the new chunk as far as the flow allows, see :mod:`dex_core.policy.flow`.
    """

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        assert manifest.flow  # the kind's manifest check
        self._spec, self._sessions, self._x = manifest.flow, bundle.sessions, manifest.chunk_tensor
        self._guidance = Guidance(self._spec.decay, self._spec.cap)
        self._normaliser = tensor_normaliser(self._x, bundle.stats)
        self._shape = tuple(map(int, self._x.shape[1:]))
        self._rng = np.random.default_rng(self._spec.seed)
        flow = GraphFlow(self._sessions, {})
        self.continues = flow.guides or flow.conditioned

    def reset(self) -> None:
        """See Head."""
        self._rng = np.random.default_rng(self._spec.seed)

    def chunk(self, inputs: Arrays, committed: Committed | None) -> Array:
        """See Head."""
        flow = GraphFlow(self._sessions, self._sessions[PREFIX].run(inputs))
        noise = self._rng.standard_normal(self._shape).astype(np.float32)
        before = None if committed is None else self.before(committed)
        return self._normaliser.inverse(sample(flow, noise, self._spec.steps, before, self._guidance).actions.astype(np.float64))

    def before(self, committed: Committed) -> Before | None:
        """The committed rows in the flow's numbers; at most half of a chunk is frozen. None where they begin later than the chunk to come."""
        horizon, columns = self._shape
        if committed.start_step:
            return None
        frozen = min(committed.frozen, horizon // 2)
        known = min(committed.known, horizon - frozen)
        rows = np.concatenate([committed.steps[s.interface] for s in self._x.slices], axis=1)[:known]
        actions = np.zeros((horizon, columns))
        actions[:known] = self._normaliser(rows)
        return Before(actions, min(frozen, known), known)


class GraphFlow:
    """The step graphs of a bundle for the features of one observation; a Flow."""

    def __init__(self, sessions: Mapping[str, Session], features: Arrays) -> None:
        self._step, self._guided, self._features = sessions[STEP], sessions.get(GUIDED), dict(features)
        self.guides = self._guided is not None
        self.conditioned = len(self._step.spec.input(TIME).shape) == 2  # type: ignore[union-attr]

    def velocity(self, x: Floats, times: Floats) -> Floats:
        """See Flow."""
        time = times[None] if self.conditioned else times[:1]
        return self._step.run({X: x[None], TIME: time, **self._features})[VELOCITY][0]

    def guided(self, x: Floats, times: Floats, target: Floats, weights: Floats) -> Floats:
        """See Flow."""
        assert self._guided is not None  # the caller has looked at ``guides``
        own = {X: x[None], TIME: times[:1], TARGET: target[None], WEIGHTS: weights[None]}
        return self._guided.run({**own, **self._features})[VELOCITY][0]


def head_of(bundle: Bundle) -> Head:
    """What gives the chunks of a loaded bundle of kind ``chunk_policy``."""
    return FlowHead(bundle) if bundle.manifest.flow else OneGraph(bundle)
