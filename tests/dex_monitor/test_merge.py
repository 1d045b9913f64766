# SPDX-License-Identifier: Apache-2.0
"""Joint states put together: by name, fresh ones only."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.clock import NS
from dex_core.config import CellConfig, load_cell
from dex_core.errors import ConfigError, JointNameError
from dex_core.types import JointState
from dex_monitor.merge import StateMerger


@pytest.fixture(scope="module")
def cell() -> CellConfig:
    return load_cell("xarm_bimanual")


def state(names: tuple[str, ...], stamp_ns: int = 5) -> JointState:
    n = len(names)
    return JointState(names, np.arange(n) * 0.1, np.zeros(n), np.full(n, np.nan), stamp_ns)


def test_only_fresh_interfaces_are_merged_in_the_cells_order(cell: CellConfig) -> None:
    merger = StateMerger(cell, max_age_s=0.5)
    assert merger.merged(0) is None and len(merger.missing(0)) == 4
    merger.put("right_arm", state(cell.interface("right_arm").names, 7), 0)
    merger.put("left_hand", state(cell.interface("left_hand").names, 5), NS)
    merged = merger.merged(NS // 4)
    assert merged is not None and merged.names == cell.interface("right_arm").names + cell.interface("left_hand").names
    assert merged.stamp_ns == 5
    late = merger.merged(NS)
    assert late is not None and late.names == cell.interface("left_hand").names
    assert merger.missing(NS) == ("left_arm", "right_arm", "right_hand")


def test_joints_in_another_order_are_mapped_by_name(cell: CellConfig) -> None:
    merger = StateMerger(cell)
    names = cell.interface("left_arm").names
    merger.put("left_arm", state(names[::-1]), 0)
    merged = merger.merged(0)
    assert merged is not None and merged.names == names and np.allclose(merged.position_rad, np.arange(7)[::-1] * 0.1)


def test_wrong_joints_are_refused(cell: CellConfig) -> None:
    merger = StateMerger(cell)
    with pytest.raises(JointNameError):
        merger.put("left_arm", state(cell.interface("right_arm").names), 0)
    with pytest.raises(ConfigError, match="left_arm"):
        merger.put("head", state(("a",)), 0)
