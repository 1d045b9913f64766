# SPDX-License-Identifier: Apache-2.0
"""Golden cases made by onnxruntime, for networks whose trainer left none: they tie a bundle to how it computed when it was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dex_core.bundle.manifest import Embodiment, Graph, Tensor
from dex_core.bundle.probes import Case
from dex_core.bundle.rotations import turn_wrists
from dex_core.bundle.stats import Statistic
from dex_core.config.strict import build
from dex_core.runtime import OnnxSession
from dex_core.transforms import tensor_normaliser

COUNT = 3


def make_cases(
    name: str,
    graph: Mapping[str, Any],
    model: bytes | str,
    *,
    stats: Mapping[str, Statistic],
    embodiments: Mapping[str, Embodiment],
    ids: int,
    normalised: bool = False,
) -> list[Case]:
    """Random inputs of several batches and what comes out. Wrists are turned any way.

    Args:
        name: of the graph, e.g. ``left_inspire/encoder``. graph: its entry of a manifest, ``file`` and ``golden`` left out.
        model: the file's bytes or path.
        stats: joints and poses are drawn from min to max of their records, where there are any.
        embodiments: joints of an encoder are drawn inside their limits.
        ids: integers are drawn below it.
        normalised: the graph takes its inputs normalised by ``stats``.

    Raises:
        DexError: the file does not run as its entry says.
    """
    spec = build(Graph, {**graph, "file": "graph.onnx", "golden": {"file": "golden.npz"}}, f"graphs.{name}")
    session = OnnxSession(name, spec, model)
    rng = np.random.default_rng(0)
    out = []
    for number in range(COUNT):
        lengths = {axis: min(low + number, high) for axis, (low, high) in spec.dynamic.items()}
        inputs = {t.name: _draw(rng, t, lengths, stats, embodiments.get(name.rsplit("/", 1)[0]), ids) for t in spec.inputs}
        for tensor in (t for t in spec.inputs if t.slices):
            values = turn_wrists(rng, tensor.slices, inputs[tensor.name])
            inputs[tensor.name] = (tensor_normaliser(tensor, stats)(values) if normalised else values).astype(np.float32)
        out.append((inputs, session.run(inputs)))
    return out


def _draw(
    rng: np.random.Generator, tensor: Tensor, lengths: Mapping[str, int], stats: Mapping[str, Statistic], e: Embodiment | None, ids: int
) -> NDArray:
    shape = tuple(lengths[a] if isinstance(a, str) else int(a) for a in tensor.shape)
    if tensor.dtype == "uint8":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if tensor.dtype == "int64":
        return rng.integers(0, ids, shape)
    low, high = _range(tensor, stats, e)
    if low is None:
        return rng.standard_normal(shape).astype(np.float32)
    return rng.uniform(low, high, shape).astype(np.float32)


def _range(tensor: Tensor, stats: Mapping[str, Statistic], e: Embodiment | None) -> tuple[NDArray | None, NDArray | None]:
    records = [stats.get(f"{tensor.name}/{s.interface}") for s in tensor.slices]
    if records and all(r is not None for r in records):
        return tuple(np.concatenate([getattr(r, key) for r in records]) for key in ("min", "max"))  # type: ignore[return-value]
    if e is not None and tensor.space == "joint_position" and tensor.names == e.joints:
        return np.array(e.lower_rad), np.array(e.upper_rad)
    return None, None
