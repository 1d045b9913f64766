# SPDX-License-Identifier: Apache-2.0
"""The picture of the schedules: what is drawn is what was commanded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dex_bringup.bench import chunking_trajectories
from dex_bringup.bench.chunking_gate import Commanded


def commanded(speed: float) -> Commanded:
    time_s = np.arange(0.2, 4.0, 0.01)
    return Commanded(time_s, np.stack([0.0 * time_s, speed * time_s], axis=-1), np.array([0.2, 1.5, 2.5]))


def test_every_schedule_has_its_panel(tmp_path: Path) -> None:
    pictures = {}
    for names in (("synchronous",), ("synchronous", "blending")):
        path = tmp_path / f"{len(names)}.png"
        chunking_trajectories.draw(path, {name: commanded(0.3 + 0.1 * k) for k, name in enumerate(names)}, ("a", "b"), "two joints")
        pictures[len(names)] = np.asarray(Image.open(path).convert("L"))
    assert all(picture.std() > 5.0 for picture in pictures.values()), "something is drawn"
    assert not np.array_equal(pictures[1], pictures[2])


def test_speeds_are_of_that_joint_over_all_schedules() -> None:
    low, high = chunking_trajectories._speeds({"a": commanded(0.3), "b": commanded(-0.5)}, 1)
    assert low == pytest.approx(-0.58) and high == pytest.approx(0.38)
