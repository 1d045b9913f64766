# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import helper

from dex_core.bundle.manifest import Graph
from dex_core.bundle.testing import onnx_model
from dex_core.config.strict import build
from dex_core.runtime import OnnxSession, Settings

INPUTS = [{"name": "x", "dtype": "float32", "shape": ["B", 8]}]
OUTPUTS = [{"name": "y", "dtype": "float32", "shape": ["B", 4]}]
SPEC = build(Graph, {"file": "a.onnx", "golden": {"file": "a.npz"}, "inputs": INPUTS, "outputs": OUTPUTS, "dynamic": {"B": [1, 64]}}, "test")


@pytest.fixture(scope="session")
def model() -> bytes:
    """y = tanh(x W)."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Tanh", ["h"], ["y"])]
    return onnx_model(nodes, INPUTS, OUTPUTS, {"w": np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)})


@pytest.fixture()
def opened(model: bytes) -> Callable[..., OnnxSession]:
    return lambda **settings: OnnxSession("a", SPEC, model, Settings(**settings))
