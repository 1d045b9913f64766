# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dex_core.config import load_cell
from dex_core.decode import ArmInWorld, MountedHand, PoseDecoder, poses_from_columns, tool_pose_columns, tool_poses_from_columns
from dex_core.decode.pose import STEP_SHARE, STIFFNESS, TOLERANCE_M, TOLERANCE_RAD, elbow_stiffness
from dex_core.errors import ConfigError, DexError, NonFiniteError, ShapeError
from dex_sim.toolpose import GraspArm

CELL = load_cell("xarm_bimanual")
SIDES = ("left", "right")
REACH = ([-0.15, -0.25, -0.10, -1.0], [0.20, 0.25, 0.10, 1.0])


def make(side: str, hand: MountedHand | None = None) -> PoseDecoder:
    return PoseDecoder(ArmInWorld(CELL, side), hand or MountedHand.of_cell(CELL, side), CELL.interface(f"{side}_arm").home)


DECODERS = {side: make(side) for side in SIDES}
TOOLS = {side: GraspArm(CELL, side) for side in SIDES}


def track(side: str, goal: np.ndarray, steps: int = 64) -> np.ndarray:
    s = np.linspace(0.0, 1.0, steps)[:, None]
    return TOOLS[side].home + (goal - TOOLS[side].home) * s * s * (3.0 - 2.0 * s)


def angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.arccos(np.clip((np.trace(a[:3, :3].T @ b[:3, :3]) - 1.0) / 2.0, -1.0, 1.0)))


@pytest.mark.parametrize("side", SIDES)
def test_agrees_with_the_closed_form_of_an_upright_hand(side: str) -> None:
    decoder, tool, rng = DECODERS[side], TOOLS[side], np.random.default_rng(1)
    for _ in range(20):
        wanted = track(side, tool.home + rng.uniform(*REACH))
        solved = decoder.decode(tool_pose_columns(wanted), CELL.interface(f"{side}_arm").home)
        assert solved.feasible.all() and solved.residual_m.max() < 1e-5
        closed = tool.joints(wanted)
        for q, reference, columns in zip(solved.position_rad, closed, tool_pose_columns(wanted), strict=True):
            reached, expected = (decoder.arm.grasp_pose(x, decoder.hand) for x in (q, reference))
            assert np.linalg.norm(reached[:3, 3] - expected[:3, 3]) < 1e-3 and angle(reached, expected) < np.radians(0.1)
            np.testing.assert_allclose(reached, poses_from_columns(columns), atol=1e-4)
        assert np.abs(solved.position_rad[:, [2, 4]]).max() < 0.02, "the elbow stays in the plane"
        np.testing.assert_allclose(solved.position_rad, closed, atol=0.08)


@pytest.mark.parametrize("side", SIDES)
def test_does_not_wander_over_many_chunks_and_finds_back(side: str) -> None:
    decoder, tool, rng = DECODERS[side], TOOLS[side], np.random.default_rng(2)
    q = np.array(CELL.interface(f"{side}_arm").home)
    for _ in range(60):  # a second of motion each, then the next chunk from wherever the arm is
        here = tool_poses_from_columns(decoder.columns(q))
        goal = tool.home + rng.uniform(*REACH)
        s = np.linspace(0.0, 1.0, 64)[:, None]
        solved = decoder.decode(tool_pose_columns(here + (goal - here) * s), q)
        assert solved.feasible.all()
        q = solved.position_rad[20] + rng.normal(0.0, 1e-3, 7)  # measured, not commanded
        assert np.abs(q[[2, 4]]).max() < 0.05
    swung = decoder.decode(np.tile(decoder.home_columns, (64, 1)), CELL.interface(f"{side}_arm").home).position_rad[-1].copy()
    np.testing.assert_allclose(swung, CELL.interface(f"{side}_arm").home, atol=1e-3)
    null = np.linalg.svd(decoder.arm.kinematics.flange_jacobian(swung))[2][-1]
    swung = swung + 0.3 * null
    for _ in range(4):
        swung = decoder.decode(np.tile(decoder.home_columns, (64, 1)), swung).position_rad[-1]
    assert np.abs(swung[[2, 4]]).max() < 0.01


@pytest.mark.parametrize("side", SIDES)
def test_measured_and_decoded_poses_are_the_same_thing(side: str) -> None:
    decoder, arm = DECODERS[side], CELL.interface(f"{side}_arm")
    q = np.array(arm.home) + np.random.default_rng(3).uniform(-0.3, 0.3, (5, 7))
    columns = decoder.columns(q)
    assert columns.shape == (5, 9)
    np.testing.assert_array_equal(columns[2], decoder.columns(q[2]))
    for row, joints in zip(columns, q, strict=True):
        solved = decoder.decode(row[None], joints)
        np.testing.assert_allclose(decoder.columns(solved.position_rad[0]), row, atol=1e-5)
    np.testing.assert_allclose(decoder.home_columns, tool_pose_columns(TOOLS[side].home), atol=2e-4)
    np.testing.assert_allclose(decoder.home_columns[:3], TOOLS[side].home[:3], atol=2e-4)


