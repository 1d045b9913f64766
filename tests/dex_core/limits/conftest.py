# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from dex_core.config import load_cell
from dex_core.limits import JointLimits


@pytest.fixture(scope="session")
def cell_limits() -> JointLimits:
    """All 26 joints of the bimanual cell."""
    return JointLimits.of_cell(load_cell("xarm_bimanual"))


@pytest.fixture(scope="session")
def pair() -> JointLimits:
    """Two joints with round numbers."""
    n = np.ones(2)
    return JointLimits(("a", "b"), -n, n, 2.0 * n, 10.0 * n, 0.5 * n)
