# SPDX-License-Identifier: Apache-2.0
"""The spy sees every command, changes nothing, and names what is unsafe; and it stands behind the gate and the drivers of these tests."""

from __future__ import annotations

import numpy as np
import pytest

from dex_control.gate import Gate
from dex_core.config import load_cell
from dex_core.contracts.command_spy import KEPT, Bounds, CommandSpy, spying
from dex_core.devices.fake import FakeJointDevice
from dex_core.devices.limited import Limited
from dex_sim.plant import KinematicPlant

NAMES = ("a", "b")
BOUNDS = Bounds(np.array([-1.0, -1.0]), np.array([1.0, 1.0]), np.array([0.2, 0.2]))
MEASURED = np.array([0.9, 0.0])


@pytest.mark.parametrize(("position", "said"), [
    ([np.nan, 0.0], "a is nan"), ([0.9, np.inf], "b is inf"), ([1.01, 0.0], "a is 1.010000 rad, above"), ([0.9, -1.2], "b is -1.200000 rad, below"),
    ([0.6, 0.0], "a is 0.600000 rad, more than 0.2000 from measured 0.9"), ([0.9], "(1,) numbers for 2 joints"),
])
def test_unsafe_is_named(position: list[float], said: str) -> None:
    spy = CommandSpy()
    assert not spy.look("gate", NAMES, np.array(position), BOUNDS, MEASURED)
    with pytest.raises(AssertionError, match="1 unsafe") as caught:
        spy.require_safe()
    assert said in str(caught.value)
    spy.require_safe()  # said once


def test_safe_is_counted_and_only_so_many_words_are_kept() -> None:
    spy = CommandSpy()
    assert spy.look("gate", NAMES, MEASURED + [0.05, -0.2], BOUNDS, MEASURED)
    assert spy.look("gate", NAMES, MEASURED, BOUNDS, np.full(2, np.nan))  # never measured: the step cannot be judged
    for _ in range(KEPT + 5):
        spy.look("gate", NAMES, np.full(2, np.nan))
    assert (spy.seen, spy.unsafe, len(spy.violations)) == (KEPT + 7, KEPT + 5, KEPT)


class Hole:
    """A wall that stops nothing."""

    def __init__(self, device: FakeJointDevice, limits: object) -> None:
        self.device = device

    def command(self, position_rad: np.ndarray) -> None:
        self.device.read()
        self.device.command(position_rad)


def test_a_wall_that_lets_something_through_is_seen() -> None:
    arm = load_cell("xarm_bimanual").interface("left_arm")
    home = np.array(arm.home)
    with spying(CommandSpy(), limited=[Hole]) as spy:
        wall = Hole(FakeJointDevice(arm.names, home, first_command_max_rad=9.0), arm.limits)
        wall.device.connect()
        wall.device.enable()
        wall.command(home + 0.01)
        assert (spy.seen, spy.unsafe) == (1, 0)
        wall.command(home + 1.0)
        assert wall.device.commands[-1][0] == home[0] + 1.0  # it looks and changes nothing
    assert (spy.seen, spy.unsafe) == (2, 1) and "from measured" in spy.violations[0]
    assert not hasattr(Hole(FakeJointDevice(["a"], [0.0]), arm.limits).device, "_spy")  # gone afterwards


def test_a_simulated_joint_moves_by_finite_numbers() -> None:
    with spying(CommandSpy(), plants=[KinematicPlant]) as spy:
        KinematicPlant(NAMES, [0.0, 0.0]).command(np.array([0.1, 0.2]))
    assert (spy.seen, spy.unsafe) == (1, 0)


def test_every_test_is_watched(command_spy: CommandSpy) -> None:
    assert "spied" in Gate.tick.__qualname__ and "spied" in Limited.__init__.__qualname__ and "spied" in KinematicPlant.command.__qualname__
    before = command_spy.seen
    KinematicPlant(NAMES, [0.0, 0.0]).command(np.array([0.1, 0.2]))
    assert command_spy.seen == before + 1
