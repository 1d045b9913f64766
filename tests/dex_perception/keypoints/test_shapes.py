# SPDX-License-Identifier: Apache-2.0
"""A rendered model shows at every pixel what the ray through it meets first, whatever the lens."""

from __future__ import annotations

import numpy as np
import pytest

from dex_core.clouds.rays import rays_of
from dex_description import parse_urdf
from dex_perception.keypoints.shapes import NOTHING, PosedShapes, ShapeSet
from dex_perception.keypoints.testing import lens

URDF = """<robot name="r"><link name="world"/>
  <link name="a"><visual><geometry><box size="0.2 0.1 0.3"/></geometry></visual>
    <visual><origin xyz="0 0.2 0" rpy="0.4 0.2 0"/><geometry><cylinder radius="0.05" length="0.3"/></geometry></visual></link>
  <link name="b"><visual><geometry><sphere radius="0.12"/></geometry></visual></link>
  <link name="bare"/>
  <joint name="1" type="fixed"><parent link="world"/><child link="a"/></joint>
  <joint name="2" type="fixed"><parent link="a"/><child link="b"/></joint>
  <joint name="3" type="fixed"><parent link="b"/><child link="bare"/></joint>
</robot>"""


def posed(seed: int = 0, ahead_m: float = 0.8) -> PosedShapes:
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (2, 1, 1))
    for pose in poses:
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        pose[:3, :3] = turn * np.sign(np.linalg.det(turn))
        pose[:3, 3] = (*rng.uniform(-0.2, 0.2, 2), ahead_m)
    return ShapeSet.of(parse_urdf(URDF)).before(poses)


def test_links_without_shapes_are_left_out() -> None:
    shapes = ShapeSet.of(parse_urdf(URDF))
    assert shapes.links == ("a", "b") and shapes.link.tolist() == [0, 0, 1]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("distortion", [(), (-0.2, 0.05, 0.0, 0.0)])
def test_rendered_is_cast(seed: int, distortion: tuple[float, ...]) -> None:
    intrinsics = lens(120, 90, 1.0, distortion)
    shapes, rays = posed(seed), rays_of(intrinsics)
    drawn = shapes.render(intrinsics)
    hits = shapes.cast(np.stack([rays.x, rays.y, np.ones_like(rays.x)], axis=-1).reshape(-1, 3).astype(float))
    assert np.array_equal(drawn.link.ravel(), hits.link)
    assert np.allclose(drawn.depth_m.ravel(), hits.depth_m, rtol=1e-6)
    assert set(np.unique(drawn.link)) == {NOTHING, 0, 1}


def test_a_ball_ahead_is_as_large_as_it_must_be() -> None:
    """Its outline is seen under asin(r / d); its nearest point is d - r away."""
    shapes = ShapeSet.of(parse_urdf(URDF))
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[0, 2, 3], poses[1, 2, 3] = -5.0, 1.0
    intrinsics = lens(401, 301)
    drawn = shapes.before(poses).render(intrinsics)
    radius_px = intrinsics.fx * np.tan(np.arcsin(0.12))
    assert (drawn.link == 1).sum() == pytest.approx(np.pi * radius_px**2, rel=0.01)
    assert drawn.depth_m[150, 200] == pytest.approx(0.88, abs=1e-6) and not (drawn.link == 0).any()


def test_what_reaches_behind_the_camera_is_still_drawn() -> None:
    """A long box beside the camera: some of its corners have no place in the picture."""
    urdf = URDF.replace('size="0.2 0.1 0.3"', 'size="0.2 0.1 4.0"')
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[0, :3, 3], poses[1, 2, 3] = (0.0, 0.15, 0.5), -5.0
    drawn = ShapeSet.of(parse_urdf(urdf)).before(poses).render(lens())
    assert (drawn.link == 0).sum() > 1000


def test_nothing_to_see_is_no_error() -> None:
    empty = ShapeSet.of(parse_urdf('<robot name="r"><link name="world"/></robot>')).before(np.zeros((0, 4, 4)))
    assert (empty.render(lens(20, 10)).link == NOTHING).all()
    assert empty.cast(np.array([[0.0, 0.0, 1.0]])).link.tolist() == [NOTHING]
