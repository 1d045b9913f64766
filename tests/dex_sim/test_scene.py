# SPDX-License-Identifier: Apache-2.0
"""What a seed decides."""
from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from dex_core.config import load_cell, load_task
from dex_sim.model import build_model
from dex_sim.scene import Visual, randomise_look


@pytest.fixture(scope="module")
def model():  # noqa: ANN201
    return build_model(load_cell("xarm_bimanual"), load_task("push_cans"))


def test_looks_depend_on_the_seed_alone(model) -> None:  # noqa: ANN001
    nominal = Visual.of(model)
    looks = [randomise_look(model, nominal, np.random.default_rng(seed)) for seed in (1, 2, 1)]
    for field in fields(Visual):
        first, second, again = (getattr(look, field.name) for look in looks)
        assert np.array_equal(first, again)
        assert not np.array_equal(first, second), field.name
    nominal.apply(model)
    assert np.array_equal(Visual.of(model).geom_rgba, nominal.geom_rgba)


def test_looks_stay_sane(model) -> None:  # noqa: ANN001
    nominal = Visual.of(model)
    for seed in range(50):
        look = randomise_look(model, nominal, np.random.default_rng(seed))
        assert (look.geom_rgba >= 0.0).all() and (look.geom_rgba <= 1.0).all()
        assert np.abs(look.cam_pos - nominal.cam_pos).max() <= 0.006
        assert np.allclose(np.linalg.norm(look.cam_quat, axis=1), 1.0)
        assert (look.light_dir[:, 2] < 0.0).all(), "light comes from above"
        label = look.geom_rgba[model.geom("left_can_label").id]
        assert label[0] > label[1] + 0.3 and label[0] > label[2] + 0.3, "a tomato can is red"
    nominal.apply(model)


def test_looks_are_read_only(model) -> None:  # noqa: ANN001
    with pytest.raises(ValueError, match="read-only"):
        Visual.of(model).geom_rgba[0] = 0.0
