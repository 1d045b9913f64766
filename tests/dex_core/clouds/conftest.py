# SPDX-License-Identifier: Apache-2.0
"""Every test of this folder runs once with each engine."""
from __future__ import annotations

from types import ModuleType

import pytest

from dex_core.clouds import engine as engines
from dex_core.clouds import reference


@pytest.fixture(autouse=True, params=["numpy"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(engines, "current", lambda: reference)
    return reference
