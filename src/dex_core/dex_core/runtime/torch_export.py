# SPDX-License-Identifier: Apache-2.0
"""A graph saved by torch.export, run by torch where torch is installed (requirements-learn.txt)."""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import BundleError
from dex_core.runtime.archive import check_archive, sample_inputs
from dex_core.runtime.base import Described, GraphFailed, check_inputs, check_outputs

if TYPE_CHECKING:
    from dex_core.bundle.manifest import Graph

SUFFIX = ".pt2"
_TYPES = {"torch.float32": "tensor(float)", "torch.uint8": "tensor(uint8)", "torch.int64": "tensor(int64)"}


def import_torch(what: str) -> ModuleType:
    """torch, imported when it is first needed. Raises BundleError ``provider_missing`` naming what to install."""
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError as error:
        text = "needs torch, which is not installed:  .venv/bin/pip install -r requirements-learn.txt"
        raise BundleError(f"{what}: a {SUFFIX} graph {text}", code="provider_missing") from error


def choose_torch_device(wanted: str, allowed: tuple[str, ...], what: str) -> str:
    """``cpu`` or ``cuda``; ``auto`` takes CUDA where it is. Raises BundleError ``provider_missing``, naming what this machine has."""
    here = ["cpu"] + (["cuda"] if import_torch(what).cuda.is_available() else [])
    usable = [name for name in here if name in allowed]
    if wanted == "auto" and usable:
        return usable[-1]
    if wanted not in usable:
        text = f"provider {wanted!r}: torch on this machine has {here}, the manifest allows {list(allowed)}"
        raise BundleError(f"{what}: {text}", code="provider_missing")
    return wanted


class TorchExportSession:
    """Runs one exported program. One call at a time.

    Args:
        blob: the file. Reading it may run what is in it: whoever makes a session has had its sha256 allowed by name.
        provider: ``cpu`` or ``cuda``. threads: of torch, for the whole process.

    Attributes:
        name, spec, provider: as :class:`dex_core.runtime.base.Session` says.
    """

    def __init__(self, name: str, spec: Graph, blob: bytes, provider: str = "cpu", threads: int = 1) -> None:
        self.name, self.spec, self.provider = name, spec, provider
        check_archive(blob, f"graph {name!r}")
        self._torch = import_torch(f"graph {name!r}")
        self._torch.set_num_threads(threads)
        try:
            pickled = sample_inputs(blob)
            if pickled:  # torch itself, where it finds more than tensors in them, goes on and runs what they say
                self._torch.load(io.BytesIO(pickled), weights_only=True)
            program = self._torch.export.load(io.BytesIO(blob))
            self._module = program.module().to(provider)
            self._inputs = [_described(program, argument) for argument in program.graph_signature.user_inputs]
            self._outputs = [_described(program, argument) for argument in program.graph_signature.user_outputs]
        except Exception as error:  # whatever torch finds wrong with a file
            raise BundleError(f"graph {name!r}: torch refuses it: {error}", code="graph_refused") from error

    def described_inputs(self) -> Described:
        """(name, type, shape) of each input as the program declares it."""
        return self._inputs

    def described_outputs(self) -> Described:
        """(name, type, shape) of each output; a program's outputs are counted, not named, so they get the manifest's names in order."""
        names = [t.name for t in self.spec.outputs]
        same = len(names) == len(self._outputs)
        return [(names[i] if same else name, dtype, shape) for i, (name, dtype, shape) in enumerate(self._outputs)]

    def run(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """One inference, checked before and after. Raises ShapeError or NonFiniteError; GraphFailed where torch fails."""
        check_inputs(self.name, self.spec, inputs)
        torch = self._torch
        try:
            with torch.no_grad():
                given = [torch.from_numpy(np.array(inputs[name])).to(self.provider) for name, _, _ in self._inputs]
                found = self._module(*given)
            found = found if isinstance(found, (tuple, list)) else (found,)
            outputs = {t.name: value.cpu().numpy() for t, value in zip(self.spec.outputs, found, strict=True)}
        except Exception as error:  # whatever torch raises from a kernel
            raise GraphFailed(f"graph {self.name!r}: torch could not run it: {error}") from error
        check_outputs(self.name, self.spec, outputs)
        return outputs

    def stamps_ns(self) -> Mapping[str, int]:
        """Nothing: it runs here."""
        return {}

    def close(self) -> None:
        """Nothing to let go of: torch frees a module that nobody holds."""


def _described(program: Any, name: str) -> tuple[str, str, list]:
    value = next(node for node in program.graph.nodes if node.name == name).meta["val"]
    shape = [length if isinstance(length, int) else str(length) for length in value.shape]
    return name, _TYPES.get(str(value.dtype), str(value.dtype)), shape
