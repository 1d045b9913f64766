# SPDX-License-Identifier: Apache-2.0
"""Who does the work: the compiled kernel, or NumPy where there is none."""

from __future__ import annotations

import ctypes
import functools
from types import ModuleType

from dex_core.clouds import reference
from dex_core.clouds.compiled import Compiled
from dex_core.native import CLOUDS


@functools.cache
def current() -> Compiled | ModuleType:
    """The engine in use; ``DEX_KERNEL=numpy`` asks for NumPy."""
    library = CLOUDS.load(ctypes.CDLL)
    return reference if library is None else Compiled(library)
