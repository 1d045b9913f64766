# SPDX-License-Identifier: Apache-2.0
"""Capsules from shapes, distances and gradients, pairs left out, refusals; the compiled kernel beside its reference."""
from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.config import CellConfig, load_cell, load_robot, read_description
from dex_core.errors import ConfigError, JointNameError, NonFiniteError, ShapeError
from dex_core.kinematics.collision import CollisionModel
from dex_core.kinematics.collision_numpy import box_distance, nearest_of_segments, segment_to_box
from dex_core.kinematics.kernel import kernel
from dex_description.compose import compose_cell_urdf

ENGINES = ("", "numpy")
compiled = pytest.mark.skipif(kernel() is None, reason="no C compiler, so there is nothing to compare")
number = st.floats(-1.0, 1.0)
points = st.lists(st.tuples(number, number, number), min_size=4, max_size=4).map(np.array)

SLIDER = """
<robot name="slider">
  <link name="world"/>
  <link name="table"><collision><origin xyz="0 0 -0.1"/><geometry><box size="2 2 0.2"/></geometry></collision></link>
  <joint name="table_joint" type="fixed"><parent link="world"/><child link="table"/></joint>
  <link name="rail"/>
  <joint name="lift" type="prismatic"><parent link="world"/><child link="rail"/><axis xyz="0 0 1"/><limit lower="-0.5" upper="2"/></joint>
  <link name="ball"><collision><geometry><sphere radius="0.1"/></geometry></collision></link>
  <joint name="slide" type="prismatic"><parent link="rail"/><child link="ball"/><axis xyz="1 0 0"/><limit lower="-2" upper="2"/></joint>
  <link name="post"><collision><origin xyz="0 0 1"/><geometry><cylinder radius="0.05" length="0.6"/></geometry></collision></link>
  <joint name="post_joint" type="fixed"><parent link="world"/><child link="post"/></joint>
</robot>"""


@cache
def cell() -> CellConfig:
    return load_cell("xarm_bimanual")


def parts_of(cell_config: CellConfig) -> dict[str, str]:
    return {interface.prefix + interface.robot.root_link: interface.name for interface in cell_config.interfaces.values()}


@cache
def cell_model(engine: str = "") -> CollisionModel:
    return CollisionModel(compose_cell_urdf(cell()), cell().joint_names, parts=parts_of(cell()), engine=engine)


def home() -> np.ndarray:
    return np.concatenate([interface.home for interface in cell().interfaces.values()])


def postures(count: int, seed: int = 0) -> np.ndarray:
    return home() + np.random.default_rng(seed).normal(0.0, 0.4, (count, len(home())))


@pytest.mark.parametrize("engine", ENGINES)
def test_distances_of_simple_shapes_are_exact(engine: str) -> None:
    model = CollisionModel(SLIDER, engine=engine)
    assert model.names == ("lift", "slide") and model.links == ("table", "ball", "post")
    above = model.query([0.3, -0.9])
    assert above.links == ("table", "ball") and above.distance_m == pytest.approx(0.2)
    assert np.allclose(above.gradient, [1.0, 0.0]) and np.allclose(above.points_m, [[-0.9, 0.0, 0.0], [-0.9, 0.0, 0.2]])
    beside = model.query([1.0, -0.4])
    assert set(beside.links) == {"ball", "post"} and beside.distance_m == pytest.approx(0.25) and np.allclose(beside.gradient, [0.0, -1.0])
    deep = model.query([-0.02, 0.5])
    assert deep.distance_m == pytest.approx(-0.12) and np.allclose(deep.gradient, [1.0, 0.0])
    edge = model.query([0.3, 1.4])
    assert edge.distance_m == pytest.approx(0.4) and np.allclose(edge.gradient, [0.6, 0.8])


@pytest.mark.parametrize("engine", ENGINES)
def test_axes_that_cross_have_a_finite_answer(engine: str) -> None:
    found = CollisionModel(SLIDER, engine=engine).query([1.0, 0.0])
    assert found.distance_m == pytest.approx(-0.15) and np.isfinite(found.gradient).all()


