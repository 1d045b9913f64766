# SPDX-License-Identifier: Apache-2.0
"""Hand IK: every hand, compiled and NumPy, reachable or not, along tracks and from nothing, and every wrong request by name."""
from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dex_core.config import find_share
from dex_core.errors import ConfigError, DexError, NonFiniteError, ShapeError
from dex_core.kinematics import load_hand
from dex_core.kinematics.hand_ik import HandIk, HandIkStatus, load_hand_ik, load_hand_model
from dex_core.kinematics.hand_ik_descend import Problem, approach
from dex_core.kinematics.hand_ik_groups import FingerGroup
from dex_core.types import Array

HANDS = sorted(path.stem for path in find_share("config", "hands").glob("*.yaml"))
FOUR_FINGERS = ("leap", "allegro", "dexh13")
ENGINES = ("", "numpy")


@functools.cache
def ik_of(name: str, engine: str = "", coupling: str = "", side: str = "right") -> HandIk:
    return load_hand_ik(name, side, coupling=coupling, engine=engine)


def tips(ik: HandIk, q: Array) -> Array:
    """(m, k, 3) tips at (m, n) joints."""
    out = np.empty((len(q), len(ik.fingers), 3))
    for group in ik.groups:
        out[:, group.fingers] = group.forward.tips(q[:, group.columns])
    return out


