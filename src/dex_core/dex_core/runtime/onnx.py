# SPDX-License-Identifier: Apache-2.0
"""One ONNX graph in onnxruntime, with its inputs and outputs checked at every call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import onnxruntime as ort
from numpy.typing import NDArray

from dex_core.errors import BundleError
from dex_core.runtime.base import Described, check_inputs, check_outputs
from dex_core.runtime.providers import PROVIDERS

if TYPE_CHECKING:
    from dex_core.bundle.manifest import Graph


def open_session(what: str, model: bytes | str, provider: str, threads: int) -> ort.InferenceSession:
    """A model file or its bytes, ready to run.

    Args:
        what: names it in errors. provider: ``cpu`` or ``cuda``. threads: of one operator.

    Raises:
        BundleError: ``graph_refused``, onnxruntime does not take it; ``provider_missing``, it took another provider.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(model, options, providers=[PROVIDERS[provider]])
    except Exception as error:  # onnxruntime's errors share no base class of their own
        raise BundleError(f"{what}: onnxruntime refuses it: {error}", code="graph_refused") from error
    used = session.get_providers()[0]
    if used != PROVIDERS[provider]:
        raise BundleError(f"{what}: provider {provider!r} was asked for, onnxruntime took {used!r}", code="provider_missing")
    return session


class OnnxSession:
    """Runs one graph. Thread-safe as onnxruntime's own ``run`` is.

    Attributes:
        name: graph name, e.g. ``left_inspire/decoder``.
        spec: its description in the manifest.
        provider: ``cpu`` or ``cuda``, the one really in use.
    """

    def __init__(self, name: str, spec: Graph, model: bytes | str, provider: str = "cpu", threads: int = 1) -> None:
        self._session = open_session(f"graph {name!r}", model, provider, threads)
        self.name, self.spec, self.provider = name, spec, provider
        self._output_names = [t.name for t in spec.outputs]

    def described_inputs(self) -> Described:
        """(name, type, shape) of each input as the file itself declares it."""
        return [(t.name, t.type, list(t.shape)) for t in self._session.get_inputs()]

    def described_outputs(self) -> Described:
        """(name, type, shape) of each output as the file itself declares it."""
        return [(t.name, t.type, list(t.shape)) for t in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """One inference, checked before and after. Raises ShapeError or NonFiniteError."""
        check_inputs(self.name, self.spec, inputs)
        outputs = dict(zip(self._output_names, self._session.run(self._output_names, dict(inputs)), strict=False))
        check_outputs(self.name, outputs)
        return outputs

    def stamps_ns(self) -> Mapping[str, int]:
        """Nothing: it runs here."""
        return {}

    def close(self) -> None:
        """Nothing to let go of: onnxruntime frees a session that nobody holds."""
