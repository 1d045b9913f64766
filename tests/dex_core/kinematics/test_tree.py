# SPDX-License-Identifier: Apache-2.0
"""The kinematic tree: couplings of every form, locked joints, and the compiled kernel against Pinocchio."""
from __future__ import annotations

import ctypes

import numpy as np
import pytest

from dex_core.config import Coupling
from dex_core.errors import ConfigError, JointNameError
from dex_core.kinematics import RobotKinematics, load_arm, load_hand
from dex_core.kinematics.kernel import kernel, tree_struct
from dex_core.kinematics.tree import KinematicTree, four_bar_angle

ABILITY_BAR = np.array([1.0, 38.6104e-3, 36.875e-3, 9.1241e-3, 9.47966e-3, -0.62133e-3, 0.084474, 0.0])
ABILITY_TABLE = {0.0: 0.71101, 30.0: 1.27581, 60.0: 1.87288, 90.0: 2.38589, 100.0: 2.54874}


def joint(name: str, parent: str, child: str, kind: str = "revolute", mimic: str = "", xyz: str = "0.03 0.01 0", axis: str = "0 0 1") -> str:
    tag = f'<mimic joint="{mimic.split()[0]}" multiplier="{mimic.split()[1]}" offset="{mimic.split()[2]}"/>' if mimic else ""
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/><origin xyz="{xyz}" rpy="0.1 -0.2 0.3"/>'
        f'<axis xyz="{axis}"/><limit lower="-1" upper="1" effort="1" velocity="1"/>{tag}</joint>'
    )


def robot(*joints: str) -> str:
    links = "".join(f'<link name="{name}"/>' for name in ("base", "a", "b", "c", "d"))
    return f'<robot name="test">{links}{"".join(joints)}</robot>'


# b follows a; c follows b (a coupling of a coupling); d, in another branch, follows a, which is not above it; c's slide is prismatic
BRANCHED = robot(
    joint("ja", "base", "a"), joint("jb", "a", "b", mimic="ja 0.5 0.1"), joint("jc", "b", "c", "prismatic", "jb 0.02 0.003", axis="1 0 0"),
    joint("jd", "base", "d", mimic="ja -0.7 0.2", xyz="0 0.05 0"),
)


