# SPDX-License-Identifier: Apache-2.0
"""One graph of a bundle as a model of MLServer. Imported by MLServer alone, in its own environment; see docs/serving.md."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import numpy as np
from mlserver import MLModel
from mlserver.errors import InferenceError, MLServerError
from mlserver.logging import logger
from mlserver.types import InferenceRequest, InferenceResponse, MetadataModelResponse, MetadataTensor, Parameters, ResponseOutput
from mlserver.utils import get_model_uri
from numpy.typing import NDArray

from dex_core.bundle import Bundle, LoadOptions, load_bundle
from dex_core.bundle.probes import check_parity
from dex_core.errors import DexError
from dex_core.runtime import GraphFailed, Session, check_inputs
from dex_policy.remote.wire import DATATYPES, HASH_KEY, STAMP_KEYS, as_array, declared

RETRY_S = 5.0
"""How often a model that failed is tried on its golden cases, until they pass."""

_bundles: dict[tuple[str, ...], Bundle] = {}
_loading = threading.Lock()


def _load(folder: str, pinned: str, provider: str, threads: int) -> Bundle:
    """A verified bundle; all its graphs share one."""
    key = (folder, pinned, provider, str(threads))
    with _loading:
        if key not in _bundles:
            _bundles[key] = load_bundle(folder, LoadOptions(provider=provider, threads=threads, pinned_hash=pinned))
        return _bundles[key]


class DexRuntime(MLModel):
    """A graph of a bundle: verified as a cell would verify it, one inference at a time, never on the thread that answers health.

    Of a bundle that is refused the model stays there, unready. What raises anything but a refusal of its input (out of memory, device lost)
    is answered by an error; the model is unready until its golden cases pass again. The service goes on.

    ``parameters`` of its settings: ``uri``, the bundle's folder, and ``extra``: graph, bundle_hash, provider, threads.
    """

    _session: Session
    _bundle: Bundle | None = None
    _recovery: asyncio.Task[None] | None = None

    async def load(self) -> bool:
        """Loads the bundle; False, with the reason in the log, when a check refuses it."""
        parameters = self.settings.parameters
        assert parameters is not None and parameters.extra is not None  # written by repository.py
        extra: dict[str, Any] = parameters.extra
        self._turn = asyncio.Lock()
        try:
            folder = await get_model_uri(self.settings)
            self._bundle = await asyncio.to_thread(_load, folder, extra[HASH_KEY], extra["provider"], int(extra["threads"]))
        except DexError as error:
            logger.error("%s: refused [%s]: %s", self.name, error.code, error)
            return False
        except Exception as error:  # noqa: BLE001 - a bundle that cannot be loaded must not end the service of the others
            logger.error("%s: not loaded: %r", self.name, error)
            return False
        self._session = self._bundle.sessions[extra["graph"]]
        spec = self._session.spec
        self.inputs, self.outputs = ([MetadataTensor(**declared(t)._asdict()) for t in side] for side in (spec.inputs, spec.outputs))
        return True

    async def unload(self) -> bool:
        """Stops trying."""
        if self._recovery is not None:
            self._recovery.cancel()
        return True

    async def metadata(self) -> MetadataModelResponse:
        """As MLServer's, with the hash of the bundle."""
        found = await super().metadata()
        found.parameters = Parameters(**{HASH_KEY: self._bundle.hash if self._bundle else ""})
        return found

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One inference."""
        stamps = [time.time_ns()]
        inputs = self._inputs(payload)
        async with self._turn:
            stamps.append(time.time_ns())
            outputs = await self._run(inputs)
            stamps.append(time.time_ns())
        results = [
            ResponseOutput(name=name, shape=list(value.shape), datatype=DATATYPES[value.dtype.name], data=value.ravel().tolist())
            for name, value in outputs.items()
        ]
        assert self._bundle is not None  # ready
        told = {HASH_KEY: self._bundle.hash, **dict(zip(STAMP_KEYS, [*stamps, time.time_ns()], strict=True))}
        return InferenceResponse(model_name=self.name, model_version=self.version, id=payload.id, outputs=results, parameters=Parameters(**told))

    def _inputs(self, payload: InferenceRequest) -> dict[str, NDArray]:
        spec, found = self._session.spec, {}
        try:
            for given in payload.inputs:
                tensor = spec.input(given.name)
                if tensor is None or str(given.datatype) != DATATYPES[tensor.dtype]:
                    raise InferenceError(f"input {given.name!r} of {given.datatype}; expected {[declared(t) for t in spec.inputs]}")
                found[given.name] = as_array(f"input {given.name!r}", given.data.root, np.dtype(tensor.dtype), tuple(given.shape))
            check_inputs(self._session.name, spec, found)
        except DexError as error:
            raise InferenceError(str(error)) from error
        return found

    async def _run(self, inputs: dict[str, NDArray]) -> dict[str, NDArray]:
        try:
            return await asyncio.to_thread(self._session.run, inputs)
        except Exception as error:  # noqa: BLE001 - whatever else a model raises, its state is not known any more
            if isinstance(error, DexError) and not isinstance(error, GraphFailed):
                raise MLServerError(f"{self.name}: {error}", 500) from error
            self.ready = False
            logger.error("%s: failed, unready until its golden cases pass: %r", self.name, error)
            if self._recovery is None or self._recovery.done():
                self._recovery = asyncio.create_task(self._recover())
            raise MLServerError(f"{self.name}: the model failed: {error!r}"[:500], 500) from error

    async def _recover(self) -> None:
        assert self._bundle is not None
        golden = self._bundle.golden(self._session.name)
        while not self.ready:
            await asyncio.sleep(RETRY_S)
            try:
                async with self._turn:
                    await asyncio.to_thread(check_parity, self._session, golden)
            except Exception as error:  # noqa: BLE001 - as above: tried again
                logger.error("%s: still fails: %r", self.name, error)
                continue
            logger.info("%s: its golden cases pass, ready again", self.name)
            self.ready = True
