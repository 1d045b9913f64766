# SPDX-License-Identifier: Apache-2.0
"""Every robot's points: 21 of each hand by name, a chain along each arm, and surfaces that are a point's own."""

from __future__ import annotations

import numpy as np
import pytest

from dex_core.config import load_cell, load_robot
from dex_core.config.load import names_in
from dex_core.retarget.keypoints import COUNT, INDEX_KNUCKLE, MIDDLE_KNUCKLE, tip_row
from dex_description import compose_cell_urdf, parse_urdf
from dex_description.forward import link_poses
from dex_perception.keypoints.kinematics import CellKinematics
from dex_perception.keypoints.layout import HAND_EDGES, HAND_NAMES, Instance, instances_of
from dex_perception.keypoints.testing import home


def instances(**robots: str) -> dict[str, Instance]:
    cell = load_cell("xarm_bimanual", **robots)
    return {instance.name: instance for instance in instances_of(cell, parse_urdf(compose_cell_urdf(cell)))}


def test_the_order_is_that_of_the_retargeters_keypoints() -> None:
    assert len(HAND_NAMES) == COUNT == len(set(HAND_NAMES))
    assert HAND_NAMES[INDEX_KNUCKLE] == "index_mcp" and HAND_NAMES[MIDDLE_KNUCKLE] == "middle_mcp"
    assert all(HAND_NAMES[tip_row(finger)] == f"{finger}_tip" for finger in ("thumb", "index", "middle", "ring", "little"))
    assert len(HAND_EDGES) == 20 and {end for _, end in HAND_EDGES} == set(range(1, 21))


@pytest.mark.parametrize("hand", [name for name in names_in("hands") if name != "panda_gripper"])
def test_both_hands_of_a_kind_have_the_same_points(hand: str) -> None:
    found = instances(hand=hand)
    left, right = found["left_hand"], found["right_hand"]
    assert left.names == right.names == HAND_NAMES and left.edges == right.edges
    fingers = load_robot(hand).fingers or {}
    for instance in (left, right):
        assert all(point.link is None or point.link.startswith(f"{instance.side}_") for point in instance.points)
        assert [p.link is not None for p in instance.points[4::4]] == [f in fingers for f in ("thumb", "index", "middle", "ring", "little")]
        present = {row for row, point in enumerate(instance.points) if point.link is not None}
        assert {end for _, end in instance.edges} == present - {0} and {start for start, _ in instance.edges} <= present


def test_a_hand_without_a_table_has_wrist_and_tips() -> None:
    points = instances(hand="panda_gripper")["left_hand"].points
    fingers = load_robot("panda_gripper").fingers or {}
    assert [point.name for point in points if point.link] == ["wrist", *(f"{finger}_tip" for finger in fingers)]


def test_missing_joints_are_bridged() -> None:
    """Inspire's fingers have no DIP: the tip hangs on the PIP."""
    edges = instances()["left_hand"].edges
    assert (HAND_NAMES.index("index_pip"), HAND_NAMES.index("index_tip")) in edges


@pytest.mark.parametrize("arm", ["xarm7", "fr3"])
def test_an_arm_is_a_chain_of_its_joints_to_its_flange(arm: str) -> None:
    found = instances(arm=arm)["right_arm"]
    robot = load_robot(arm)
    assert found.names[: len(robot.actuated)] == robot.actuated and found.names[-1] == robot.tip_link
    assert found.edges == tuple((row, row + 1) for row in range(len(found.points) - 1))


def test_a_body_branches() -> None:
    cell = load_cell("g1")
    found = {i.name: i for i in instances_of(cell, parse_urdf(compose_cell_urdf(cell)))}["body"]
    ends = [end for _, end in found.edges]
    assert len(found.points) == 29 and len(ends) == len(set(ends)) == 26, "legs and waist begin at the pelvis, which is no joint"
    assert not any("thumb" in link for link in found.links)


def test_own_surfaces() -> None:
    points = {point.name: point for point in instances()["left_hand"].points}
    assert points["index_tip"].own == {"left_index_tip", "left_index_intermediate"}
    assert points["index_pip"].own >= {"left_index_proximal", "left_index_intermediate"}
    assert "left_middle_proximal" not in points["index_mcp"].own
    assert points["wrist"].own >= {"left_base", "left_hand_base_link", "left_link_eef", "left_link7"}
    assert points["index_dip"].link is None and not points["index_dip"].own


def test_neither_table_nor_world_is_anybodys_own() -> None:
    for instance in instances().values():
        assert not {"table", "world", "camera_link"} & (instance.links | set().union(*(point.own for point in instance.points)))


def test_no_link_belongs_to_two_robots() -> None:
    for cell in ("xarm_bimanual", "franka", "g1"):
        config = load_cell(cell)
        found = instances_of(config, parse_urdf(compose_cell_urdf(config)))
        assert sum(len(i.links) for i in found) == len(frozenset().union(*(i.links for i in found)))


@pytest.mark.parametrize("cell", ["xarm_bimanual", "franka", "g1"])
def test_forward_kinematics_of_the_whole_cell(cell: str) -> None:
    """Beside the plain forward kinematics of the descriptions, couplings included."""
    config = load_cell(cell)
    rng = np.random.default_rng(3)
    limits = np.array([[limit.lower_rad, limit.upper_rad] for i in config.interfaces.values() for limit in i.limits])
    kinematics, description = CellKinematics(config), parse_urdf(compose_cell_urdf(config))
    links = tuple(link.name for link in description.links)
    for q in (home(config), *rng.uniform(limits[:, 0], limits[:, 1], (5, len(limits)))):
        expected = link_poses(description, dict(zip(config.joint_names, q, strict=True)))
        assert np.allclose(kinematics.poses(q, links), [expected[link] for link in links], atol=1e-9)