def test_columns_need_not_be_orthonormal_but_must_be_a_rotation() -> None:
    decoder, home = DECODERS["left"], CELL.interface("left_arm").home
    good = np.tile(decoder.home_columns, (4, 1))
    scaled = good.copy()
    scaled[:, 3:6] *= 0.5
    scaled[:, 6:] = 1.5 * scaled[:, 6:] + 0.3 * scaled[:, 3:6]
    np.testing.assert_allclose(decoder.decode(scaled, home).position_rad, decoder.decode(good, home).position_rad, atol=1e-5)
    for columns in (slice(3, 6), slice(6, 9)):
        bad = good.copy()
        bad[2, columns] *= 0.04
        with pytest.raises(DexError, match="step 2") as info:
            decoder.decode(bad, home)
        assert info.value.code == "rotation"


def test_out_of_reach_gives_the_nearest_pose_with_its_residual() -> None:
    decoder, home = DECODERS["left"], np.array(CELL.interface("left_arm").home)
    far = np.array([1.5, 0.4, 0.3, TOOLS["left"].home[3]])
    solved = decoder.decode(tool_pose_columns(track("left", far)), home)
    assert not solved.feasible[-1] and solved.residual_m[-1] > 0.3 and solved.feasible[0]
    reached = decoder.columns(solved.position_rad[-1])
    assert np.linalg.norm(reached[:3] - far[:3]) == pytest.approx(solved.residual_m[-1], abs=1e-6)
    assert np.linalg.norm(reached[:2] - CELL.interface("left_arm").mount.xyz_m[:2]) > 0.7, "stretched towards it"
    back = decoder.decode(np.tile(decoder.home_columns, (64, 1)), solved.position_rad[-1])
    assert back.feasible[-1], "and it comes back"


@given(st.integers(0, 2**31), st.floats(0.0, 4.0))
@settings(max_examples=25)
def test_any_poses_give_joints_inside_the_limits_without_a_leap(seed: int, scale: float) -> None:
    rng, decoder = np.random.default_rng(seed), DECODERS["right"]
    arm = CELL.interface("right_arm")
    poses = tool_pose_columns(TOOLS["right"].home + scale * np.array([0.2, 0.3, 0.15, 1.0]) * rng.uniform(-1, 1, (32, 4)))
    poses[:, 3:] += rng.normal(0.0, 0.05, (32, 6))
    start = np.array(arm.home) + rng.uniform(-0.2, 0.2, 7)
    solved = decoder.decode(poses, start)
    lower, upper, step = (np.array([getattr(m, k) for m in arm.limits]) for k in ("lower_rad", "upper_rad", "step_rad"))
    assert ((solved.position_rad >= lower) & (solved.position_rad <= upper)).all()
    assert (np.abs(np.diff(solved.position_rad, axis=0, prepend=start[None])) <= STEP_SHARE * step + 1e-9).all()
    assert (solved.feasible == ((solved.residual_m <= TOLERANCE_M) & (solved.residual_rad <= TOLERANCE_RAD))).all()
    again = make("right").decode(poses, start)
    np.testing.assert_array_equal(again.position_rad, solved.position_rad)


def test_ordinary_motion_keeps_the_joint_speeds() -> None:
    decoder, tool = DECODERS["left"], TOOLS["left"]
    solved = decoder.decode(tool_pose_columns(track("left", tool.home + (0.1, -0.2, -0.05, 0.5))), CELL.interface("left_arm").home)
    speed = np.abs(np.diff(solved.position_rad, axis=0)).max(axis=0) / 0.05
    assert (speed <= [m.velocity_rad_s for m in CELL.interface("left_arm").limits]).all()


def test_bad_input_is_refused() -> None:
    decoder, home = DECODERS["left"], np.array(CELL.interface("left_arm").home)
    good = np.tile(decoder.home_columns, (3, 1))
    with pytest.raises(NonFiniteError):
        decoder.decode(np.where(np.arange(27).reshape(3, 9) == 4, np.nan, good), home)
    with pytest.raises(NonFiniteError):
        decoder.decode(good, np.full(7, np.inf))
    for columns, start in ((good[:, :8], home), (good, home[:6]), (good[:0], home)):
        with pytest.raises(ShapeError):
            decoder.decode(columns, start)


def test_mounted_hands_are_compared_by_what_they_are_and_hang_on_their_own_arm() -> None:
    left, again, right = (MountedHand.of_cell(CELL, side) for side in ("left", "left", "right"))
    assert left == again and hash(left) == hash(again) and left != right
    assert left.embodiment == "left_inspire"
    with pytest.raises(ValueError, match="read-only"):
        left.grasp_in_flange[0, 0] = 2.0
    with pytest.raises(ConfigError, match="left_link_eef"):
        make("right", left)
    with pytest.raises(ConfigError, match="no rotation"):
        MountedHand("left", "inspire", "left_link_eef", np.diag([1.0, 1.0, 2.0, 1.0]))


def test_only_the_joints_that_swing_the_elbow_are_stiff() -> None:
    arm = ArmInWorld(CELL, "left")
    np.testing.assert_array_equal(elbow_stiffness(arm, np.array(CELL.interface("left_arm").home)), [1, 1, STIFFNESS, 1, STIFFNESS, 1, 1])
