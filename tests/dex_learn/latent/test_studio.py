# SPDX-License-Identifier: Apache-2.0
"""A hand is drawn whole, in the posture asked for, on even paper."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.config import load_robot
from dex_core.errors import DexError
from dex_core.kinematics import load_hand
from dex_learn.latent.studio import PAPER, Studio

pytestmark = pytest.mark.render


@pytest.mark.parametrize(("name", "side"), [("leap", "left"), ("inspire", "right")])
def test_a_hand_is_drawn_whole_in_every_posture(name: str, side: str) -> None:
    hand = load_hand(name, side)
    postures = np.stack([hand.clip(np.zeros(len(hand.names))), hand.lower_rad + 0.7 * (hand.upper_rad - hand.lower_rad)])
    try:
        studio = Studio(load_robot(name), side, (120, 130))
    except DexError as error:
        if error.code != "no_renderer":
            raise
        pytest.skip(str(error))
    studio.look_at(postures)
    first, second = (np.asarray(studio.picture(q)) for q in postures)
    studio.close()
    for picture in (first, second):
        drawn = (np.abs(picture.astype(int) - PAPER) > 12).any(axis=2)
        assert picture.shape == (130, 120, 3) and 0.1 < drawn.mean() < 0.8
        assert not (drawn[0].any() or drawn[-1].any() or drawn[:, 0].any() or drawn[:, -1].any())
    assert (first != second).any(axis=2).mean() > 0.05
