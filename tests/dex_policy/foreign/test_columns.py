# SPDX-License-Identifier: Apache-2.0
"""Our angles and poses become a server's numbers and come back as they were, in every unit and form."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.dex_policy.foreign.made import CLOSED, OPEN, arm, gripper, observation_of

from dex_core.config import CellConfig
from dex_core.config.strict import build
from dex_core.errors import DexError
from dex_core.policy.observation import ObservationRefused
from dex_core.types import JointState
from dex_policy.foreign.columns import columns_of, range_check
from dex_policy.foreign.part import Part
from dex_policy.foreign.rotation import FROM_MATRIX, TO_MATRIX, rotation_from_vector

UNITS = [
    {"unit": "rad"}, {"unit": "deg"}, {"unit": "rad", "sign": [1, -1, 1, -1, 1, -1, 1], "zero_rad": [0.1] * 7},
    {"unit": "deg", "sign": [-1.0] * 7}, {"unit": "range", "range_rad": [[-3.0, 3.0]] * 6 + [[2.0, -2.0]], "value_range": [-100.0, 100.0]},
    {"unit": "rad", "scale": 0.2},
]


def part_of(data: dict[str, Any], **more: Any) -> Part:
    """As the description's reader makes it."""
    return build(Part, {**data, **more}, "test")


@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_what_is_read_and_written_again_is_where_the_robot_stands(cell: CellConfig, unit: dict) -> None:
    seen, columns = observation_of(cell), columns_of(part_of({**arm("left"), **unit}, reference="absolute"), cell)
    back = columns.write(columns.read(seen)[None], seen)
    np.testing.assert_allclose(back[0], seen.joints["left_arm"].position_rad, atol=1e-12)
    assert columns.names == cell.interface("left_arm").names


def test_degrees_signs_and_ranges_are_those_of_the_server(cell: CellConfig) -> None:
    seen = observation_of(cell)
    q = seen.joints["left_arm"].position_rad
    np.testing.assert_allclose(columns_of(part_of({**arm("left"), **UNITS[3]}), cell).read(seen), -np.degrees(q))
    ranged = columns_of(part_of({**arm("left"), **UNITS[4]}), cell).read(seen)
    assert ranged[0] == pytest.approx(q[0] / 3.0 * 100.0) and ranged[6] == pytest.approx(-q[6] / 2.0 * 100.0)


@pytest.mark.parametrize("unit", UNITS[1:4], ids=str)
def test_a_delta_has_the_unit_and_the_sign_but_no_zero(cell: CellConfig, unit: dict) -> None:
    seen, columns = observation_of(cell), columns_of(part_of({**arm("left"), **unit}, reference="delta_to_previous"), cell)
    absolute = columns_of(part_of({**arm("left"), **unit}, reference="absolute"), cell)
    steps = np.full((4, 7), 2.0)
    found = columns.write(steps, seen)
    np.testing.assert_allclose(found[2], absolute.write(columns.read(seen)[None] + 3 * steps[:1], seen)[0], atol=1e-12)


def test_a_scale_is_what_one_of_the_server_is(cell: CellConfig) -> None:
    """DROID's joint velocities: 1 is 0.2 rad a step."""
    seen, columns = observation_of(cell), columns_of(part_of({**arm("left"), "scale": 0.2}, reference="delta_to_previous"), cell)
    found = columns.write(np.ones((3, 7)), seen) - seen.joints["left_arm"].position_rad
    np.testing.assert_allclose(found[:, 0], [0.2, 0.4, 0.6], atol=1e-12)


def test_joints_may_come_in_the_servers_own_order_and_only_some_of_them(cell: CellConfig) -> None:
    seen = observation_of(cell)
    columns = columns_of(part_of({**arm("left"), "joints": ["joint4", "joint2"]}), cell)
    assert columns.names == ("left_joint4", "left_joint2")
    np.testing.assert_allclose(columns.read(seen), seen.joints["left_arm"].position_rad[[3, 1]])


def test_a_gripper_is_the_nearest_posture_on_its_line(cell: CellConfig) -> None:
    seen, columns = observation_of(cell), columns_of(part_of(gripper("left")), cell)
    hand = cell.interface("left_hand")
    for share in (0.0, 0.25, 1.0):
        q = np.array([OPEN[j] + share * (CLOSED[j] - OPEN[j]) for j in hand.robot.actuated])
        state = JointState(hand.names, q, 0 * q, 0 * q, seen.stamp_ns)
        at = replace(seen, joints={**seen.joints, "left_hand": state})
        assert columns.read(at)[0] == pytest.approx(1.0 - share)
        np.testing.assert_allclose(columns.write(columns.read(at)[None], at)[0], q, atol=1e-12)


