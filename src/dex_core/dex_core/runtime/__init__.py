# SPDX-License-Identifier: Apache-2.0
"""What runs an exported graph: one protocol, one file for each runtime."""

from dex_core.runtime.base import GraphFailed, OpenSession, Session, check_inputs, check_outputs, run_rows
from dex_core.runtime.onnx import OnnxSession, open_session
from dex_core.runtime.providers import PROVIDERS, choose_provider, provider_chain
from dex_core.runtime.settings import Settings
from dex_core.runtime.tuning import LARGEST_BYTES, Tuning, tune

__all__ = [
    "LARGEST_BYTES",
    "PROVIDERS",
    "GraphFailed",
    "OnnxSession",
    "OpenSession",
    "Session",
    "Settings",
    "Tuning",
    "check_inputs",
    "check_outputs",
    "choose_provider",
    "open_session",
    "provider_chain",
    "run_rows",
    "tune",
]
