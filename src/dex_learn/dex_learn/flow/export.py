# SPDX-License-Identifier: Apache-2.0
"""A flow policy of torch modules as the graphs of a bundle (:mod:`dex_core.bundle.flow`), each proven equal to torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dex_core.bundle.flow import GUIDED, PREFIX, STEP, TARGET, TIME, VELOCITY, WEIGHTS, X
from dex_learn.export import Case, check_parity, run_torch, to_onnx
from dex_learn.flow.guided import guided_to_onnx, guided_velocity

PARITY = 1e-4
LARGEST_BATCH = 16


@dataclass(frozen=True)
class FlowGraphs:
    """What ``write_bundle`` needs of a flow.

    Attributes:
        graphs: name -> ONNX. golden: name -> cases of one row and of two, computed by torch. parity: largest difference of all.
        manifest: name -> its part of the manifest; ``step``'s ``x`` still wants its slices, ``prefix``'s inputs what they are.
    """

    graphs: dict[str, bytes] = field(repr=False)
    golden: dict[str, list[Case]] = field(repr=False)
    parity: float
    manifest: dict[str, dict[str, Any]]


def export_flow(
    prefix: nn.Module, step: nn.Module, seen: Mapping[str, Tensor], features: Sequence[str], chunk: tuple[int, int], *, row_times: bool = False,
) -> FlowGraphs:
    """Exports what sees and what steps; a flow without a time of each row gets its guided step as well.

    Args:
        prefix: the inputs in their order -> features, in the order of ``features``.
        step: (x (B, H, columns), time (B,) or, with ``row_times``, (B, H), features ...) -> velocity; time 0 is noise.
        seen: an example of the inputs, at least three rows.
        features: names for what the prefix gives.
        chunk: (H, columns).

    Raises:
        DexError: ``parity_failed``, a graph and torch differ.
    """
    rng, cases = torch.Generator().manual_seed(0), {PREFIX: [], STEP: [], GUIDED: []}
    for first, batch in ((0, 1), (1, 2)):
        given = {name: value[first : first + batch] for name, value in seen.items()}
        inputs = {name: value.numpy() for name, value in given.items()}
        cases[PREFIX].append((inputs, run_torch(prefix.eval(), inputs, features)))
        known = {name: torch.from_numpy(value) for name, value in cases[PREFIX][-1][1].items()}
        own = _own(batch, chunk, row_times, rng)
        with torch.no_grad():
            velocity = step.eval()(own[X], own[TIME], *known.values())
        cases[STEP].append(_case({X: own[X], TIME: own[TIME], **known}, velocity))
        if not row_times:
            cases[GUIDED].append(_case({**own, **known}, guided_velocity(step, *own.values(), *known.values()).detach()))
    graphs = {PREFIX: to_onnx(prefix, _example(cases[PREFIX]), list(features)), STEP: to_onnx(step, _example(cases[STEP]), [VELOCITY])}
    if not row_times:
        graphs[GUIDED] = guided_to_onnx(step, _example(cases[GUIDED]))
    parity = max(check_parity(graph, cases[name], PARITY, name) for name, graph in graphs.items())
    golden = {name: cases[name] for name in graphs}
    return FlowGraphs(graphs, golden, parity, {name: _described(golden[name]) for name in graphs})


def _own(batch: int, chunk: tuple[int, int], row_times: bool, rng: torch.Generator) -> dict[str, Tensor]:
    """A step's own inputs, in the order in which the guided one takes them."""
    horizon, columns = chunk
    x, target = (torch.randn(batch, horizon, columns, generator=rng) for _ in range(2))
    time = torch.rand((batch, horizon) if row_times else (batch,), generator=rng)
    return {X: x, TIME: time, TARGET: target, WEIGHTS: 2.0 * torch.rand(batch, horizon, generator=rng)}


def _case(inputs: Mapping[str, Tensor], velocity: Tensor) -> Case:
    return {name: value.numpy() for name, value in inputs.items()}, {VELOCITY: velocity.numpy()}


def _example(cases: Sequence[Case]) -> dict[str, Tensor]:
    """The case of two rows: one row might be taken for a constant."""
    return {name: torch.from_numpy(value) for name, value in cases[-1][0].items()}


def _described(cases: Sequence[Case]) -> dict[str, Any]:
    def tensors(arrays: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{"name": name, "dtype": str(value.dtype), "shape": ["B", *value.shape[1:]]} for name, value in arrays.items()]

    inputs, outputs = cases[-1]
    return {"inputs": tensors(inputs), "outputs": tensors(outputs), "dynamic": {"B": [1, LARGEST_BATCH]}, "golden": {"atol": PARITY, "rtol": 1e-4}}