def poses(ik: HandIk, count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(ik.lower_rad, ik.upper_rad, (count, len(ik.names)))


def best_of_fifty(group: FingerGroup, target: Array) -> float:
    """Distance of the best of 50 searches of one group in NumPy, without seeds, posture or early end."""
    columns = len(group.columns)

    def evaluate(q: Array) -> tuple[Array, Array]:
        points, jacobian = group.forward.tips_and_jacobian(q)
        return points.reshape(len(q), -1), jacobian.reshape(len(q), -1, columns)

    q = group.lower_rad + np.random.default_rng(11).uniform(size=(50, columns)) * (group.upper_rad - group.lower_rad)
    goal, lower, upper = (np.tile(a, (50, 1)) for a in (target.ravel(), group.lower_rad, group.upper_rad))
    problem = Problem(evaluate, goal, lower, upper, np.ones((50, columns), dtype=bool), q)
    return float(np.sqrt(approach(problem, q, np.zeros(50), 60).cost.min()))


def wander(ik: HandIk, steps: int, seed: int = 0) -> Array:
    """(steps, n) joints on a smooth way through the middle of their range."""
    rng = np.random.default_rng(seed)
    phase, rate = rng.uniform(0.0, 6.28, len(ik.names)), rng.uniform(0.02, 0.06, len(ik.names))
    return ik.lower_rad + (0.5 + 0.4 * np.sin(phase + rate * np.arange(steps)[:, None])) * (ik.upper_rad - ik.lower_rad)


@pytest.mark.parametrize("side", ("left", "right"))
@pytest.mark.parametrize("name", HANDS)
def test_forward_of_the_groups_is_that_of_the_hand(name: str, side: str) -> None:
    hand, ik = load_hand(name, side), ik_of(name, side=side)
    assert ik.names == hand.names and ik.fingers == hand.fingers
    assert np.array_equal(ik.lower_rad, hand.lower_rad) and np.array_equal(ik.upper_rad, hand.upper_rad)
    for q in poses(ik, 5):
        assert np.allclose(tips(ik, q[None])[0], hand.fingertips(q), atol=1e-12)


@pytest.mark.parametrize("side", ("left", "right"))
@pytest.mark.parametrize("name", HANDS)
def test_reachable_targets_are_reached_from_nothing(name: str, side: str) -> None:
    ik = ik_of(name, side=side)
    for target in tips(ik, poses(ik, 60)):
        solved = ik.solve(target)
        assert solved.residual_m.max() < 1e-4, solved
        assert (solved.position_rad >= ik.lower_rad).all() and (solved.position_rad <= ik.upper_rad).all()
        assert np.allclose(np.linalg.norm(tips(ik, solved.position_rad[None])[0] - target, axis=1), solved.residual_m, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", HANDS)
def test_a_track_is_followed_without_jumps(name: str, engine: str) -> None:
    ik = ik_of(name, engine)
    joints = wander(ik, 40 if not engine else 8)
    previous, jumps = joints[0], 0
    for target in tips(ik, joints):
        solved = ik.solve(target, previous_rad=previous)
        assert solved.residual_m.max() < 1e-4
        jumps += int(np.abs(solved.position_rad - previous).max() > 0.5)
        previous = solved.position_rad
    assert jumps <= (2 if name == "leap" else 0)  # on LEAP a branch can end at a joint's limit while the track goes on


@pytest.mark.parametrize("name", ("inspire", "ability", "leap", "xhand1", "schunk_svh"))
def test_compiled_and_numpy_agree(name: str) -> None:
    fast, slow = ik_of(name), ik_of(name, "numpy")
    if not fast.compiled:
        pytest.skip("needs a C compiler")
    away = np.random.default_rng(4).normal(0.0, 0.01, (6, len(fast.fingers), 3))
    for target in tips(fast, poses(fast, 6)) + away:  # hardly any of these can be reached
        one, other = fast.solve(target, previous_rad=fast.rest_rad), slow.solve(target, previous_rad=slow.rest_rad)
        assert np.allclose(one.residual_m, other.residual_m, atol=2e-5), (one, other)
    for target in tips(fast, poses(fast, 6, seed=1)):
        assert fast.solve(target).residual_m.max() < 1e-4 and slow.solve(target).residual_m.max() < 1e-4


def test_the_four_bar_of_ability_is_solved_as_such() -> None:
    hand = load_hand("ability", "right", coupling="four_bar")
    for engine in ENGINES:
        ik = ik_of("ability", engine, "four_bar")
        for q in poses(ik, 10):
            target = hand.fingertips(q)
            solved = ik.solve(target)
            assert solved.status is HandIkStatus.CONVERGED and np.allclose(hand.fingertips(solved.position_rad), target, atol=1e-5)
    assert np.abs(load_hand("ability", "right").fingertips(q) - target).max() > 1e-4, "the two couplings differ"


@pytest.mark.parametrize("name", FOUR_FINGERS)
def test_hands_with_four_fingers(name: str) -> None:
    ik = ik_of(name)
    assert ik.fingers == ("thumb", "index", "middle", "ring")
    with pytest.raises(DexError, match="little"):
        ik.solve(np.zeros((1, 3)), ["little"])
    with pytest.raises(ShapeError):
        ik.solve(np.zeros((5, 3)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ("inspire", "leap"))
def test_a_wrist_a_metre_away_gives_the_closest_point(name: str, engine: str) -> None:
    ik = ik_of(name, engine)
    target = tips(ik, ik.rest_rad[None])[0] + [0.0, 0.0, 1.0]
    solved = ik.solve(target)
    assert solved.status is HandIkStatus.CLOSEST
    others = np.linalg.norm(tips(ik, poses(ik, 3000)) - target, axis=2)  # each finger on its own, as they share no joint
    assert (solved.residual_m <= others.min(axis=0) + 1e-6).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NumPy, on overflow
def test_absurd_targets_end_and_stay_inside(engine: str) -> None:
    for name in ("leap", "schunk_svh"):
        ik = ik_of(name, engine)
        for size in (1e6, 1.7e308):
            for before in (None, ik.rest_rad):
                solved = ik.solve(np.full((len(ik.fingers), 3), size), previous_rad=before)
                assert (solved.position_rad >= ik.lower_rad).all() and (solved.position_rad <= ik.upper_rad).all()
                assert solved.status is not HandIkStatus.CONVERGED


@pytest.mark.parametrize("name", ("inspire", "ability", "leap", "dexh13"))
def test_out_of_reach_the_answer_moves_smoothly(name: str) -> None:
    ik = ik_of(name)
    way = np.linspace(0.0, 1.0, 200)[:, None, None]
    middle = tips(ik, ik.rest_rad[None])[0]
    targets = middle + 0.25 * np.concatenate([np.sin(3.0 * way) - 0.3, np.cos(2.0 * way), 1.0 + 0.5 * way], axis=2)
    previous = ik.solve(targets[0]).position_rad
    for target in targets:
        solved = ik.solve(target, previous_rad=previous)
        assert np.abs(solved.position_rad - previous).max() < 0.2
        previous = solved.position_rad


def test_a_target_that_nothing_reaches_moves_no_joint_far_at_once() -> None:
    ik = ik_of("leap")
    rng = np.random.default_rng(8)
    for _ in range(20):
        target = tips(ik, ik.rest_rad[None])[0] + 1.0 * rng.normal(size=(4, 3))  # all fingers at nearly the same distance wherever they are
        assert np.abs(ik.solve(target, previous_rad=ik.rest_rad).position_rad - ik.rest_rad).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("name", ("leap", "xhand1", "dexh13", "schunk_svh"))
def test_from_nothing_as_good_as_fifty_starts(name: str) -> None:
    """Half of the targets are out of reach; 50 starts spread over the range are the yardstick."""
    ik = ik_of(name)
    rng = np.random.default_rng(5)
    targets = tips(ik, poses(ik, 16)) + rng.normal(0.0, 0.015, (16, len(ik.fingers), 3)) * (np.arange(16) % 2)[:, None, None]
    worse = 0
    for target in targets:
        ours = ik.solve(target).residual_m
        worse += sum(np.linalg.norm(ours[g.fingers]) > best_of_fifty(g, target[g.fingers]) + 2e-5 for g in ik.groups)
    assert worse <= 0.01 * len(targets) * len(ik.groups)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_start_outside_the_limits_is_brought_inside(engine: str) -> None:
    ik = ik_of("leap", engine)
    target = tips(ik, poses(ik, 1))[0]
    for outside in (ik.upper_rad + 3.0, ik.lower_rad - 1e6):
        for solved in (ik.solve(target, start_rad=outside), ik.solve(target, previous_rad=outside)):
            assert (solved.position_rad >= ik.lower_rad).all() and (solved.position_rad <= ik.upper_rad).all()
            assert solved.residual_m.max() < 1e-4


@pytest.mark.parametrize("engine", ENGINES)
def test_joints_of_other_fingers_stay(engine: str) -> None:
    ik = ik_of("inspire", engine)
    goal, before = poses(ik, 2, seed=3)
    target = tips(ik, goal[None])[0][[1]]
    own = [i for i, n in enumerate(ik.names) if n.startswith("index")]
    for solved, stays in ((ik.solve(target, ["index"], start_rad=before), before), (ik.solve(target, ["index"]), ik.rest_rad)):
        assert np.array_equal(np.delete(solved.position_rad, own), np.delete(stays, own))
        assert solved.residual_m.shape == (1,) and solved.residual_m[0] < 1e-5


def test_fingers_in_any_order() -> None:
    ik = ik_of("leap")
    target = tips(ik, poses(ik, 1))[0]
    names = ["ring", "thumb"]
    solved = ik.solve(target[[3, 0]], names)
    assert np.allclose(tips(ik, solved.position_rad[None])[0][[3, 0]], target[[3, 0]], atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_weights_decide_between_fingers_that_share_joints(engine: str) -> None:
    ik = ik_of("schunk_svh", engine)
    target = tips(ik, poses(ik, 1))[0]
    target[ik.fingers.index("index")] += [0.0, 0.03, 0.0]
    rows = [ik.fingers.index("index"), ik.fingers.index("ring")]
    shares = []
    for weight in (0.01, 1.0, 100.0):
        weights = np.ones(len(ik.fingers))
        weights[rows[0]] = weight
        shares.append(ik.solve(target, weights=weights, previous_rad=ik.rest_rad).residual_m[rows[0]])
    assert shares[0] >= shares[1] >= shares[2]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_finger_of_no_weight_has_no_say(engine: str) -> None:
    ik = ik_of("leap", engine)
    target = tips(ik, poses(ik, 1))[0]
    solved = ik.solve(target, weights=[0.0, 1.0, 1.0, 1.0])
    thumb = ik.groups[0].columns
    assert np.array_equal(solved.position_rad[thumb], ik.rest_rad[thumb]) and solved.status is HandIkStatus.CONVERGED
    distance = np.linalg.norm(tips(ik, solved.position_rad[None])[0] - target, axis=1)
    assert np.allclose(solved.residual_m[1:], distance[1:]) and solved.residual_m[0] == pytest.approx(distance[0])
    assert np.array_equal(ik.solve(target, weights=[0.0] * 4).position_rad, ik.rest_rad)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf))
def test_what_is_not_finite_is_named(engine: str, bad: float) -> None:
    ik = ik_of("inspire", engine)
    target = tips(ik, ik.rest_rad[None])[0]
    target[2, 1] = bad
    with pytest.raises(NonFiniteError, match="middle"):
        ik.solve(target)
    with pytest.raises(NonFiniteError, match="ring"):
        ik.solve(target[[0, 2]], ["thumb", "ring"])
    with pytest.raises(NonFiniteError, match="start"):
        ik.solve(np.zeros((5, 3)), start_rad=np.full(6, bad))
    with pytest.raises(NonFiniteError, match="weights"):
        ik.solve(np.zeros((5, 3)), weights=np.full(5, bad))


def test_wrong_requests_are_named() -> None:
    ik = ik_of("inspire")
    target = np.zeros((5, 3))
    for fingers in (["pinkie"], ["index", "index"], []):
        with pytest.raises(DexError, match="at most once"):
            ik.solve(target[: len(fingers)], fingers)
    for shape in ((4, 3), (5, 2), (15,), (1, 5, 3)):
        with pytest.raises(ShapeError, match="expected"):
            ik.solve(np.zeros(shape))
    with pytest.raises(ShapeError, match="previous"):
        ik.solve(target, previous_rad=np.zeros(5))
    with pytest.raises(ShapeError, match="weights"):
        ik.solve(target, weights=np.ones(4))
    with pytest.raises(DexError, match="at least 0"):
        ik.solve(target, weights=[1.0, 1.0, -1.0, 1.0, 1.0])
    with pytest.raises(ConfigError, match="engine"):
        HandIk(load_hand_model("inspire", "right"), engine="gpu")
    with pytest.raises(ConfigError, match="posture_weight"):
        HandIk(load_hand_model("inspire", "right"), posture_weight=2.0)


def test_unknown_names_say_what_there_is() -> None:
    with pytest.raises(ConfigError, match="left"):
        load_hand_ik("inspire", "middle")
    with pytest.raises(ConfigError, match="four_bar"):
        load_hand_ik("ability", "right", coupling="belt")
    with pytest.raises(ConfigError, match="arm"):
        load_hand_ik("xarm7", "right")


def test_a_search_that_is_cut_off_says_so() -> None:
    for engine in ENGINES:
        ik = load_hand_ik("leap", "right", max_iterations=1, engine=engine)
        target = tips(ik, ik.rest_rad[None])[0] + 0.3
        assert ik.solve(target).status is HandIkStatus.MAX_ITERATIONS


def test_the_rest_posture_is_what_a_free_finger_tends_to() -> None:
    model = load_hand_model("leap", "right")
    ik = HandIk(model, rest_rad=model.lower_rad + 0.4 * (model.upper_rad - model.lower_rad), posture_weight=0.5)
    q = np.clip(ik.rest_rad + 0.3 * np.sin(np.arange(len(ik.names))), ik.lower_rad, ik.upper_rad)
    target = tips(ik, q[None])[0]
    near = q
    for _ in range(30):
        near = ik.solve(target, previous_rad=near).position_rad
    assert np.linalg.norm(near - ik.rest_rad) < np.linalg.norm(q - ik.rest_rad)
    assert np.allclose(tips(ik, near[None])[0], target, atol=1e-5)


@given(st.lists(st.floats(-0.4, 0.4), min_size=12, max_size=12), st.lists(st.floats(0.0, 1.0), min_size=16, max_size=16))
@settings(max_examples=60, deadline=None)
def test_whatever_is_asked_stays_inside_the_limits(target: list[float], start: list[float]) -> None:
    ik = ik_of("leap")
    before = ik.lower_rad + np.array(start) * (ik.upper_rad - ik.lower_rad)
    solved = ik.solve(np.reshape(target, (4, 3)), previous_rad=before)
    assert (solved.position_rad >= ik.lower_rad).all() and (solved.position_rad <= ik.upper_rad).all()
    again = ik.solve(np.reshape(target, (4, 3)), previous_rad=before)
    assert again.position_rad.tobytes() == solved.position_rad.tobytes()
