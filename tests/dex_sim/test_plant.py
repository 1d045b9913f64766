# SPDX-License-Identifier: Apache-2.0
"""Plants without a world."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.clock import ManualClock
from dex_core.errors import NonFiniteError, ShapeError
from dex_sim.plant import KinematicPlant, Plant


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def plant(clock: ManualClock) -> KinematicPlant:
    return KinematicPlant(("a", "b"), [0.0, 1.0], time_constant_s=0.1, clock=clock)


def test_follows_with_a_first_order_lag(plant: KinematicPlant, clock: ManualClock) -> None:
    assert isinstance(plant, Plant)
    plant.command([1.0, 1.0])
    clock.advance_s(0.1)
    state = plant.read()
    assert state.position_rad == pytest.approx([1.0 - np.exp(-1.0), 1.0])
    assert state.velocity_rad_s == pytest.approx([10.0 * np.exp(-1.0), 0.0])
    clock.advance_s(10.0)
    assert plant.read().position_rad == pytest.approx([1.0, 1.0])


def test_hold_stops_it(plant: KinematicPlant, clock: ManualClock) -> None:
    plant.command([1.0, 1.0])
    clock.advance_s(0.05)
    plant.hold()
    before = plant.read().position_rad
    clock.advance_s(5.0)
    assert np.array_equal(plant.read().position_rad, before)


def test_refuses_nonsense(plant: KinematicPlant) -> None:
    with pytest.raises(NonFiniteError):
        plant.command([0.0, np.inf])
    with pytest.raises(ShapeError):
        plant.command([0.0])
    with pytest.raises(ValueError, match="time_constant_s is 0"):
        KinematicPlant(("a",), [0.0], time_constant_s=0.0)