@pytest.mark.parametrize(("number", "posture"), [(0.51, OPEN), (0.49, CLOSED), (7.0, OPEN), (-7.0, CLOSED)])
def test_a_binary_gripper_knows_only_open_and_closed(cell: CellConfig, number: float, posture: dict) -> None:
    columns = columns_of(part_of(gripper("left"), binary=True), cell)
    found = columns.write(np.array([[number]]), observation_of(cell))
    np.testing.assert_allclose(found[0], [posture[j] for j in cell.interface("left_hand").robot.actuated])


@pytest.mark.parametrize("form", FROM_MATRIX)
@given(vector=st.tuples(*[st.floats(-3.1, 3.1)] * 3))
def test_rotations_come_back_in_every_form(form: str, vector: tuple[float, ...]) -> None:
    rotation = rotation_from_vector(np.array(vector))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(TO_MATRIX[form](FROM_MATRIX[form](rotation)), rotation, atol=1e-7)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, math.pi - 1e-9, math.pi])
def test_rotations_near_nothing_and_half_a_turn(axis: int, angle: float) -> None:
    rotation = rotation_from_vector(angle * np.eye(3)[axis])
    for form in ("rotvec", "quat_xyzw"):
        np.testing.assert_allclose(TO_MATRIX[form](FROM_MATRIX[form](rotation)), rotation, atol=1e-9)


def test_a_quarter_turn_about_z_is_known_by_its_numbers() -> None:
    rotation = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(FROM_MATRIX["rotvec"](rotation), [0, 0, math.pi / 2], atol=1e-12)
    np.testing.assert_allclose(FROM_MATRIX["quat_xyzw"](rotation), [0, 0, math.sqrt(0.5), math.sqrt(0.5)], atol=1e-12)
    np.testing.assert_allclose(FROM_MATRIX["rot6d_columns"](rotation), [0, 1, 0, -1, 0, 0])
    np.testing.assert_allclose(FROM_MATRIX["rot6d_rows"](rotation), [0, -1, 0, 1, 0, 0])


@pytest.mark.parametrize("form", FROM_MATRIX)
def test_a_wrist_pose_is_written_as_chunks_carry_it(cell: CellConfig, form: str) -> None:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation_from_vector(np.array([0.3, -1.2, 0.5])), (0.4, -0.1, 0.3)
    seen = replace(observation_of(cell), poses={"left_arm": pose})
    columns = columns_of(part_of({"of": "wrist_pose", "interface": "left_arm", "rotation": form}), cell)
    written = columns.write(columns.read(seen)[None], seen)[0]
    np.testing.assert_allclose(written, [*pose[:3, 3], *pose[:3, 0], *pose[:3, 1]], atol=1e-12)
    with pytest.raises(ObservationRefused, match="no measured pose"):
        columns.read(observation_of(cell))


@pytest.mark.parametrize("quaternion", [(0, 0, 0, 0), (1, 1, 1, 1), (0, 0, 0, 0.5)])
def test_a_quaternion_that_is_none_makes_up_no_rotation(quaternion: tuple) -> None:
    with pytest.raises(DexError) as refused:
        TO_MATRIX["quat_xyzw"](np.array([(0, 0, 0, 1.0), quaternion]))
    assert refused.value.code == "rotation"


@pytest.mark.parametrize(("names", "code"), [(("left_joint1",), "joint_names"), (None, "state_stale")])
def test_a_state_that_is_not_whole_is_refused(cell: CellConfig, names: tuple | None, code: str) -> None:
    seen = observation_of(cell)
    joints = {k: v for k, v in seen.joints.items() if k != "left_arm"}
    if names:
        joints["left_arm"] = JointState(names, np.zeros(1), np.zeros(1), np.zeros(1), seen.stamp_ns)
    with pytest.raises(ObservationRefused) as refused:
        columns_of(part_of(arm("left")), cell).read(replace(seen, joints=joints))
    assert refused.value.code == code


def test_limits_are_in_the_servers_own_numbers() -> None:
    check = range_check(part_of({**arm("left"), "unit": "deg", "joints": ["joint1"]}, reference="absolute", limits=[[-90.0, 90.0]]), "x")
    assert check.check(np.array([[89.0]])) == "" and check.check(np.array([[120.0]]))
    with pytest.raises(DexError):
        check.check(np.array([[200.0]]))
