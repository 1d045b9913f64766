# SPDX-License-Identifier: Apache-2.0
"""Patterns: two colours meet in a plane, under the light that was there."""
from __future__ import annotations

import numpy as np
import pytest

from dex_learn.tabletop.looks import two_coloured


@pytest.mark.parametrize("seed", range(8))
def test_two_colours_meet_in_a_plane_and_keep_the_light(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, base = rng.uniform(-0.05, 0.05, (400, 3)), np.tile([0.4, 0.2, 0.3], (400, 1))
    light = rng.uniform(0.3, 1.0, (400, 1))
    seen, plain = two_coloured(base * light, points, base, rng)
    changed = (plain != base).any(axis=1)
    assert 0.1 < changed.mean() < 0.9 and np.array_equal(seen[~changed], (base * light)[~changed])
    assert len(np.unique(plain[changed], axis=0)) == 1 and np.allclose(seen, plain * light)
    away = np.linalg.lstsq(np.column_stack([points, np.ones(400)]), np.where(changed, 1.0, -1.0), rcond=None)[0]
    side = np.column_stack([points, np.ones(400)]) @ away
    assert ((side > np.median(side)) == changed).mean() > 0.6  # one side of a plane, whichever share of the body it cuts off


def test_a_body_of_which_nothing_shows_is_left_alone() -> None:
    nothing = np.zeros((0, 3))
    seen, plain = two_coloured(nothing, nothing, nothing, np.random.default_rng(0))
    assert seen.shape == plain.shape == (0, 3)
