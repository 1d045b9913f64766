# SPDX-License-Identifier: Apache-2.0
"""The contract of hands over every hand there is: ``pytest --pyargs dex_core.contracts.hand_suite [-k my_hand]``.

Published URDFs to compare with are looked for as ``<hand>_<side>.urdf`` in the folder DEX_HAND_REFERENCES.
"""
from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest

from dex_core.contracts.hand import HandCase, HandContract
from dex_core.contracts.hand_case import every_hand


@functools.cache  # one hand for all of its checks: to load it takes longer than most of them
def loaded(name: str, side: str) -> HandCase:
    """One hand of one side, with its published URDF where there is one."""
    folder = os.environ.get("DEX_HAND_REFERENCES")
    return HandCase(name, side, Path(folder) / f"{name}_{side}.urdf" if folder else None)


class TestEveryHand(HandContract):
    """Parametrised over hands and sides."""

    @pytest.fixture(params=every_hand(), ids="_".join)
    def case(self, request: pytest.FixtureRequest) -> HandCase:
        """One hand of one side."""
        return loaded(*request.param)
