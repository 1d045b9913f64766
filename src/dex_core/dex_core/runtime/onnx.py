# SPDX-License-Identifier: Apache-2.0
"""One ONNX graph in onnxruntime, with its inputs and outputs checked at every call."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import onnxruntime as ort
from numpy.typing import NDArray

from dex_core.errors import BundleError
from dex_core.runtime.base import Described, GraphFailed, check_inputs, check_outputs
from dex_core.runtime.binding import BoundRun
from dex_core.runtime.providers import PROVIDERS, provider_chain
from dex_core.runtime.settings import Settings

if TYPE_CHECKING:
    from dex_core.bundle.manifest import Graph

PLAIN = Settings()


def open_session(what: str, model: bytes | str, settings: Settings) -> ort.InferenceSession:
    """A model file or its bytes, ready to run. ``what`` names it in errors.

    Raises:
        BundleError: ``graph_refused``, onnxruntime does not take it; ``provider_missing``, it took another provider.
    """
    try:
        # enable_fallback would print, and try once more with what was not asked for
        session = ort.InferenceSession(model, settings.session_options(), providers=provider_chain(settings), enable_fallback=0)
    except Exception as error:  # onnxruntime's errors share no base class of their own
        raise BundleError(f"{what}: onnxruntime refuses it: {error}", code="graph_refused") from error
    used = session.get_providers()[0]
    if used != PROVIDERS[settings.provider]:
        raise BundleError(f"{what}: provider {settings.provider!r} was asked for, onnxruntime took {used!r}", code="provider_missing")
    return session


class OnnxSession:
    """Runs one graph. Thread-safe as onnxruntime's own ``run`` is; one call at a time where its memory is bound.

    Attributes:
        name: graph name, e.g. ``left_inspire/decoder``.
        spec: its description in the manifest.
        settings: how it is run.
    """

    def __init__(self, name: str, spec: Graph, model: bytes | str, settings: Settings = PLAIN) -> None:
        self.name, self.spec, self.settings = name, spec, settings
        self._session = open_session(f"graph {name!r}", model, settings)
        self._outputs = [t.name for t in spec.outputs]
        try:
            sides = self._session.get_inputs(), self._session.get_outputs()
            self._described = tuple([(t.name, t.type, list(t.shape)) for t in side] for side in sides)
        except UnicodeDecodeError as error:
            raise BundleError(f"graph {name!r}: a tensor's name is no text: {error}", code="graph_refused") from error
        self._bound = BoundRun(self._session, self._outputs, "cpu" if settings.provider == "cpu" else "cuda") if settings.bound else None
        self._limit: ort.RunOptions | None = None

    @property
    def provider(self) -> str:
        """``cpu``, ``cuda`` or ``tensorrt``, the one really in use."""
        return self.settings.provider

    def described_inputs(self) -> Described:
        """(name, type, shape) of each input as the file itself declares it."""
        return list(self._described[0])

    def described_outputs(self) -> Described:
        """(name, type, shape) of each output as the file itself declares it."""
        return list(self._described[1])

    def run(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """One inference, checked before and after. Raises ShapeError, NonFiniteError, GraphFailed; BundleError ``too_slow`` past :meth:`limited`."""
        check_inputs(self.name, self.spec, inputs)
        try:
            if self._bound is not None:
                found = self._bound.run(inputs, self._limit)
            else:
                found = self._session.run(self._outputs, dict(inputs), self._limit)
        except Exception as error:  # onnxruntime's errors share no base class of their own
            if self._limit is not None and self._limit.terminate:
                raise BundleError(f"graph {self.name!r}: was stopped, it took too long", code="too_slow") from error
            raise GraphFailed(f"graph {self.name!r}: onnxruntime could not run it: {error}") from error
        outputs = dict(zip(self._outputs, found, strict=True))
        check_outputs(self.name, self.spec, outputs)
        return outputs

    @contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """Calls inside are stopped when they have taken so long together: a graph may hold a loop that never ends."""
        options = ort.RunOptions()
        timer = threading.Timer(seconds, setattr, (options, "terminate", True))
        timer.daemon = True
        before, self._limit = self._limit, options
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            self._limit = before

    def stamps_ns(self) -> Mapping[str, int]:
        """Nothing: it runs here."""
        return {}

    def close(self) -> None:
        """Nothing to let go of: onnxruntime frees a session that nobody holds."""
