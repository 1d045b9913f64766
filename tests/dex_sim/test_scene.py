# SPDX-License-Identifier: Apache-2.0
"""What a seed decides."""
from __future__ import annotations

import itertools
from dataclasses import fields

import numpy as np
import pytest

from dex_core.config import load_cell, load_task
from dex_core.errors import ConfigError
from dex_sim.model import build_model, objects_of
from dex_sim.scene import Visual, place_objects, randomise_look

TASKS = [load_task(name) for name in load_cell("xarm_bimanual").sim.every_task]
OBJECTS = objects_of(TASKS)


@pytest.fixture(scope="module")
def model():  # noqa: ANN201
    return build_model(load_cell("xarm_bimanual"), TASKS)


def test_looks_depend_on_the_seed_alone(model) -> None:  # noqa: ANN001
    nominal = Visual.of(model)
    looks = [randomise_look(model, nominal, np.random.default_rng(seed), OBJECTS) for seed in (1, 2, 1)]
    for field in fields(Visual):
        first, second, again = (getattr(look, field.name) for look in looks)
        assert np.array_equal(first, again)
        assert not np.array_equal(first, second), field.name
    nominal.apply(model)
    assert np.array_equal(Visual.of(model).geom_rgba, nominal.geom_rgba)


def test_looks_stay_sane(model) -> None:  # noqa: ANN001
    nominal = Visual.of(model)
    for seed in range(50):
        look = randomise_look(model, nominal, np.random.default_rng(seed), OBJECTS)
        assert (look.geom_rgba >= 0.0).all() and (look.geom_rgba <= 1.0).all()
        assert np.abs(look.cam_pos - nominal.cam_pos).max() <= 0.006
        assert np.allclose(np.linalg.norm(look.cam_quat, axis=1), 1.0)
        assert (look.light_dir[:, 2] < 0.0).all(), "light comes from above"
        label = look.geom_rgba[model.geom("left_can_label").id]
        assert label[0] > label[1] + 0.3 and label[0] > label[2] + 0.3, "a tomato can is red"
        lemon, lime, bowl = (look.geom_rgba[model.geom(f"{name}_label").id] for name in ("lemon", "lime", "bowl"))
        assert lemon[0] > 0.7 and lemon[1] > 0.6 and lemon[2] < 0.3, "a lemon is yellow"
        assert lime[1] > lime[0] + 0.15 and lime[1] > lime[2] + 0.25, "a lime is green"
        assert bowl[2] > bowl[0] + 0.25, "the bowl is blue"
    nominal.apply(model)


def test_looks_are_read_only(model) -> None:  # noqa: ANN001
    with pytest.raises(ValueError, match="read-only"):
        Visual.of(model).geom_rgba[0] = 0.0


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_objects_start_in_their_regions_and_apart(task) -> None:  # noqa: ANN001
    for seed in range(50):
        spots = place_objects(task, np.random.default_rng(seed))
        for name, thing in task.objects.items():
            for value, (low, high) in zip(spots[name], (thing.region.x_m, thing.region.y_m), strict=True):
                assert low <= value <= high
        for first, second in itertools.combinations(spots, 2):
            room = task.objects[first].radius_m + task.objects[second].radius_m + 0.02
            assert np.linalg.norm(spots[first] - spots[second]) > room


def test_two_tasks_may_not_share_an_object() -> None:
    with pytest.raises(ConfigError, match="left_can"):
        objects_of([TASKS[0], TASKS[0]])
