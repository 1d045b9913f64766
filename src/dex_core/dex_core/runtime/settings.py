# SPDX-License-Identifier: Apache-2.0
"""How onnxruntime runs a graph."""

from __future__ import annotations

from dataclasses import dataclass

import onnxruntime as ort

from dex_core.config.strict import bounded, choice

OPTIMISATIONS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


@dataclass(frozen=True)
class Settings:
    """Of one session.

    Attributes:
        provider: ``cpu``, ``cuda`` or ``tensorrt``. threads: of one operator.
        optimisation: how far the graph is rewritten before it runs; levels differ in the last bits of what comes out.
        bound: inputs and outputs lie in memory that onnxruntime was given once for each set of shapes.
        engine_cache: folder TensorRT keeps its engines in; empty: they are built at each start.
        fp16: TensorRT may compute at 16 bit.
    """

    provider: str = choice("cpu", "cuda", "tensorrt", default="cpu")
    threads: int = bounded(1, 64, default=1)
    optimisation: str = choice(*OPTIMISATIONS, default="all")
    bound: bool = False
    engine_cache: str = ""
    fp16: bool = False

    @property
    def words(self) -> str:
        """In few words, for a report."""
        parts = [self.provider, f"{self.threads} thread(s)"]
        parts += [f"optimisation {self.optimisation}"] if self.optimisation != "all" else []
        return ", ".join(parts + ["bound memory"] * self.bound + ["16 bit"] * self.fp16)

    def session_options(self) -> ort.SessionOptions:
        """What onnxruntime is told; threads that wait do not spin, they would take the cores of the control loop. Errors are raised, not printed."""
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = self.threads, 1, 4
        options.graph_optimization_level = OPTIMISATIONS[self.optimisation]
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options
