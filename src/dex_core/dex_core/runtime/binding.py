# SPDX-License-Identifier: Apache-2.0
"""A session that runs in memory it was given once: nothing is allocated per call, and on a GPU inputs are copied to where they are used."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

MAX_SHAPES = 8
"""Sets of input shapes whose memory is kept; the one longest unused goes."""
Key = tuple[tuple[str, tuple[int, ...]], ...]


class _Held:
    """Binding, inputs and outputs of one set of shapes."""

    def __init__(self, session: ort.InferenceSession, device: str, inputs: Mapping[str, NDArray], outputs: Mapping[str, NDArray]) -> None:
        self.binding = session.io_binding()
        self.inputs = {k: ort.OrtValue.ortvalue_from_shape_and_type(v.shape, v.dtype.type, device, 0) for k, v in inputs.items()}
        self.outputs = {k: ort.OrtValue.ortvalue_from_shape_and_type(v.shape, v.dtype.type, device, 0) for k, v in outputs.items()}
        for name, value in self.inputs.items():
            self.binding.bind_ortvalue_input(name, value)
        for name, value in self.outputs.items():
            self.binding.bind_ortvalue_output(name, value)


class BoundRun:
    """One call at a time; any thread. What is returned belongs to the caller."""

    def __init__(self, session: ort.InferenceSession, outputs: Sequence[str], device: str) -> None:
        self._session, self._names, self._device = session, list(outputs), device
        self._held: OrderedDict[Key, _Held] = OrderedDict()
        self._lock = threading.Lock()

    def run(self, inputs: Mapping[str, NDArray], options: ort.RunOptions | None = None) -> list[NDArray]:
        """Outputs in order. The first call with new shapes runs unbound, to learn the shapes of the outputs."""
        key = tuple((name, inputs[name].shape) for name in sorted(inputs))
        with self._lock:
            held = self._held.get(key)
            if held is None:
                found = self._session.run(self._names, dict(inputs), options)
                if all(isinstance(v, np.ndarray) and v.size for v in found):
                    self._held[key] = _Held(self._session, self._device, inputs, dict(zip(self._names, found, strict=True)))
                    if len(self._held) > MAX_SHAPES:
                        self._held.popitem(last=False)
                return found
            self._held.move_to_end(key)
            for name, value in inputs.items():
                held.inputs[name].update_inplace(np.ascontiguousarray(value))
            self._session.run_with_iobinding(held.binding, options)
            return [np.array(held.outputs[name].numpy()) for name in self._names]  # on the CPU, numpy() is a view of the kept memory
