# SPDX-License-Identifier: Apache-2.0
"""Kinematics by name: order, couplings, Jacobians against finite differences."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.config import load_robot
from dex_core.errors import ConfigError, JointNameError, NonFiniteError, ShapeError
from dex_core.kinematics import ArmKinematics, HandKinematics, RobotKinematics
from dex_description import read_urdf

HANDS = {side: HandKinematics(load_robot("inspire"), read_urdf(f"urdf/hands/inspire_{side}.urdf")) for side in ("left", "right")}
ARM = ArmKinematics(load_robot("xarm7"), read_urdf("urdf/arms/xarm7.urdf"))
unit = st.floats(0.0, 1.0)


def inside(kinematics: RobotKinematics, shares: list[float]) -> np.ndarray:
    return kinematics.lower_rad + np.array(shares) * (kinematics.upper_rad - kinematics.lower_rad)


def differences(function, q: np.ndarray, step: float = 1e-6) -> np.ndarray:  # noqa: ANN001
    columns = [(function(q + d) - function(q - d)) / (2.0 * step) for d in step * np.eye(len(q))]
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("side", HANDS)
@given(shares=st.lists(unit, min_size=6, max_size=6))
def test_fingertip_jacobian_is_the_derivative(side: str, shares: list[float]) -> None:
    hand = HANDS[side]
    q = inside(hand, shares)
    assert np.allclose(hand.fingertip_jacobian(q), differences(hand.fingertips, q), atol=1e-7)


@given(shares=st.lists(unit, min_size=7, max_size=7))
def test_flange_jacobian_is_the_derivative(shares: list[float]) -> None:
    q = inside(ARM, shares)
    linear = differences(lambda p: ARM.flange_pose(p)[:3, 3], q)
    assert np.allclose(ARM.flange_jacobian(q)[:3], linear, atol=1e-6)


def test_order_of_names_is_the_callers() -> None:
    hand, text = load_robot("inspire"), read_urdf("urdf/hands/inspire_right.urdf")
    turned = RobotKinematics(text, tuple(reversed(hand.actuated)))
    q = np.linspace(0.05, 0.55, 6)
    assert np.allclose(turned.positions(q[::-1], HANDS["right"].tips), HANDS["right"].fingertips(q))


@given(shares=st.lists(unit, min_size=6, max_size=6))
def test_each_finger_moves_with_its_own_joints_only(shares: list[float]) -> None:
    hand, robot = HANDS["left"], load_robot("inspire")
    jacobian = hand.fingertip_jacobian(inside(hand, shares))
    for row, finger in enumerate(hand.fingers):
        for column, joint in enumerate(hand.names):
            moves = np.abs(jacobian[row, :, column]).max() > 1e-12
            assert moves == (joint in robot.fingers[finger].joints)


def test_errors_name_the_culprit() -> None:
    text = read_urdf("urdf/arms/xarm7.urdf")
    with pytest.raises(JointNameError, match="missing \\['joint7'\\]; unknown \\['joint8'\\]"):
        RobotKinematics(text, ("joint1", "joint2", "joint3", "joint4", "joint5", "joint6", "joint8"))
    with pytest.raises(ConfigError, match="no frame 'hand'; it has .*link_eef"):
        ARM.pose(np.zeros(7), "hand")
    with pytest.raises(ShapeError, match="joint positions"):
        ARM.flange_pose(np.zeros(6))
    with pytest.raises(NonFiniteError, match="index \\(2,\\)"):
        ARM.flange_pose([0.0, 0.0, np.nan, 0.0, 0.0, 0.0, 0.0])
    with pytest.raises(ConfigError, match="the URDF"):
        RobotKinematics("<robot/>", ())


def test_limits_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        ARM.lower_rad[0] = 0.0
    assert np.array_equal(ARM.clip(np.full(7, 100.0)), ARM.upper_rad)
