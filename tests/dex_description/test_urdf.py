# SPDX-License-Identifier: Apache-2.0
"""Reading a URDF into values."""
from __future__ import annotations

import pytest

from dex_description import parse_urdf, read_urdf

LINK = '<link name="{0}"/>'


def robot(body: str) -> str:
    return f'<robot name="r">{body}</robot>'


def test_reads_an_arm() -> None:
    arm = parse_urdf(read_urdf("urdf/arms/xarm7.urdf"))
    assert arm.root == "link_base"
    assert arm.actuated == tuple(f"joint{i}" for i in range(1, 8))
    assert arm.joint("joint4").lower_rad == -0.19198
    assert arm.link("link_eef").collisions == ()
    assert all(link.visuals and link.collisions for link in arm.links if link.name != "link_eef")


def test_reads_couplings() -> None:
    hand = parse_urdf(read_urdf("urdf/hands/inspire_left.urdf"))
    mimics = {joint.name: joint.mimic for joint in hand.joints if joint.mimic}
    assert len(hand.actuated) == 6 and len(mimics) == 6
    assert mimics["index_intermediate_joint"].multiplier == 1.06399
    assert all(mimic.joint in hand.actuated for mimic in mimics.values())


def test_shapes_keep_size_place_and_colour() -> None:
    text = robot(
        '<material name="m"><color rgba="1 0 0 1"/></material><link name="a"><visual><origin xyz="1 2 3" rpy="0 0 1"/>'
        '<geometry><box size="1 2 3"/></geometry><material name="m"/></visual></link>'
    )
    (shape,) = parse_urdf(text).link("a").visuals
    assert (shape.kind, shape.size_m, shape.origin.xyz_m, shape.rgba) == ("box", (1, 2, 3), (1, 2, 3), (1, 0, 0, 1))


@pytest.mark.parametrize("text, message", [
    ("<robot", "not a URDF"),
    (robot(LINK.format("a") + LINK.format("a")), "link 'a' is there more than once"),
    ("<sdf/>", "root element is 'sdf'"),
    (robot('<link name="a"><visual><geometry><mesh filename="x"/></geometry></visual></link>'), "box, cylinder or sphere, found mesh"),
    (robot('<joint name="j" type="planar"/>'), "'j' has kind 'planar'; allowed: fixed, revolute, prismatic"),
])
def test_refuses_what_it_cannot_use(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_urdf(text)


def test_names_what_there_is() -> None:
    two = parse_urdf(robot(LINK.format("a") + LINK.format("b")))
    with pytest.raises(ValueError, match="no link 'c'; it has a, b"):
        two.link("c")
    with pytest.raises(ValueError, match=r"one root link, has \['a', 'b'\]"):
        _ = two.root
