# SPDX-License-Identifier: Apache-2.0
"""Networks of real size with random weights: a ViT-S/16 that looks, and a decoder of 64 queries that attends to what it saw.

Written operator by operator, weights at 16 bit beside the file, so that nothing but onnx and NumPy is needed and neither the file nor the memory
of the maker grows with the network. What they say is poses and latents held, plus a millionth of the mean of what they computed.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dex_bringup.bench.serving_bundle import CHUNK, PICTURE, Network, bench_cell, hold_nodes, tensors
from dex_core.errors import DexError

PATCH, WORDS = 16, 4096
OPSET, IR_VERSION = 18, 8
WEIGHT_SCALE = 0.02


@dataclass(frozen=True)
class Size:
    """Depth and width of the eye (a ViT) and of the decoder. Steps are long, so that a processor may take its time over a chunk."""

    eye_layers: int
    eye_dim: int
    layers: int
    dim: int
    head_dim: int = 64
    dt_s: float = 0.5
    budget_ms: float = 30_000.0


SIZES = {"0.3B": Size(12, 384, 18, 1024), "3B": Size(12, 384, 27, 2624)}


class Writer:
    """Nodes, and weights that go to a file as they are made."""

    def __init__(self, weights: Path, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initial: list[onnx.TensorProto] = []
        self.parameters = 0
        self._file, self._place = open(weights, "wb"), "policy.onnx.data"
        self._rng, self._names = np.random.default_rng(seed), 0

    def close(self) -> None:
        """Ends the file of weights."""
        self._file.close()

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """One node with one output; its name."""
        self._names += 1
        name = f"{kind.lower()}_{self._names}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, values: NDArray) -> str:
        """A small constant inside the file."""
        self._names += 1
        self.initial.append(numpy_helper.from_array(values, f"constant_{self._names}"))
        return self.initial[-1].name

    def weight(self, *shape: int, ones: bool = False) -> str:
        """Weights at 16 bit: random, or all one."""
        self._names += 1
        values = np.ones(shape, np.float16) if ones else (self._rng.standard_normal(shape, np.float32) * WEIGHT_SCALE).astype(np.float16)
        tensor = onnx.TensorProto(name=f"weight_{self._names}", data_type=TensorProto.FLOAT16, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", self._place), ("offset", str(self._file.tell())), ("length", str(values.nbytes))):
            tensor.external_data.add(key=key, value=value)
        self._file.write(values.tobytes())
        self.initial.append(tensor)
        self.parameters += values.size
        return tensor.name

    def linear(self, x: str, inner: int, outer: int) -> str:
        """(..., inner) -> (..., outer)"""
        return self.op("Add", self.op("MatMul", x, self.weight(inner, outer)), self.weight(outer))

    def norm(self, x: str, dim: int) -> str:
        """Layer normalisation of the last axis."""
        return self.op("LayerNormalization", x, self.weight(dim, ones=True), self.weight(dim), axis=-1)

    def attention(self, x: str, seen: str, dim: int, seen_dim: int, head_dim: int) -> str:
        """Multi-head attention of (B, n, dim) to (B, m, seen_dim)."""
        heads = dim // head_dim
        split = self.constant(np.array([0, 0, heads, head_dim], np.int64))
        q, k, v = (
            self.op("Reshape", self.linear(source, size, dim), split) for source, size in ((x, dim), (seen, seen_dim), (seen, seen_dim))
        )
        scores = self.op("MatMul", self.op("Transpose", q, perm=[0, 2, 1, 3]), self.op("Transpose", k, perm=[0, 2, 3, 1]))
        scaled = self.op("Mul", scores, self.constant(np.array(head_dim**-0.5, np.float16)))
        mixed = self.op("MatMul", self.op("Softmax", scaled, axis=-1), self.op("Transpose", v, perm=[0, 2, 1, 3]))
        joined = self.op("Reshape", self.op("Transpose", mixed, perm=[0, 2, 1, 3]), self.constant(np.array([0, 0, dim], np.int64)))
        return self.linear(joined, dim, dim)

    def feed_forward(self, x: str, dim: int) -> str:
        """Two layers of four times the width, x * sigmoid(1.7 x) between."""
        inner = self.linear(x, dim, 4 * dim)
        gate = self.op("Sigmoid", self.op("Mul", inner, self.constant(np.array(1.702, np.float16))))
        return self.linear(self.op("Mul", inner, gate), 4 * dim, dim)

    def residual(self, x: str, layer: str) -> str:
        """x + layer"""
        return self.op("Add", x, layer)


def sized_network(name: str, folder: Path) -> tuple[Network, dict[str, Any]]:
    """A network of ``SIZES`` in ``folder``, and facts about it.

    Raises:
        DexError: ``no_room``, the disk or the memory is too small for it.
    """
    size = SIZES[name]
    folder.mkdir(parents=True, exist_ok=True)
    _require_room(size, folder)
    weights = folder / "policy.onnx.data"
    writer = Writer(weights)
    half = _look(writer, size)
    half = _decode(writer, size, half)
    # what was computed counts for nothing; clipped, so that random weights cannot make it infinite
    worth = writer.op("Clip", half, writer.constant(np.array(-8, np.float16)), writer.constant(np.array(8, np.float16)))
    mean = writer.op("ReduceMean", writer.op("Cast", worth, to=TensorProto.FLOAT), writer.constant(np.array([1, 2], np.int64)), keepdims=1)
    seen = writer.op("Mul", mean, writer.constant(np.array(1e-6, np.float32)))
    nodes, constants = hold_nodes(seen)
    writer.close()
    inputs, outputs = tensors(bench_cell(folder, name, 1, 0.1))
    graph = helper.make_graph(
        writer.nodes + nodes, "sized", [_info(t) for t in inputs], [_info(t) for t in outputs],
        writer.initial + [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    facts = {"network": name, "parameters": writer.parameters, "weights_mb": weights.stat().st_size / 1e6}
    return Network(f"random_{name.replace('.', '_').lower()}", model.SerializeToString(), weights, size.budget_ms, size.dt_s, atol=1e-3), facts


def _look(w: Writer, size: Size) -> str:
    """(B, 196, eye_dim) of the picture, by a ViT."""
    dim, patches = size.eye_dim, (PICTURE // PATCH) ** 2
    pixels = w.op("Div", w.op("Cast", "image", to=TensorProto.FLOAT16), w.constant(np.array(255, np.float16)))
    planes = w.op("Transpose", pixels, perm=[0, 3, 1, 2])
    cells = w.op("Conv", planes, w.weight(dim, 3, PATCH, PATCH), w.weight(dim), strides=[PATCH, PATCH])
    rows = w.op("Transpose", w.op("Reshape", cells, w.constant(np.array([0, dim, patches], np.int64))), perm=[0, 2, 1])
    x = w.residual(rows, w.weight(1, patches, dim))
    for _ in range(size.eye_layers):
        own = w.norm(x, dim)
        x = w.residual(x, w.attention(own, own, dim, dim, size.head_dim))
        x = w.residual(x, w.feed_forward(w.norm(x, dim), dim))
    return w.norm(x, dim)


def _decode(w: Writer, size: Size, eye: str) -> str:
    """(B, 64, dim): one query per step, which attends to the others and to picture, words, state and previous latents."""
    dim = size.dim
    words = w.op("Gather", w.weight(WORDS, dim), w.op("Mod", "tokens", w.constant(np.array(WORDS, np.int64))))
    state = w.op("Cast", w.op("Concat", "joints", "poses", axis=1), to=TensorProto.FLOAT16)
    state = w.op("Unsqueeze", w.linear(state, 48, dim), w.constant(np.array([1], np.int64)))
    turned = w.op("Transpose", "previous_latents", perm=[0, 2, 1, 3])
    before = w.op("Cast", w.op("Reshape", turned, w.constant(np.array([0, CHUNK, 64], np.int64))), to=TensorProto.FLOAT16)
    context = w.norm(w.op("Concat", w.linear(eye, size.eye_dim, dim), words, state, axis=1), dim)
    x = w.residual(w.linear(before, 64, dim), w.weight(1, CHUNK, dim))
    for _ in range(size.layers):
        own = w.norm(x, dim)
        x = w.residual(x, w.attention(own, own, dim, dim, size.head_dim))
        x = w.residual(x, w.attention(w.norm(x, dim), context, dim, dim, size.head_dim))
        x = w.residual(x, w.feed_forward(w.norm(x, dim), dim))
    return w.norm(x, dim)


def _require_room(size: Size, folder: Path) -> None:
    """The weights lie in two places on the disk; a processor holds them at 32 bit, and onnxruntime both for a while."""
    weights = 2 * (16 * size.layers * size.dim**2 + 12 * size.eye_layers * size.eye_dim**2 + WORDS * size.dim)
    disk, memory = shutil.disk_usage(folder).free, psutil.virtual_memory().available
    if disk < 2.2 * weights:
        raise DexError(f"{weights / 1e9:.1f} GB of weights twice need more than the {disk / 1e9:.1f} GB free in {folder}", code="no_room")
    if memory < 4.0 * weights:
        words = f"{weights / 1e9:.1f} GB of weights need {4 * weights / 1e9:.1f} GB of memory to load; {memory / 1e9:.1f} GB are free"
        raise DexError(words, code="no_room")


def _info(tensor: dict[str, Any]) -> onnx.ValueInfoProto:
    kinds = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int64": TensorProto.INT64}
    return helper.make_tensor_value_info(tensor["name"], kinds[tensor["dtype"]], list(tensor["shape"]))



