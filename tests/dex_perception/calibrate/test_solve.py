# SPDX-License-Identifier: Apache-2.0
"""Both set-ups against their truth, in drawn pictures and in projected corners; what cannot be calibrated is refused by name."""
from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from dex_core.errors import DexError
from dex_perception.calibrate import Setup, calibrate
from dex_perception.calibrate.closed_form import board_of, park, shah, solutions
from dex_perception.calibrate.motion import motion_of
from dex_perception.calibrate.poses import angle, distance, from_xyz_rpy, inverse, pose
from dex_perception.calibrate.refine import Problem, State, refine
from dex_perception.calibrate.solve import _problem
from dex_perception.calibrate.synthetic import prove
from dex_perception.calibrate.testing import BOARD, rig_of, view_of, views_of

JOINT_NOISE_RAD = np.radians(0.02)
SETUPS = pytest.mark.parametrize("setup", list(Setup), ids=lambda s: s.value)


@SETUPS
def test_drawn_pictures_give_the_camera_to_a_millimetre_and_a_tenth_of_a_degree(setup: Setup) -> None:
    """Sensor noise, blur, a bent lens, and joints that read wrong by 0.02 deg."""
    rig = rig_of(setup, joint_noise_rad=JOINT_NOISE_RAD)
    found = prove(rig, 12, np.random.default_rng(5))
    assert 1e3 * distance(found.camera, rig.camera) < 1.0
    assert np.degrees(angle(found.camera, rig.camera)) < 0.1
    assert found.floor_px < 0.1 and found.error_px < 1.0 and not found.left_out
    assert found.spread_mm < 1.0 and found.worst_mm >= found.spread_mm


@SETUPS
def test_over_many_rigs_the_result_is_as_good_as_any_closed_form_and_its_deviation_is_honest(setup: Setup) -> None:
    rig = rig_of(setup, joint_noise_rad=JOINT_NOISE_RAD)
    errors: dict[str, list[float]] = {}
    claimed = []
    for seed in range(6):
        views = views_of(rig, 12, seed)
        found = calibrate(views, BOARD, rig.intrinsics, setup)
        claimed.append(found.deviation_mm)
        problem = _problem(views, BOARD, rig.intrinsics, setup)
        seen = np.array([v.sighting.pose_board_in_camera for v in views])
        for name, camera in (("ours", found.camera), *solutions(problem.chain, seen)):
            errors.setdefault(name, []).append(1e3 * distance(camera, rig.camera))
    size = {name: float(np.sqrt(np.mean(np.square(values)))) for name, values in errors.items()}
    assert size["ours"] < 1.1 * min(value for name, value in size.items() if name != "ours")
    assert 0.4 < float(np.mean(claimed)) / size["ours"] < 2.5
    assert max(errors["ours"]) < 1.0


@SETUPS
def test_without_noise_every_solver_is_exact(setup: Setup) -> None:
    rig = rig_of(setup)
    views = views_of(rig, 8, corner_px=0.0)
    problem = _problem(views, BOARD, rig.intrinsics, setup)
    seen = np.array([inverse(rig.camera) @ m @ rig.board_pose for m in problem.chain])
    for solve in (park, shah):
        camera = solve(problem.chain, seen)
        assert distance(camera, rig.camera) < 1e-9 and angle(camera, rig.camera) < 1e-7
        assert distance(board_of(camera, problem.chain, seen), rig.board_pose) < 1e-9
    found = calibrate(views, BOARD, rig.intrinsics, setup)
    assert distance(found.camera, rig.camera) < 1e-6 and distance(found.board, rig.board_pose) < 1e-6


@pytest.mark.skipif(not hasattr(cv2, "calibrateHandEye"), reason="this cv2 has no calibrateHandEye (the Python module of 5.0 lacks it)")
@SETUPS
def test_opencvs_solvers_agree(setup: Setup) -> None:
    rig = rig_of(setup)
    problem = _problem(views_of(rig, 8, corner_px=0.0), BOARD, rig.intrinsics, setup)
    seen = np.array([inverse(rig.camera) @ m @ rig.board_pose for m in problem.chain])
    found = dict(solutions(problem.chain, seen))
    assert len(found) > 2
    for name, camera in found.items():
        assert distance(camera, rig.camera) < 1e-5, name


