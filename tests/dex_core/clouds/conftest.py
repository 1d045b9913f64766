# SPDX-License-Identifier: Apache-2.0
"""Every test of this folder runs once with each engine."""
from __future__ import annotations

import ctypes
from types import ModuleType

import pytest

from dex_core.clouds import engine as engines
from dex_core.clouds import reference
from dex_core.clouds.compiled import Compiled
from dex_core.native import CLOUDS, compiler


@pytest.fixture(scope="session")
def compiled() -> Compiled:
    if compiler() is None:
        pytest.skip("needs a C compiler")
    return Compiled(ctypes.CDLL(str(CLOUDS.ensure_built())))


@pytest.fixture(autouse=True, params=["numpy", "c"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Compiled | ModuleType:
    chosen = reference if request.param == "numpy" else request.getfixturevalue("compiled")
    monkeypatch.setattr(engines, "current", lambda: chosen)
    return chosen
