# SPDX-License-Identifier: Apache-2.0
"""The 21 points of each hand: links that exist, in the order of the finger, on both sides."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dex_core.config import FINGERS, HandKeypoints, SideConfig, load_robot, read_description
from dex_core.config.load import names_in
from dex_core.errors import ConfigError
from dex_description import parse_urdf
from dex_description.forward import link_poses, transform
from dex_description.urdf import Origin

HANDS = [(name, side) for name in names_in("hands") for side in load_robot(name).sides if load_robot(name).keypoints]


@pytest.mark.parametrize(("name", "side"), HANDS)
def test_points_follow_one_another_from_the_wrist_to_each_tip(name: str, side: str) -> None:
    robot = load_robot(name).for_side(side)
    description = parse_urdf(read_description(robot.urdf, side))
    parent = {joint.child: joint.parent for joint in description.joints}

    def above(link: str) -> list[str]:
        return [link] + (above(parent[link]) if link in parent else [])

    assert robot.keypoints is not None and robot.keypoints.wrist in {link.name for link in description.links}
    assert list(robot.keypoints.joints) == [finger for finger in FINGERS if finger in robot.fingers]
    for finger, joints in robot.keypoints.joints.items():
        chain = [link for link in (*joints, robot.fingers[finger].tip) if link is not None]
        for nearer, further in zip(chain, chain[1:], strict=False):
            assert nearer in above(further)[1:], f"{finger}: {nearer} is not before {further}"


@pytest.mark.parametrize(("name", "side"), HANDS)
def test_knuckles_lie_beside_each_other_in_the_order_of_the_fingers(name: str, side: str) -> None:
    """In the palm frame +Y goes to the thumb on a right hand: index before middle before ring before little."""
    robot = load_robot(name).for_side(side)
    poses = link_poses(parse_urdf(read_description(robot.urdf, side)), {})
    palm = robot.palm[side]
    turn = (poses[palm.link] @ transform(Origin(palm.xyz_m, palm.rpy_rad)))[:3, :3]
    at = np.array([poses[robot.keypoints.joints[finger][0]][:3, 3] for finger in FINGERS[1:] if finger in robot.fingers])
    across = (at @ turn)[:, 1] * (1.0 if side == "right" else -1.0)
    assert (np.diff(across) < -0.005).all(), across


def test_a_finger_that_is_not_there_is_refused() -> None:
    hand = load_robot("leap")
    with pytest.raises(ConfigError, match="keypoints of 'little': there is no such finger"):
        replace(hand, keypoints=HandKeypoints("base", {"little": (None, None, None)}))
    with pytest.raises(ConfigError, match="by_side 'left'.*little"):
        replace(hand, by_side={"left": SideConfig(keypoints={"little": (None, None, None)})})
