# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

import dex_core.limits as limits_package
from dex_core.config import load_cell
from dex_core.errors import LimitError, NonFiniteError
from dex_core.limits import JointLimits


def test_every_name_of_the_list_is_there():
    assert all(hasattr(limits_package, name) for name in limits_package.__all__)


def test_cell_order_is_interface_by_interface(cell_limits):
    cell = load_cell("xarm_bimanual")
    assert cell_limits.names == cell.joint_names and len(cell_limits.names) == 26
    hand = JointLimits.of_interface(cell.interface("right_hand"))
    np.testing.assert_array_equal(cell_limits.upper_rad[20:], hand.upper_rad)


def test_arrays_are_read_only(pair):
    with pytest.raises(ValueError):
        pair.upper_rad[0] = 9.0


@pytest.mark.parametrize("key, value, error", [
    ("upper_rad", [-1.0, 1.0], LimitError), ("velocity_rad_s", [1.0, 0.0], LimitError), ("step_rad", [-1.0, 1.0], LimitError),
    ("acceleration_rad_s2", [np.nan, 1.0], NonFiniteError), ("lower_rad", [-np.inf, -1.0], NonFiniteError),
])
def test_impossible_limits_are_refused(pair, key, value, error):
    numbers = {k: getattr(pair, k) for k in ("lower_rad", "upper_rad", "velocity_rad_s", "acceleration_rad_s2", "step_rad")}
    with pytest.raises(error):
        JointLimits(pair.names, **{**numbers, key: value})


def test_clip(pair):
    np.testing.assert_array_equal(pair.clip(np.array([3.0, -0.5])), [1.0, -0.5])