def compiled_points(tree: KinematicTree, q: np.ndarray, links: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    library = kernel()
    if library is None:
        pytest.skip("needs a C compiler")
    struct, kept = tree_struct(tree)
    places = [tree.place(link) for link in links]
    joints = np.array([p.joint for p in places], dtype=np.int32)
    locals_m = np.array([p.position_m for p in places])
    points, jacobians = np.zeros((len(links), 3)), np.zeros((len(links), 3, len(q)))
    q = np.ascontiguousarray(q, dtype=float)
    address = [ctypes.c_void_p(a.ctypes.data) for a in (q, joints, locals_m, points, jacobians)]
    library.dex_points(ctypes.byref(struct), address[0], len(links), *address[1:])
    assert kept
    return points, jacobians


@pytest.mark.parametrize("degrees", ABILITY_TABLE)
def test_four_bar_gives_the_published_table(degrees: float) -> None:
    driven, _slope = four_bar_angle(ABILITY_BAR, np.radians(degrees))
    assert driven == pytest.approx(ABILITY_TABLE[degrees], abs=1e-5)


def test_four_bar_slope_is_its_derivative() -> None:
    for crank in np.linspace(0.0, 1.7, 30):
        slope = four_bar_angle(ABILITY_BAR, crank)[1]
        ahead, behind = (four_bar_angle(ABILITY_BAR, crank + h)[0] for h in (1e-6, -1e-6))
        assert slope == pytest.approx((ahead - behind) / 2e-6, abs=1e-6)


@pytest.mark.parametrize("name", ("", "bar"))
def test_kernel_equals_pinocchio_for_every_coupling(name: str) -> None:
    bar = {"jb": Coupling("ja", four_bar_m=tuple(ABILITY_BAR[1:6]), offset_rad=0.084474), "jc": Coupling("ja", 0.01)} if name else None
    kinematics = RobotKinematics(BRANCHED, ("ja",), bar)
    links = ("a", "b", "c", "d", "base")
    for q in np.linspace(-0.2, 1.0, 7):
        points, jacobians = compiled_points(kinematics.tree, np.array([q]), links)
        assert np.allclose(points, kinematics.positions([q], links), atol=1e-12)
        assert np.allclose(jacobians, [kinematics.jacobian([q], link)[:3] for link in links], atol=1e-12)
        step = 1e-6
        numeric = (kinematics.positions([q + step], links) - kinematics.positions([q - step], links)) / (2 * step)
        assert np.allclose(jacobians[:, :, 0], numeric, atol=1e-8)


def test_coupling_of_a_coupling_multiplies_through() -> None:
    tree = KinematicTree(BRANCHED, ("ja",))
    position, gain = tree.expand(np.array([0.4]))
    assert position[tree.joints.index("jc")] == pytest.approx(0.02 * (0.5 * 0.4 + 0.1) + 0.003)
    assert gain[tree.joints.index("jd")] == pytest.approx(-0.7)


def test_a_locked_joint_is_in_no_column_and_stands_where_it_was_told() -> None:
    text = robot(joint("ja", "base", "a"), joint("jb", "a", "b"), joint("jc", "b", "c", "prismatic")).replace('<link name="d"/>', "")
    whole, locked = RobotKinematics(text, ("ja", "jb", "jc")), RobotKinematics(text, ("jb",), locked_rad={"ja": 0.7, "jc": 0.02})
    assert np.allclose(locked.pose([0.3], "c"), whole.pose([0.7, 0.3, 0.02], "c"))
    points, jacobians = compiled_points(locked.tree, np.array([0.3]), ("c",))
    assert np.allclose(points, whole.positions([0.7, 0.3, 0.02], ("c",)))
    assert np.allclose(jacobians[0], whole.jacobian([0.7, 0.3, 0.02], "c")[:3, 1:2])


@pytest.mark.parametrize("side", ("left", "right"))
def test_kernel_equals_pinocchio_for_a_real_hand(side: str) -> None:
    hand = load_hand("inspire", side)
    rng = np.random.default_rng(3)
    for _ in range(20):
        q = rng.uniform(hand.lower_rad, hand.upper_rad)
        points, jacobians = compiled_points(hand.tree, q, hand.tips)
        assert np.allclose(points, hand.fingertips(q), atol=1e-12)
        assert np.allclose(jacobians, hand.fingertip_jacobian(q), atol=1e-12)


def test_columns_of_a_link_are_the_joints_that_move_it() -> None:
    hand = load_hand("inspire", "right")
    assert [hand.names[c] for c in hand.tree.columns_of("index_tip")] == ["index_proximal_joint"]
    assert hand.tree.columns_of(hand.tree.root) == ()


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(JointNameError, match="ja"):
        KinematicTree(BRANCHED, ("jb",))
    with pytest.raises(ConfigError, match="circle"):
        KinematicTree(robot(joint("ja", "base", "a"), joint("jb", "a", "b", mimic="jc 1 0"), joint("jc", "b", "c", mimic="jb 1 0")), ("ja",))
    with pytest.raises(ConfigError, match="follows 'nobody'"):
        KinematicTree(robot(joint("ja", "base", "a"), joint("jb", "a", "b", mimic="nobody 1 0")), ("ja",))
    with pytest.raises(ConfigError, match="no side 'middle'"):
        load_hand("inspire", "middle")
    with pytest.raises(ConfigError, match="no coupling 'rubber'"):
        load_hand("inspire", "left", coupling="rubber")
    with pytest.raises(ConfigError, match="it has one arm"):
        load_arm("xarm7", "left")
    with pytest.raises(ConfigError, match="kind 'arm'"):
        load_hand("xarm7", "left")
