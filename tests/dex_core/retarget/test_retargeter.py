# SPDX-License-Identifier: Apache-2.0
"""What retargeting keeps on every hand: tips, pinches, size, sides, limits and smoothness."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.contracts.hand_case import every_hand
from dex_core.errors import ConfigError, DexError, NonFiniteError, ShapeError
from dex_core.retarget import Pinches, Retargeter, TargetHand
from dex_core.retarget.objectives import DexPilotVectors
from dex_core.retarget.retargeter import OBJECTIVES, spread_starts

HANDS = every_hand()
each_hand = pytest.mark.parametrize("case", HANDS, ids="_".join)
MIRRORED = ("ability", "xhand1", "shadow", "sharpa_wave")


def gap_m(hand, q, finger):
    tips = dict(zip(hand.fingers, hand.kinematics.fingertips(q), strict=True))
    return float(np.linalg.norm(tips["thumb"] - tips[finger]))


@pytest.mark.parametrize("objective", ["vector", "position"])
@each_hand
def test_its_own_tips_are_reached_again(case, objective, of_robot, reachable, turned):
    hand = TargetHand.load(*case)
    retargeter = Retargeter(hand, objective, 1.0)
    worst = [retargeter.retarget(turned(of_robot(hand, q), i)).residual_m.max() for i, q in enumerate(reachable(hand, 6))]
    assert np.median(worst) < 1e-4
    assert max(worst) < 1e-3


@pytest.mark.parametrize("objective", OBJECTIVES)
@each_hand
def test_from_near_by_its_own_tips_are_reached_exactly(case, objective, of_robot, reachable):
    hand = TargetHand.load(*case)
    retargeter = Retargeter(hand, objective, 1.0, smoothing=0.0, max_step_rad=np.inf)
    for q in 0.5 * (reachable(hand, 4) + hand.rest_rad):
        if objective == "dexpilot" and min(gap_m(hand, q, f) for f in hand.fingers if f != "thumb") < 0.5 * hand.length_m:
            continue  # a pinch is closed further than it was
        near = np.where(hand.free, hand.kinematics.clip(q + 0.05 * np.cos(np.arange(q.size))), q)
        found = retargeter.retarget(of_robot(hand, q), near)
        assert found.status == "reached" and found.residual_m.max() < 5e-5


@each_hand
def test_a_pinch_of_the_index_touches(case, human):
    hand = TargetHand.load(*case)
    found = Retargeter(hand, "dexpilot").retarget(human(case[1], {"index": 0.7}, "index"))
    assert gap_m(hand, found.position_rad, "index") < 5e-3


def test_every_finger_pinches_where_the_hand_can(human):
    for finger in ("index", "middle", "ring", "little"):
        for name in ("shadow", "sharpa_wave", "xhand1"):
            hand = TargetHand.load(name, "right")
            found = Retargeter(hand).retarget(human("right", {finger: 0.7}, finger))
            assert gap_m(hand, found.position_rad, finger) < 5e-3, (name, finger)


@each_hand
def test_an_open_hand_is_open(case, human):
    hand = TargetHand.load(*case)
    found = Retargeter(hand).retarget(human(case[1], 0.05))
    assert gap_m(hand, found.position_rad, "index") > 0.2 * hand.length_m
    assert (found.position_rad >= hand.kinematics.lower_rad).all() and (found.position_rad <= hand.kinematics.upper_rad).all()


@pytest.mark.parametrize("objective", ["dexpilot", "vector"])
@each_hand
def test_the_size_of_the_human_does_not_matter(case, objective, human):
    retargeter = Retargeter.load(*case, objective)
    points = human(case[1], 0.4, "index", 0.5)
    first, large = (retargeter.retarget(size * points) for size in (1.0, 1.7))
    assert large.scale == pytest.approx(first.scale / 1.7)
    tips = [retargeter.hand.kinematics.fingertips(found.position_rad) for found in (first, large)]
    assert tips[1] == pytest.approx(tips[0], abs=2e-4)


@pytest.mark.parametrize("name", MIRRORED)
def test_mirrored_keypoints_give_mirrored_tips(name, human):
    if (name, "left") not in HANDS:
        pytest.skip(f"no configuration of {name}")
    for bend in (0.2, 0.7):
        tips = []
        for side in ("right", "left"):
            hand = TargetHand.load(name, side)
            found = Retargeter(hand, "vector").retarget(human(side, bend, "index", 0.6))
            tips.append(hand.kinematics.fingertips(found.position_rad))
        assert tips[1] == pytest.approx(tips[0] * (1.0, -1.0, 1.0), abs=2e-3)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("case", [("inspire", "right"), ("leap", "right"), ("shadow", "left")], ids="_".join)
def test_smooth_tracks_stay_smooth_and_inside_the_limits(case, objective, human):
    if case not in HANDS:
        pytest.skip(f"no configuration of {case[0]}")
    share = 0.5 - 0.5 * np.cos(np.linspace(0.0, 2.0 * np.pi, 120))
    track = np.array([human(case[1], {"index": 0.1 + 0.6 * s, "middle": 0.1 + 0.5 * s}, "index", s) for s in share])
    retargeter = Retargeter.load(*case, objective)
    found = retargeter.retarget_track(track)
    assert found.position_rad.shape == (120, len(retargeter.names)) and found.residual_m.shape == (120, len(retargeter.fingers))
    limits = retargeter.hand.kinematics
    assert (found.position_rad >= limits.lower_rad).all() and (found.position_rad <= limits.upper_rad).all()
    assert np.abs(np.diff(found.position_rad, axis=0)).max() <= 0.3 + 1e-12
    assert (found.position_rad == Retargeter.load(*case, objective).retarget_track(track).position_rad).all()


@pytest.mark.parametrize("case", [("leap", "right"), ("shadow", "right"), ("schunk_svh", "left")], ids="_".join)
def test_a_branch_that_is_stuck_is_left_within_a_second(case, of_robot, reachable):
    hand = TargetHand.load(*case)
    retargeter = Retargeter(hand, "vector", 1.0)
    for goal, start in zip(reachable(hand, 5), reachable(hand, 5, seed=9), strict=True):
        points = of_robot(hand, goal)
        retargeter.retarget(points)
        found = retargeter.retarget(points, start)
        for _ in range(30):
            found = retargeter.retarget(points, found.position_rad)
        assert found.residual_m.max() < 5e-3


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("case", [("ability", "left"), ("leap", "right"), ("xhand1", "left")], ids="_".join)
def test_no_joint_leaps_however_wild_the_keypoints_are(case, objective, human):
    rng = np.random.default_rng(2)
    track = np.array([human(case[1], rng.uniform(0.0, 1.2), "index", rng.uniform()) for _ in range(40)])
    found = Retargeter(TargetHand.load(*case), objective, max_step_rad=0.2).retarget_track(track)
    assert np.abs(np.diff(found.position_rad, axis=0)).max() <= 0.2 + 1e-12


def test_a_goal_far_away_is_reached_in_several_steps(human):
    retargeter = Retargeter.load("inspire", "right", "vector")
    closed, opened = human("right", 0.9), human("right", 0.05)
    goal = retargeter.retarget(opened).position_rad
    start = found = retargeter.retarget(closed)
    for _ in range(20):
        found = retargeter.retarget(opened, found.position_rad)
    assert np.abs(start.position_rad - goal).max() > 0.6
    assert found.position_rad == pytest.approx(goal, abs=5e-3)


def test_a_hand_without_a_little_finger_drops_it(human):
    points = human("right", 0.4)
    moved = points.copy()
    moved[17:] += 0.05
    hand = TargetHand.load("leap", "right")
    assert "little" not in hand.fingers
    for objective in OBJECTIVES:
        here, there = (Retargeter(hand, objective).retarget(p).position_rad for p in (points, moved))
        assert (here == there).all()


def test_a_wrist_inside_the_hand_stays_where_it_is(human):
    hand = TargetHand.load("shadow", "right")
    still = ~hand.free
    assert still.sum() == 2
    retargeter = Retargeter(hand, "dexpilot")
    start = hand.rest_rad.copy()
    start[still] = 0.1
    assert retargeter.retarget(human("right", 0.6)).position_rad[still] == pytest.approx(hand.rest_rad[still])
    assert retargeter.retarget(human("right", 0.6), start).position_rad[still] == pytest.approx(start[still])


def test_a_previous_posture_outside_the_limits_is_brought_inside(human):
    retargeter = Retargeter.load("inspire", "right")
    upper = retargeter.hand.kinematics.upper_rad
    found = retargeter.retarget(human("right", 0.3), upper + 0.5)
    assert (found.position_rad <= upper).all()


def test_a_track_of_no_steps_has_no_joints(human):
    found = Retargeter.load("inspire", "right").retarget_track(np.zeros((0, 21, 3)))
    assert found.position_rad.shape == (0, 6) and found.residual_m.shape == (0, 5) and found.status == ()


def test_what_is_out_of_reach_says_so(human):
    found = Retargeter.load("inspire", "right", "vector", scale=3.0).retarget(human("right", 0.05))
    assert found.status == "closest" and found.residual_m.max() > 0.05


@pytest.mark.parametrize("points, error", [
    (np.full((21, 3), np.nan), NonFiniteError), (np.zeros((20, 3)), ShapeError), (np.zeros((21, 3)), DexError), (np.zeros((2, 21, 3)), DexError),
])
def test_keypoints_that_are_no_hand_are_refused(points, error):
    with pytest.raises(error):
        Retargeter.load("inspire", "right").retarget(points)


def test_bad_settings_are_refused_with_what_is_allowed(human):
    hand = TargetHand.load("inspire", "right")
    with pytest.raises(ConfigError, match="dexpilot"):
        Retargeter(hand, "best")
    for bad in (0.0, -1.0, np.nan, 1e4):
        with pytest.raises(ConfigError, match="scale"):
            Retargeter(hand, scale=bad)
    for bad in (0.0, np.nan):
        with pytest.raises(ConfigError, match="max_step_rad"):
            Retargeter(hand, max_step_rad=bad)
    with pytest.raises(ConfigError, match="smoothing"):
        Retargeter(hand, smoothing=-1.0)
    with pytest.raises(ShapeError):
        Retargeter(hand).retarget(human(), np.zeros(5))
    with pytest.raises(NonFiniteError):
        Retargeter(hand).retarget(human(), np.full(6, np.nan))


def test_a_pinch_begins_late_and_ends_later(human):
    """The threshold to leave a pinch is wider than the one to enter it, so that noise between them changes nothing."""
    hand = TargetHand.load("leap", "right")
    objective = DexPilotVectors(hand, Pinches(project_m=0.03, escape_m=0.05, rate=1.0))
    scale = hand.length_m / 0.1

    def emphasis(distance_m, first=False):
        points = human("right", 0.3)
        points[4] = points[8] + (0.0, distance_m, 0.0)
        objective.wanted(points, scale, first=first)
        return objective.emphasis[0]

    assert emphasis(0.06, first=True) == 0.0
    assert emphasis(0.04) == 0.0
    assert emphasis(0.02) == 1.0
    assert emphasis(0.04) == 1.0
    assert emphasis(0.06) == 0.0
    assert emphasis(0.04, first=True) == 0.0


def test_emphasis_grows_step_by_step(human):
    objective = DexPilotVectors(TargetHand.load("leap", "right"), Pinches(rate=0.25))
    points = human("right", 0.3)
    objective.wanted(points, 1.5, first=True)
    closed = human("right", 0.3, "index")
    grown = []
    for _ in range(5):
        objective.wanted(closed, 1.5, first=False)
        grown.append(objective.emphasis[0])
    assert grown == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_starts_are_spread_inside_the_limits_and_always_the_same():
    hand = TargetHand.load("leap", "right")
    starts = np.array(spread_starts(hand, 20))
    k = hand.kinematics
    assert (starts >= k.lower_rad).all() and (starts <= k.upper_rad).all()
    assert (starts == np.array(spread_starts(hand, 20))).all()
    shares = (starts[1:] - k.lower_rad) / (k.upper_rad - k.lower_rad)
    assert (np.ptp(shares, axis=0) > 0.6).all()


def test_a_hand_without_a_palm_frame_is_refused():
    from dataclasses import replace

    from dex_core.config import load_robot
    from dex_core.kinematics import load_hand

    with pytest.raises(ConfigError, match="palm"):
        TargetHand(replace(load_robot("inspire"), palm=None), "right", load_hand("inspire", "right"))
