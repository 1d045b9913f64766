# SPDX-License-Identifier: Apache-2.0
"""What onnxruntime may compute with."""

from __future__ import annotations

import onnxruntime as ort

from dex_core.errors import BundleError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def choose_provider(wanted: str, allowed: tuple[str, ...]) -> str:
    """The provider to serve with: ``cpu`` or ``cuda``.

    Args:
        wanted: ``auto`` (CUDA where it is, else CPU), ``cpu`` or ``cuda``.
        allowed: what the manifest allows.

    Raises:
        BundleError: ``provider_missing``, naming what this machine has.
    """
    here = [name for name, provider in PROVIDERS.items() if provider in ort.get_available_providers()]
    usable = [name for name in here if name in allowed]
    if wanted == "auto" and usable:
        return "cuda" if "cuda" in usable else usable[0]
    if wanted not in usable:
        raise BundleError(f"provider {wanted!r}: this machine has {here}, the manifest allows {list(allowed)}", code="provider_missing")
    return wanted