@SETUPS
def test_the_derivatives_are_those_of_the_errors(setup: Setup) -> None:
    rig = rig_of(setup, joint_noise_rad=JOINT_NOISE_RAD)
    problem = _problem(views_of(rig, 3), BOARD, rig.intrinsics, setup)
    rng = np.random.default_rng(1)
    state = State(rig.camera, rig.board_pose).trusting(3).moved(rng.normal(0.0, 2e-3, 30))
    gradient = _gradient(problem, state)
    for column in range(30):
        step = 1e-6 * np.eye(30)[column]
        slope = (_half_square(problem, state.moved(step)) - _half_square(problem, state.moved(-step))) / 2e-6
        assert gradient[column] == pytest.approx(slope, rel=1e-3, abs=1e-3 * np.abs(gradient).max())


def _gradient(problem: Problem, state: State) -> np.ndarray:
    from dex_perception.calibrate.refine import _linearised

    return _linearised(problem, state, np.ones(len(problem.view)))[1]


def _half_square(problem: Problem, state: State) -> float:
    from dex_perception.calibrate.refine import _cost

    return _cost(problem, state, np.inf)[0]


@SETUPS
def test_wrong_corners_bend_nothing(setup: Setup) -> None:
    rig = rig_of(setup)
    problem = _problem(views_of(rig, 10), BOARD, rig.intrinsics, setup)
    spoiled = problem.corners_px.copy()
    spoiled[::17] += 40.0
    found = refine(replace(problem, corners_px=spoiled), State(rig.camera, rig.board_pose))
    assert 1e3 * distance(found.camera, rig.camera) < 0.3


@SETUPS
def test_a_view_with_another_pose_is_left_out_and_named(setup: Setup) -> None:
    rig = rig_of(setup)
    views = views_of(rig, 12)
    views[4] = replace(views[4], pose_flange_in_base=views[4].pose_flange_in_base @ pose((0.0, 0.0, 0.0), (0.02, 0.0, 0.0)))
    found = calibrate(views, BOARD, rig.intrinsics, setup)
    assert list(found.left_out) == ["04"] and len(found.views) == 11
    assert 1e3 * distance(found.camera, rig.camera) < 0.3


def test_views_that_disagree_are_refused() -> None:
    rig = rig_of(Setup.IN_HAND)
    rng = np.random.default_rng(0)
    views = [replace(v, pose_flange_in_base=v.pose_flange_in_base @ pose(rng.normal(0, 0.3, 3), rng.normal(0, 0.2, 3))) for v in views_of(rig, 12)]
    with pytest.raises(DexError, match="do not belong together") as refusal:
        calibrate(views, BOARD, rig.intrinsics, Setup.IN_HAND)
    assert refusal.value.code == "views_disagree"


def moved_views(turns_rpy: list, shifts_m: list) -> list:
    """Views of the eye-in-hand rig, its flange turned and shifted from one posture that shows the board."""
    rig, rng = rig_of(Setup.IN_HAND), np.random.default_rng(2)
    flange, _ = rig.posture(rng)
    return [view_of(rig, f"{i}", flange @ from_xyz_rpy(shift, turn), rng) for i, (turn, shift) in enumerate(zip(turns_rpy, shifts_m, strict=True))]


@pytest.mark.parametrize(("turns", "shifts", "code"), [
    ([(0, 0, 0)] * 8, [(0.01 * i, 0.005 * i * i, 0.01) for i in range(8)], "pure_translation"),
    ([(0, 0, 0.1 * i) for i in range(8)], [(0.005 * i, -0.003 * i, 0.002 * i * i) for i in range(8)], "parallel_axes"),
    ([(0.1 * i, 0.05 * i * i, 0) for i in range(4)], [(0, 0, 0.01 * i) for i in range(4)], "too_few_views"),
])
def test_motions_that_tell_nothing_are_refused_by_name(turns: list, shifts: list, code: str) -> None:
    with pytest.raises(DexError) as refusal:
        calibrate(moved_views(turns, shifts), BOARD, rig_of(Setup.IN_HAND).intrinsics, Setup.IN_HAND)
    assert refusal.value.code == code


def test_principal_axes_of_a_motion() -> None:
    poses = np.array([from_xyz_rpy((0, 0, 0), (0, 0, yaw)) for yaw in (0.0, 0.3, 0.6)])
    motion = motion_of(poses)
    assert motion.largest_rad == pytest.approx(0.6)
    assert np.abs(motion.axes[0]) == pytest.approx([0.0, 0.0, 1.0])
    assert motion.spread_rad[1:] == pytest.approx([0.0, 0.0], abs=1e-9)
