# SPDX-License-Identifier: Apache-2.0
"""A point is hidden by what stands before it and is not its own flesh: robots by their model, everything else by depth or a mask."""

from __future__ import annotations

import numpy as np
import pytest

from dex_description import parse_urdf
from dex_perception.keypoints.lens import project
from dex_perception.keypoints.sample import HIDDEN, MISSING, VISIBLE
from dex_perception.keypoints.shapes import PosedShapes, ShapeSet
from dex_perception.keypoints.testing import lens
from dex_perception.keypoints.visibility import OTHER_CAMERA, TOLERANCES, DepthTolerance, Judged, Owners, judge, tolerance_of

LENS = lens()
TIGHT = DepthTolerance(0.002)
URDF = """<robot name="r"><link name="world"/>
  <link name="finger"><visual><geometry><cylinder radius="0.01" length="0.1"/></geometry></visual></link>
  <link name="other"><visual><geometry><box size="0.05 0.05 0.01"/></geometry></visual></link>
  <joint name="1" type="fixed"><parent link="world"/><child link="finger"/></joint>
  <joint name="2" type="fixed"><parent link="world"/><child link="other"/></joint>
</robot>"""


def scene(finger_z: float = 1.0, other: tuple[float, float, float] = (0.5, 0.0, 0.5), along: bool = False) -> PosedShapes:
    """The finger across the view (or along it) at a depth, the other part somewhere."""
    poses = np.tile(np.eye(4), (2, 1, 1))
    if not along:
        poses[0, :3, :3] = [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    poses[0, 2, 3], poses[1, :3, 3] = finger_z, other
    return ShapeSet.of(parse_urdf(URDF)).before(poses)


def look(point: tuple[float, float, float], shapes: PosedShapes, depth: np.ndarray | None = None, mask: np.ndarray | None = None,
         flesh_m: float = 0.025) -> Judged:
    points = np.array([point])
    owners = Owners(np.array([[True, False]]), np.array([flesh_m]))
    return judge(points, project(points, LENS), owners, shapes, LENS, depth, mask, TIGHT)


def seen(*args: object, **kwargs: object) -> int:
    return int(look(*args, **kwargs).visibility[0])  # type: ignore[arg-type]


AXIS = (0.0, 0.0, 1.0)
"""On the finger's axis: its own surface is 10 mm before it."""


def test_own_flesh_shows_its_point() -> None:
    assert seen(AXIS, scene()) == VISIBLE


def test_another_part_hides_it_and_only_from_before() -> None:
    assert seen(AXIS, scene(other=(0.0, 0.0, 0.8))) == HIDDEN
    assert seen(AXIS, scene(other=(0.0, 0.0, 1.2))) == VISIBLE
    assert seen(AXIS, scene(other=(0.1, 0.0, 0.8))) == VISIBLE


def test_a_finger_that_points_away_hides_its_own_tip() -> None:
    tip = (0.0, 0.0, 1.05)
    assert seen(tip, scene(along=True)) == HIDDEN, "100 mm of its own link before it"
    assert seen((0.0, 0.0, 0.95), scene(along=True)) == VISIBLE, "pointing at the camera"
    assert seen(tip, scene(along=True), flesh_m=0.2) == VISIBLE


def test_outside_the_picture_there_is_no_point() -> None:
    assert seen((2.0, 0.0, 1.0), scene()) == MISSING
    assert seen((0.0, 0.0, -1.0), scene()) == MISSING
    points = np.array([[-1.0, -1.0, -1.0]])
    assert judge(points, project(points, LENS), Owners(np.ones((1, 2), bool), np.ones(1)), scene(), LENS).visibility.tolist() == [MISSING]


def flat(depth_m: float) -> np.ndarray:
    return np.full((240, 320), depth_m, dtype=np.float32)


def test_a_thing_that_only_the_camera_sees_hides_it() -> None:
    found = scene().render(LENS).depth_m
    assert seen(AXIS, scene(), found) == VISIBLE, "the depth is the finger's own"
    assert seen(AXIS, scene(), flat(0.7)) == HIDDEN
    assert seen(AXIS, scene(), np.minimum(found, flat(1.3))) == VISIBLE, "the wall behind"


def test_tolerance_is_what_it_says() -> None:
    own = 0.99
    assert seen(AXIS, scene(), flat(own - 0.0015)) == VISIBLE
    assert seen(AXIS, scene(), flat(own - 0.0025)) == HIDDEN
    assert DepthTolerance(0.01, 0.02).at(np.array([1.0, 2.0])) == pytest.approx([0.03, 0.09])
    assert tolerance_of("simulated") is TOLERANCES["simulated"] and tolerance_of("v4l2") is OTHER_CAMERA
    assert all(OTHER_CAMERA.at(np.float64(z)) >= t.at(np.float64(z)) for t in TOLERANCES.values() for z in (0.3, 1.0, 3.0))


def test_most_of_the_known_depths_around_it_decide() -> None:
    found = np.minimum(scene().render(LENS).depth_m, 3.0)
    row, column = (120, 160)  # the nearest pixels of the picture's middle
    speck = found.copy()
    speck[row, column] = 0.3
    assert seen(AXIS, scene(), speck) == VISIBLE, "one flying pixel hides nothing"
    holes = np.full_like(found, np.nan)
    holes[row, column] = 0.3
    assert seen(AXIS, scene(), holes) == HIDDEN, "the only one that is known"


@pytest.mark.parametrize("unknown", [np.nan, 0.0])
def test_without_depth_around_it_the_model_alone_is_asked_and_that_is_told(unknown: float) -> None:
    found = look(AXIS, scene(), flat(unknown))
    assert found.visibility.tolist() == [VISIBLE] and found.without_depth.tolist() == [True]
    assert not look(AXIS, scene(), flat(0.99)).without_depth[0]
    assert not look(AXIS, scene()).without_depth[0], "nobody asked for depth"


def test_a_mask_of_an_object_hides_it() -> None:
    mask = np.zeros((240, 320), dtype=bool)
    assert seen(AXIS, scene(), mask=mask) == VISIBLE
    mask[110:130, 150:170] = True
    assert seen(AXIS, scene(), mask=mask) == HIDDEN


def test_at_the_edge_of_the_picture() -> None:
    """The window of pixels is cut, not wrapped."""
    x = (-0.4 - LENS.cx) / LENS.fx
    depth = flat(1.0)
    depth[:, -3:] = 0.1
    assert seen((x, 0.0, 1.0), scene(), depth) == VISIBLE
