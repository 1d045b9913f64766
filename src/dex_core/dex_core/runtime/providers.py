# SPDX-License-Identifier: Apache-2.0
"""What onnxruntime may compute with."""

from __future__ import annotations

from typing import Any

import onnxruntime as ort

from dex_core.errors import BundleError
from dex_core.runtime.settings import Settings

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
TENSORRT_WORKSPACE_BYTES = 2 << 30


def choose_provider(wanted: str, allowed: tuple[str, ...]) -> str:
    """The provider to serve with: ``cpu``, ``cuda`` or ``tensorrt``.

    Args:
        wanted: ``auto`` (CUDA where it is, else CPU; TensorRT only by name, as it builds engines for minutes), or one by name.
        allowed: what the manifest allows.

    Raises:
        BundleError: ``provider_missing``, naming what this machine has.
    """
    here = [name for name, provider in PROVIDERS.items() if provider in ort.get_available_providers()]
    usable = [name for name in here if name in allowed]
    if wanted == "auto":
        for name in ("cuda", "cpu"):
            if name in usable:
                return name
    if wanted not in usable:
        raise BundleError(f"provider {wanted!r}: this machine has {here}, the manifest allows {list(allowed)}", code="provider_missing")
    return wanted


def provider_chain(settings: Settings) -> list[tuple[str, dict[str, Any]]]:
    """Providers with their options, first choice first; what TensorRT cannot do is done by CUDA, what CUDA cannot do by the CPU.

    Options as onnxruntime's documentation of its TensorRT and CUDA execution providers names them.
    """
    cpu: tuple[str, dict[str, Any]] = (PROVIDERS["cpu"], {})
    if settings.provider == "cpu":
        return [cpu]
    # "EXHAUSTIVE" would try convolution algorithms anew at each start, and pick others from run to run
    cuda = (PROVIDERS["cuda"], {"device_id": 0, "cudnn_conv_algo_search": "HEURISTIC", "do_copy_in_default_stream": True})
    if settings.provider == "cuda":
        return [cuda, cpu]
    engine: dict[str, Any] = {"device_id": 0, "trt_max_workspace_size": TENSORRT_WORKSPACE_BYTES, "trt_fp16_enable": settings.fp16}
    if settings.engine_cache:
        engine |= {
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": settings.engine_cache,
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": settings.engine_cache,
        }
    return [(PROVIDERS["tensorrt"], engine), cuda, cpu]