@given(points)
def test_segments_are_as_near_as_a_fine_search_says(ends: np.ndarray) -> None:
    a, b, c, d = ends
    p, r = nearest_of_segments(*(end[None] for end in ends))
    shares = np.linspace(0.0, 1.0, 41)[:, None]
    grid = np.linalg.norm((a + shares * (b - a))[:, None] - (c + shares * (d - c))[None], axis=2).min()
    assert np.linalg.norm(p - r) <= grid + 1e-9


@given(points)
def test_segments_and_boxes_are_as_near_as_a_fine_search_says(ends: np.ndarray) -> None:
    box = np.concatenate([np.eye(3).ravel(), [0.1, 0.0, -0.2], [0.3, 0.2, 0.1]])
    a, b = ends[:2]
    found, point = segment_to_box(box, a[None], b[None])
    shares = np.linspace(0.0, 1.0, 201)[:, None]
    grid = box_distance(box, a + shares * (b - a))[0].min()
    assert grid - 0.02 <= found[0] <= grid + 1e-9
    assert box_distance(box, point)[0] == pytest.approx(found)


def test_the_gradient_is_the_derivative() -> None:
    model, checked = cell_model(), 0
    for q in postures(4):
        found, steps = model.query_parts(q), 1e-6 * np.eye(len(q))
        ahead, behind = [model.query_parts(q + s) for s in steps], [model.query_parts(q - s) for s in steps]
        for between, nearest in found.items():
            if all(np.abs(n[between].points_m - nearest.points_m).max() < 1e-4 for n in (*ahead, *behind)):  # no kink in between
                slopes = [(a[between].distance_m - b[between].distance_m) / 2e-6 for a, b in zip(ahead, behind, strict=True)]
                assert np.allclose(nearest.gradient, slopes, atol=1e-4)
                checked += 1
    assert checked > 20


@compiled
def test_the_kernel_equals_its_reference() -> None:
    fast, slow = cell_model(), cell_model("numpy")
    assert fast.pairs == slow.pairs and fast.ignored == slow.ignored
    for q in postures(10, seed=1):
        ours, reference = fast.query_parts(q), slow.query_parts(q)
        assert ours.keys() == reference.keys()
        for between, found in ours.items():
            assert found.distance_m == pytest.approx(reference[between].distance_m, abs=1e-12)
            if set(found.links) == set(reference[between].links):
                assert np.allclose(found.gradient, reference[between].gradient, atol=1e-9)
    assert np.allclose(fast.check_chunk(postures(3)).distance_m, slow.check_chunk(postures(3)).distance_m, atol=1e-12)


def test_the_broad_phase_loses_nothing() -> None:
    model = cell_model()
    for q in postures(30, seed=2):
        assert model.query(q).distance_m == pytest.approx(model._all.pairs(q).min(), abs=1e-12)


def test_the_cell_is_free_at_home_and_not_with_an_arm_in_the_table() -> None:
    model = cell_model()
    assert model.query(home()).distance_m > 0.0
    down = home()
    down[model.names.index("left_joint2")] += 1.6
    found = model.query_parts(down)[("", "left_arm")]
    assert found.distance_m < 0.0 and "table" in found.links
    raised = down + 0.05 * found.gradient / np.linalg.norm(found.gradient)
    assert model.query_parts(raised)[("", "left_arm")].distance_m > found.distance_m


def test_parts_can_be_left_out() -> None:
    text, skip = compose_cell_urdf(cell()), [(f"{side}_hand", f"{side}_hand") for side in ("left", "right")]
    model = CollisionModel(text, cell().joint_names, parts=parts_of(cell()), skip=skip)
    assert not any(pair in model.query_parts(home()) for pair in skip)
    assert model.query(home()).distance_m >= cell_model().query(home()).distance_m


def test_a_chunk_is_its_steps() -> None:
    model, q = cell_model(), postures(12, seed=3)
    track = model.check_chunk(q)
    single = [model.query(step) for step in q]
    assert np.allclose(track.distance_m, [found.distance_m for found in single])
    assert track.worst == (pytest.approx(min(found.distance_m for found in single)), single[track.worst_step].links)
    empty = model.check_chunk(np.zeros((0, len(home()))))
    assert empty.distance_m.shape == (0,) and empty.worst == (np.inf, ()) and empty.worst_step == -1


