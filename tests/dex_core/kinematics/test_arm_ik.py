# SPDX-License-Identifier: Apache-2.0
"""Arm IK: accuracy, limits, branches, refusals; the compiled kernel beside its reference."""
from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from dex_core.errors import ConfigError, DexError, NonFiniteError, ShapeError
from dex_core.kinematics import ArmKinematics, load_arm
from dex_core.kinematics.arm_ik import ArmIk, ArmIkStatus, load_arm_ik, pose_in_base
from dex_core.kinematics.arm_ik_box import step_in_box
from dex_core.kinematics.arm_ik_dual import DualArmIk, load_dual_arm, load_dual_arm_ik
from dex_core.kinematics.arm_ik_numpy import rotation_vector
from dex_core.kinematics.kernel import kernel

ARMS = ("xarm7", "fr3", "panda", "g1 left", "g1 right")
ENGINES = ("", "numpy")
compiled = pytest.mark.skipif(kernel() is None, reason="no C compiler, so there is nothing to compare")


@cache
def arm_of(label: str) -> ArmKinematics:
    return load_arm(*label.split())


@cache
def ik_of(label: str, engine: str = "") -> ArmIk:
    return ArmIk(arm_of(label), engine=engine)


def postures(arm: ArmKinematics, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(arm.lower_rad, arm.upper_rad, (count, len(arm.names)))


def track(arm: ArmKinematics, steps: int, share: float = 0.3) -> np.ndarray:
    middle, half = 0.5 * (arm.lower_rad + arm.upper_rad), np.minimum(0.5 * (arm.upper_rad - arm.lower_rad), np.pi)
    phase = np.arange(steps)[:, None] * np.linspace(0.01, 0.03, len(middle)) + np.arange(len(middle))
    return middle + share * half * np.sin(phase)


def off(arm: ArmKinematics, q: np.ndarray, pose: np.ndarray) -> tuple[float, float]:
    reached = arm.flange_pose(q)
    return float(np.linalg.norm(reached[:3, 3] - pose[:3, 3])), float(np.linalg.norm(rotation_vector(pose[:3, :3] @ reached[:3, :3].T)))


def inside(arm: ArmKinematics, q: np.ndarray) -> bool:
    return bool((q >= arm.lower_rad).all() and (q <= arm.upper_rad).all())


@pytest.mark.parametrize("label", ARMS)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_following_solve_is_exact_and_near(label: str, engine: str) -> None:
    arm, ik = arm_of(label), ik_of(label, engine)
    joints = track(arm, 40 if engine else 300)
    before = joints[0]
    for truth in joints:
        pose = arm.flange_pose(truth)
        found = ik.solve(pose, previous_rad=before)
        assert found.status is ArmIkStatus.SOLVED and not found.branch_changed
        assert max(off(arm, found.position_rad, pose)) < 1e-5 and inside(arm, found.position_rad)
        assert np.abs(found.position_rad - before).max() < 0.15
        before = found.position_rad


@pytest.mark.parametrize("label", ARMS)
def test_a_cold_solve_finds_what_is_reachable_and_reports_its_error(label: str) -> None:
    arm, ik = arm_of(label), ik_of(label)
    for truth in postures(arm, 60):
        pose = arm.flange_pose(truth)
        found = ik.solve(pose)
        measured = off(arm, found.position_rad, pose)
        assert found.status is ArmIkStatus.SOLVED and max(measured) < 1e-5 and inside(arm, found.position_rad)
        assert np.allclose((found.position_error_m, found.orientation_error_rad), measured, atol=1e-9)


def test_a_cold_solve_repeats_itself() -> None:
    arm = arm_of("panda")
    pose = arm.flange_pose(postures(arm, 1, seed=3)[0])
    assert np.array_equal(ArmIk(arm).solve(pose).position_rad, ArmIk(arm).solve(pose).position_rad)


@compiled
@pytest.mark.parametrize("label", ("xarm7", "panda", "g1 left"))
def test_the_kernel_takes_the_steps_of_its_reference(label: str) -> None:
    arm, fast, slow = arm_of(label), ik_of(label), ik_of(label, "numpy")
    rng = np.random.default_rng(1)
    for truth in postures(arm, 8, seed=2):
        pose, near = arm.flange_pose(truth), truth + rng.normal(0.0, 0.05, len(truth))
        for start in ({"previous_rad": near}, {"start_rad": near + 0.2}, {}):
            ours, reference = fast.solve(pose, **start), slow.solve(pose, **start)
            assert np.allclose(ours.position_rad, reference.position_rad, atol=1e-6)
            assert (ours.status, ours.iterations) == (reference.status, reference.iterations)
            assert ours.manipulability == pytest.approx(reference.manipulability, rel=1e-6, abs=1e-9)


@compiled
def test_the_kernel_looks_ahead_as_its_reference_does() -> None:
    arm = arm_of("panda")
    poses = np.array([arm.flange_pose(q) for q in track(arm, 8)])[:, None]
    first = track(arm, 1)
    fast, slow = (ik_of("panda", engine)._solver.beam(poses, first, 6, 0.05) for engine in ENGINES)
    assert fast[0] == slow[0] == 8
    assert np.allclose(fast[1], slow[1], atol=1e-6) and np.array_equal(fast[2], slow[2])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_free_elbow_drifts_to_the_rest_posture(engine: str) -> None:
    arm = arm_of("panda")
    rest = np.array([0.0, -0.8, 0.0, -2.3, 0.0, 1.6, 0.8])
    ik, pose = ArmIk(arm, rest_rad=rest, engine=engine), arm.flange_pose(rest)
    turned = ik.solve(pose, start_rad=rest + [0.5, 0.1, -0.5, 0.0, 0.3, 0.0, 0.0]).position_rad
    distances = [np.linalg.norm(turned - rest)]
    for _ in range(60):
        turned = ik.solve(pose, previous_rad=turned).position_rad
        distances.append(np.linalg.norm(turned - rest))
        assert max(off(arm, turned, pose)) < 1e-5
    assert distances[0] > 0.1 > distances[-1] and (np.diff(distances) < 1e-6).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("label", ("xarm7", "panda"))
def test_out_of_reach_gives_the_nearest_pose_smoothly(label: str, engine: str) -> None:
    arm, ik = arm_of(label), ik_of(label, engine)
    before = track(arm, 1)[0]
    pose = arm.flange_pose(before)
    direction = pose[:3, 3] / np.linalg.norm(pose[:3, 3])
    steps = []
    for _ in range(40):
        pose[:3, 3] += 0.04 * direction
        found = ik.solve(pose, previous_rad=before)
        assert inside(arm, found.position_rad) and np.isfinite(found.position_rad).all()
        steps.append(np.abs(found.position_rad - before).max())
        before = found.position_rad
    assert found.status is not ArmIkStatus.SOLVED and found.position_error_m > 0.3
    assert max(steps) <= 0.5 + 1e-9 and np.mean(steps[-10:]) < 0.1
    cold = ik.solve(pose)
    assert cold.status is not ArmIkStatus.SOLVED and cold.position_error_m < 2.0 * found.position_error_m + 0.1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_straight_elbow_is_left_and_reported(engine: str) -> None:
    arm, ik = arm_of("xarm7"), ik_of("xarm7", engine)
    straight = np.zeros(7)
    there = ik.solve(arm.flange_pose(straight), previous_rad=straight)
    assert there.near_singularity and there.position_error_m < 1e-5
    bent = np.array([0.2, -0.5, 0.1, 0.9, 0.0, 1.2, 0.1])
    found = ik.solve(arm.flange_pose(bent), start_rad=straight)
    assert found.status is ArmIkStatus.SOLVED and not found.near_singularity


@pytest.mark.parametrize("engine", ENGINES)
def test_a_start_outside_the_limits_is_moved_inside(engine: str) -> None:
    arm, ik = arm_of("fr3"), ik_of("fr3", engine)
    truth = arm.upper_rad - 0.02
    for start in ({"previous_rad": arm.upper_rad + 0.3}, {"start_rad": arm.upper_rad + 3.0}):
        found = ik.solve(arm.flange_pose(truth), **start)
        assert found.status is ArmIkStatus.SOLVED and inside(arm, found.position_rad)


def test_following_never_goes_further_than_its_reach_and_says_when_it_would_have_to() -> None:
    arm = arm_of("panda")
    here, there = postures(arm, 2, seed=9)
    pose = arm.flange_pose(there)
    kept = ik_of("panda").solve(pose, previous_rad=here)
    assert kept.status is not ArmIkStatus.SOLVED and np.abs(kept.position_rad - arm.clip(here)).max() <= 0.5 + 1e-12
    moved = ArmIk(arm, may_change_branch=True).solve(pose, previous_rad=here)
    assert moved.status is ArmIkStatus.SOLVED and moved.branch_changed


@pytest.mark.parametrize("engine", ENGINES)
def test_targets_that_are_no_poses_are_refused(engine: str) -> None:
    ik, good = ik_of("xarm7", engine), np.eye(4)
    for value in (np.nan, np.inf):
        bad = good.copy()
        bad[0, 3] = value
        with pytest.raises(NonFiniteError, match="row 0, column 3"):
            ik.solve(bad)
    stretched, mirrored, sheared = good.copy(), np.diag([1.0, 1.0, -1.0, 1.0]), good.copy()
    stretched[:3, :3] *= 1.01
    sheared[3, 0] = 0.5
    with pytest.raises(ConfigError, match=r"R'R is 0\.02 from the identity and its determinant is 1\.0303"):
        ik.solve(stretched)
    with pytest.raises(ConfigError, match="determinant is -1"):
        ik.solve(mirrored)
    with pytest.raises(ConfigError, match=r"last row \[0\.5 0\.  0\.  1\. \]"):
        ik.solve(sheared)
    with pytest.raises(ConfigError, match="target pose 1 is no rotation"):
        ik.solve_chunk(np.stack([good, stretched]))
    with pytest.raises(ShapeError, match=r"shape \(3, 4\), expected \(4, 4\)"):
        ik.solve(good[:3])
    with pytest.raises(ShapeError, match=r"previous posture: shape \(6,\)"):
        ik.solve(good, previous_rad=np.zeros(6))
    with pytest.raises(NonFiniteError, match="start: nan for joint2"):
        ik.solve(good, start_rad=[0.0, np.nan, 0.0, 0.0, 0.0, 0.0, 0.0])
    with pytest.raises(ConfigError, match="both given"):
        ik.solve(good, previous_rad=np.zeros(7), start_rad=np.zeros(7))


def test_arguments_are_checked() -> None:
    arm = arm_of("xarm7")
    with pytest.raises(ConfigError, match="engine is 'fast'"):
        ArmIk(arm, engine="fast")
    for name, value in (("seeds", 1), ("max_restarts", 0), ("max_restarts", 33), ("max_iterations", 0), ("reach_rad", np.nan)):
        with pytest.raises(ConfigError, match=f"{name} is {value}; allowed"):
            ArmIk(arm, **{name: value})
    with pytest.raises(ConfigError, match="rest posture joint4: 9.0 rad; allowed"):
        ArmIk(arm, rest_rad=[0, 0, 0, 9, 0, 0, 0])
    with pytest.raises(ConfigError, match="tool on 'link_eef' is no rotation"):
        ArmIk(arm, tool=2.0 * np.eye(4))
    with pytest.raises(ConfigError, match="one arm"):
        load_arm_ik("xarm7", "left")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_tool_is_reached_with_its_own_frame(engine: str) -> None:
    arm = arm_of("xarm7")
    tool = np.array([[0.0, -1.0, 0.0, 0.03], [1.0, 0.0, 0.0, -0.02], [0.0, 0.0, 1.0, 0.15], [0.0, 0.0, 0.0, 1.0]])
    truth = postures(arm, 1, seed=4)[0]
    pose = arm.flange_pose(truth) @ tool
    found = ArmIk(arm, tool=tool, engine=engine).solve(pose, previous_rad=truth + 0.02)
    assert np.allclose(arm.flange_pose(found.position_rad) @ tool, pose, atol=1e-5)


def test_rotations_are_taken_by_their_logarithm() -> None:
    rng = np.random.default_rng(0)
    for angle in (0.0, 1e-9, 1e-3, 1.0, 3.0, np.pi - 1e-8, np.pi):
        axis = rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        cross = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
        turn = np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross
        found = rotation_vector(turn)
        assert np.allclose(found, angle * axis, atol=1e-6) or (angle > 3.1 and np.allclose(found, -angle * axis, atol=1e-6))


def test_steps_stay_in_their_box_and_are_the_best_there() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        root = rng.normal(size=(9, 7))
        h, g = root.T @ root + 1e-6 * np.eye(7), 3.0 * rng.normal(size=7)
        low, high = -rng.uniform(0.0, 0.3, 7), rng.uniform(0.0, 0.3, 7)
        x = step_in_box(h, g, low, high)
        slope = h @ x - g
        assert (x >= low).all() and (x <= high).all()
        assert np.allclose(slope[(x > low) & (x < high)], 0.0, atol=1e-8)
        assert (slope[x == low] >= -1e-8).all() and (slope[x == high] <= 1e-8).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_chunk_is_followed_as_one(engine: str) -> None:
    arm, ik = arm_of("xarm7"), ik_of("xarm7", engine)
    joints = track(arm, 12 if engine else 64)
    poses = np.array([arm.flange_pose(q) for q in joints])
    for start in ({"previous_rad": joints[0]}, {"start_rad": joints[0]}, {}):
        found = ik.solve_chunk(poses, **start)
        assert (found.status == ArmIkStatus.SOLVED).all() and not found.branch_changed.any()
        assert np.abs(np.diff(found.position_rad, axis=0)).max() < 0.3
        assert max(max(off(arm, q, pose)) for q, pose in zip(found.position_rad, poses, strict=True)) < 1e-5


@pytest.mark.skipif(kernel() is None, reason="takes half a minute without the compiled kernel")
def test_a_chunk_turns_its_elbow_in_time() -> None:
    """Along this track the arm runs into a dead end when it only follows."""
    arm, ik = arm_of("panda"), ik_of("panda")
    joints = _through_the_whole_range(arm, seed=2)
    poses = np.array([arm.flange_pose(q) for q in joints])
    followed, before = [], joints[0]
    for pose in poses:
        found = ik.solve(pose, previous_rad=before)
        before = found.position_rad
        followed.append(found.status)
    ahead = ik.solve_chunk(poses, previous_rad=joints[0])
    assert any(followed) and not ahead.status.any()
    blind = ArmIk(arm, look_ahead=False).solve_chunk(poses, previous_rad=joints[0])
    assert np.array_equal(blind.status, followed)
    assert np.abs(np.diff(ahead.position_rad, axis=0)).max() < 0.5


def _through_the_whole_range(arm: ArmKinematics, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    middle, half = 0.5 * (arm.lower_rad + arm.upper_rad), 0.5 * (arm.upper_rad - arm.lower_rad)
    phase = rng.uniform(0.0, 2.0 * np.pi, 7) + 0.02 * np.arange(300)[:, None] * rng.uniform(0.3, 1.0, 7) / half
    return middle + half * np.sin(phase)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_empty_chunk_is_empty(engine: str) -> None:
    found = ik_of("xarm7", engine).solve_chunk(np.zeros((0, 4, 4)), previous_rad=np.zeros(7))
    assert found.position_rad.shape == (0, 7) and found.status.shape == (0,)
    with pytest.raises(ShapeError, match=r"expected \(T, 4, 4\)"):
        ik_of("xarm7", engine).solve_chunk(np.zeros((2, 3, 4)))


@pytest.mark.parametrize("waist", (True, False))
@pytest.mark.parametrize("engine", ENGINES)
def test_both_wrists_of_a_body_at_once(waist: bool, engine: str) -> None:
    ik = load_dual_arm_ik("g1", waist=waist, engine=engine)
    body = ik.robot
    assert len(ik.names) == (17 if waist else 14)
    rng = np.random.default_rng(1)
    for truth in rng.uniform(body.lower_rad, body.upper_rad, (2 if engine else 30, len(ik.names))):
        poses = np.array([body.pose(truth, link) for link in ik.flanges])
        found = ik.solve(poses, previous_rad=truth + rng.normal(0.0, 0.02, len(truth)))
        assert found.status is ArmIkStatus.SOLVED
        assert np.allclose([body.pose(found.position_rad, link) for link in ik.flanges], poses, atol=2e-5)
        assert (found.position_rad >= body.lower_rad).all() and (found.position_rad <= body.upper_rad).all()


def test_a_dual_problem_is_cold_started_and_tracked() -> None:
    ik = load_dual_arm_ik("g1")
    joints = 0.2 * np.sin(np.arange(30)[:, None] * 0.03 + np.arange(17))
    poses = np.array([[ik.robot.pose(q, link) for link in ik.flanges] for q in ik.robot.clip(joints[0]) + 0.3 * (joints - joints[0])])
    assert ik.solve(poses[0]).status is ArmIkStatus.SOLVED
    found = ik.solve_chunk(poses)
    assert not found.status.any() and found.position_rad.shape == (30, 17)


def test_dual_arms_refuse_what_they_cannot_do() -> None:
    with pytest.raises(ConfigError, match="no left and right wrist"):
        load_dual_arm("xarm7")
    with pytest.raises(ConfigError, match="does not stand still; allowed with a fixed waist"):
        load_dual_arm("g1", waist=False, waist_rad={"left_elbow_joint": 0.1})
    body, wrists = load_dual_arm("g1", waist=False, waist_rad={"waist_yaw_joint": 0.3})
    assert not np.allclose(body.pose(np.zeros(14), wrists[0]), load_dual_arm("g1", waist=False)[0].pose(np.zeros(14), wrists[0]))
    with pytest.raises(ConfigError, match="two of each"):
        DualArmIk(body, wrists[:1])


def test_wrists_seen_by_a_camera_come_into_the_base() -> None:
    arm = arm_of("xarm7")
    truth = postures(arm, 1, seed=6)[0]
    camera = load_arm("fr3").flange_pose([0.1, 0.2, 0.3, -1.0, 0.2, 1.0, 0.1])
    seen = np.linalg.inv(camera) @ arm.flange_pose(truth)
    seen[:3, :3] = np.linalg.qr(seen[:3, :3])[0] * np.sign(np.diag(np.linalg.qr(seen[:3, :3])[1]))
    assert np.allclose(pose_in_base(seen, camera), arm.flange_pose(truth), atol=1e-9)
    assert pose_in_base(np.stack([seen, seen]), camera).shape == (2, 4, 4)
    with pytest.raises(ConfigError, match="camera pose is no rotation"):
        pose_in_base(seen, 2.0 * np.eye(4))
    with pytest.raises(ShapeError, match="wrist poses"):
        pose_in_base(np.eye(3), camera)


def test_a_stiff_joint_keeps_to_the_rest_posture_and_others_make_room() -> None:
    arm, rest = load_arm("xarm7"), np.array([0.5, -0.76, 0.0, 0.42, 0.0, 1.18, 0.5])
    target = arm.flange_pose(rest + [0.4, 0.1, 0.0, 0.1, 0.0, 0.0, -0.3])
    swung = []
    for stiffness in (None, [1, 1, 100, 1, 100, 1, 1]):
        ik, q = ArmIk(arm, rest_rad=rest, stiffness=stiffness), rest
        for _ in range(200):
            q = ik.solve(target, previous_rad=q).position_rad
        swung.append(abs(q[2]))
        np.testing.assert_allclose(arm.flange_pose(q), target, atol=1e-5)
    assert swung[1] < 0.05 * swung[0]
    for bad in ([1.0] * 6 + [0.0], [1.0] * 6 + [1e9], [1.0] * 6):
        with pytest.raises(DexError):
            ArmIk(arm, stiffness=bad)
