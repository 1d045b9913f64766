# SPDX-License-Identifier: Apache-2.0
"""What a cell asks of the model bundles it loads."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dex_core.config.strict import bounded
from dex_core.errors import ConfigError

_HEX64 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class BundleRules:
    """Trust, memory and speed.

    Attributes:
        trusted_keys: Ed25519 public keys, 64 hexadecimal digits each; where any is given, a bundle must be signed by one of them.
        allow_pickle: sha256 of torch.export files that may be read; they can carry pickled parts, so each is named by its content.
        allow_noncommercial, allow_unlicensed: licences that are accepted.
        memory_mb: what the process may hold resident once a bundle is loaded; 0: whatever the machine has.
        tune: settings of onnxruntime are chosen by measuring at load, within the threads allowed; no number that comes out changes by it
            unless the bundle says that it is not deterministic.
        engine_cache: folder TensorRT keeps its engines in, those of each bundle in one of its own; empty: built anew at each start.
        fp16: TensorRT may compute at 16 bit, as far as the golden cases bear it.
    """

    trusted_keys: tuple[str, ...] = ()
    allow_pickle: tuple[str, ...] = ()
    allow_noncommercial: bool = True
    allow_unlicensed: bool = False
    memory_mb: int = bounded(0, 1 << 24, default=0)
    tune: bool = True
    engine_cache: str = ""
    fp16: bool = False

    def __post_init__(self) -> None:
        for name in ("trusted_keys", "allow_pickle"):
            for value in getattr(self, name):
                if not _HEX64.fullmatch(value):
                    raise ConfigError(f"{name} holds {value!r}; expected 64 lower-case hexadecimal digits")