@pytest.mark.parametrize("name", ("xarm7", "fr3", "panda", "g1"))
def test_every_arm_has_a_model_whose_neighbours_may_touch(name: str) -> None:
    robot = load_robot(name)
    model = CollisionModel(read_description(robot.urdf), robot.actuated)
    assert model.pairs and not {("link1", "link2"), ("fr3_link1", "fr3_link2"), ("torso_link", "left_shoulder_pitch_link")} & set(model.pairs)


def test_pairs_that_always_touch_are_left_out() -> None:
    touching = SLIDER.replace('<origin xyz="0 0 1"/>', '<origin xyz="0 0 0"/>')
    model = CollisionModel(touching)
    assert ("table", "post") not in model.pairs and ("table", "post") not in model.ignored  # neither moves
    overlapping = SLIDER.replace('radius="0.1"', 'radius="9"')
    assert ("table", "ball") in CollisionModel(overlapping).ignored
    rested = CollisionModel(SLIDER, rest_rad=[-0.05, 1.0])
    assert rested.ignored == (("table", "ball"),)
    assert CollisionModel(SLIDER, ignore=[("ball", "table")]).pairs == (("ball", "post"),)


def test_a_model_without_pairs_is_infinitely_free() -> None:
    model = CollisionModel(SLIDER, ignore=[("ball", "table"), ("ball", "post")])
    found = model.query([0.0, 0.0])
    assert found.distance_m == np.inf and found.links == () and not found.gradient.any()


@pytest.mark.parametrize("size, count", (("0.2 0.04 0.04", 1), ("0.03 0.2 0.06", 2), ("0.01 0.2 0.3", 4)))
def test_boxes_that_move_are_covered_by_capsules(size: str, count: int) -> None:
    text = SLIDER.replace('<sphere radius="0.1"/>', f'<box size="{size}"/>')
    shapes = CollisionModel(text)._shapes
    first = shapes.first[shapes.links.index("ball")]
    capsules = shapes.data[first:shapes.first[shapes.links.index("ball") + 1]]
    half = 0.5 * np.array([float(word) for word in size.split()])
    assert len(capsules) == count
    thin, wide, _ = np.argsort(half, kind="stable")
    corner = np.zeros(3)
    corner[thin], corner[wide] = half[thin], half[wide]
    near, mine = nearest_of_segments(*(np.atleast_2d(x) for x in (corner, corner)), *(capsules[-1:, :3], capsules[-1:, 3:6]))
    assert np.linalg.norm(near - mine) <= capsules[-1, 6] + 1e-12
    assert np.abs(capsules[:, :6].reshape(-1, 3)).max(axis=0)[np.argmax(half)] <= half.max()


def test_refusals_name_the_culprit() -> None:
    model = CollisionModel(SLIDER)
    with pytest.raises(ShapeError, match=r"shape \(3,\), expected \(2,\)"):
        model.query(np.zeros(3))
    with pytest.raises(NonFiniteError, match=r"nan at index \(1,\)"):
        model.query([0.0, np.nan])
    with pytest.raises(ShapeError, match=r"expected \('any', 2\)"):
        model.check_chunk(np.zeros(2))
    with pytest.raises(ConfigError, match="link 'ball': collision shape 'mesh'"):
        CollisionModel(SLIDER.replace('<sphere radius="0.1"/>', '<mesh filename="x.stl"/>'))
    with pytest.raises(ConfigError, match="begins at 'hook'"):
        CollisionModel(SLIDER, parts={"hook": "crane"})
    with pytest.raises(ConfigError, match="part 'crane' is not known"):
        CollisionModel(SLIDER, skip=[("crane", "")])
    with pytest.raises(ConfigError, match="no collision shapes"):
        CollisionModel('<robot><link name="a"/><link name="b"/><joint name="j" type="revolute"><parent link="a"/><child link="b"/></joint></robot>')
    with pytest.raises(ConfigError, match="cannot be read"):
        CollisionModel("<robot>")
    with pytest.raises(JointNameError):
        CollisionModel(SLIDER, ["lift"])
    with pytest.raises(ConfigError, match="engine"):
        CollisionModel(SLIDER, engine="c")
