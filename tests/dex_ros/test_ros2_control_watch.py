# SPDX-License-Identifier: Apache-2.0
"""What the ros2_control driver believes: settings, joint states by name, and whether it is followed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.clock import NS
from dex_core.config import load_cell
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError, NonFiniteError
from dex_ros.ros2_control_settings import Ros2ControlSettings, read_settings
from dex_ros.ros2_control_watch import FOLLOW_TOLERANCE_RAD, FollowWatch, NewestState

ARM = load_cell("xarm_bimanual").interface("left_arm")
OURS, THERE = ("left_a", "left_b"), ("ur_a", "ur_b")
WALL = 1_700_000_000 * NS


def newest(max_age_s: float = 0.1) -> NewestState:
    return NewestState(OURS, THERE, "/joint_states", max_age_s)


def test_an_address_is_a_controller_or_a_file(tmp_path: Path) -> None:
    plain = read_settings(ARM, "/left/arm_controller")
    assert plain.states_topic == "/left/joint_states" and plain.names_there(ARM.robot.actuated) == ARM.robot.actuated
    assert read_settings(ARM, "arm_controller").states_topic == "/joint_states"
    file = tmp_path / "arm.yaml"
    file.write_text("controller: /c\nstates: /s/joint_states\nprefix: left_\njoints: {joint7: wrist}\nahead_s: 0.03\n", encoding="utf-8")
    settings = read_settings(ARM, str(file))
    assert settings.names_there(ARM.robot.actuated)[-2:] == ("left_joint6", "wrist") and settings.states_topic == "/s/joint_states"


@pytest.mark.parametrize(("text", "words"), [
    ("controller: arm", "full ROS name"), ("controller: /c\nstates: s", "full ROS name"), ("controller: /c\nahead_s: 0.0", "allowed 0.002"),
    ("controller: /c\njoints: {elbow: e}", "'elbow', which is no joint"), ("controller: /c\njoints: {joint1: joint2}", "two joints"),
    ("states: /s", "controller"), ("controller: /c\nrate: 3", "unknown key 'rate'"),
])
def test_wrong_settings_say_what_is_allowed(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "arm.yaml"
    file.write_text(text + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        read_settings(ARM, str(file))


def test_settings_of_no_file_are_named() -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        read_settings(ARM, "nowhere/arm.yaml")
    assert Ros2ControlSettings("/c").max_state_age_s == 0.1


def test_joints_go_by_name_and_other_messages_do_not_matter() -> None:
    state = newest()
    state.put(("gripper",), (0.5,), (), (), WALL, 0)
    assert state.ignored == 0
    state.put(("ur_b",), (0.5,), (), (), WALL, 0)
    assert state.ignored == 1
    with pytest.raises(ConnectionLostError, match="missing .'ur_a'"):
        state.newest(0, WALL)
    state.put(("ur_b", "gripper", "ur_a"), (2.0, 9.0, 1.0), (0.2, 0.0, 0.1), (), WALL, NS)
    read = state.newest(NS, WALL)
    assert read.names == OURS and read.position_rad.tolist() == [1.0, 2.0] and read.velocity_rad_s.tolist() == [0.1, 0.2]
    assert np.isnan(read.effort).all()


def test_a_velocity_that_is_not_told_is_measured() -> None:
    state = newest()
    state.put(THERE, (0.0, 0.0), (), (), WALL, 0)
    state.put(THERE, (0.1, -0.2), (), (), WALL + NS // 10, 0)
    assert np.allclose(state.newest(0, WALL + NS // 10).velocity_rad_s, [1.0, -2.0])


def test_a_repeated_or_older_stamp_makes_nothing_fresh() -> None:
    state = newest()
    state.put(THERE, (0.0, 0.0), (), (), WALL, 0)
    for later_ns in range(0, NS // 5, NS // 100):
        state.put(THERE, (7.0, 7.0), (), (), WALL - later_ns % 3, later_ns)
    assert state.age_s(NS // 5) == pytest.approx(0.2)
    with pytest.raises(ConnectionLostError, match="200 ms old; at most 100 ms"):
        state.newest(NS // 5, WALL)


@pytest.mark.parametrize(("skew_s", "words"), [(0.3, "ahead of"), (-0.3, "behind")])
def test_another_clock_is_refused(skew_s: float, words: str) -> None:
    state = newest()
    state.put(THERE, (0.0, 0.0), (), (), WALL + round(skew_s * NS), 0)
    with pytest.raises(DeviceError, match=words) as caught:
        state.newest(0, WALL)
    assert caught.value.code == "clock_skew"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_position_that_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(NonFiniteError, match="ur_b"):
        newest().put(THERE, (0.0, bad), (), (), WALL, 0)


@given(st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=80), st.floats(0.3, 1.0))
def test_a_controller_that_goes_part_of_the_way_is_followed(targets: list[float], part: float) -> None:
    watch, reference = FollowWatch(), targets[0]
    watch.start(np.array([targets[0]]), 0)
    for k, target in enumerate(targets):
        watch.sent(np.array([target]), k * NS // 100)
        reference += part * (target - reference)
        assert watch.off_rad(np.array([reference]))[0] < FOLLOW_TOLERANCE_RAD


def test_a_controller_that_stays_or_strays_is_noticed() -> None:
    watch = FollowWatch()
    assert watch.off_rad(np.array([1.0]))[0] == 0.0
    watch.start(np.array([0.0]), 0)
    for k in range(100):
        watch.sent(np.array([0.002 * k]), k * NS // 100)
    assert watch.off_rad(np.array([0.0]))[0] > 0.05 and watch.off_rad(np.array([0.3]))[0] > 0.05
    assert watch.off_rad(np.array([0.19]))[0] == 0.0
