# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.clock import ManualClock
from dex_core.config import JointLimit, load_cell
from dex_core.contracts.joint_device import JointDeviceContract
from dex_core.devices.fake import FakeJointDevice
from dex_core.devices.limited import Limited
from dex_core.errors import DexError, LimitError, NonFiniteError, ShapeError

NAMES = ("a", "b")
LIMITS = (JointLimit(-1.0, 1.0, 2.0, 20.0, 0.2), JointLimit(-0.5, 0.5, 2.0, 20.0, 0.2))


def limited(position: tuple[float, float] = (0.0, 0.0)) -> tuple[Limited, FakeJointDevice]:
    clock = ManualClock(1)
    fake = FakeJointDevice(NAMES, position, first_command_max_rad=10.0, clock=clock)
    device = Limited(fake, LIMITS, step_slack_rad=0.0, clock=clock)
    device.connect()
    device.enable()
    return device, fake


class TestFake(JointDeviceContract):
    @pytest.fixture
    def device(self) -> FakeJointDevice:
        return FakeJointDevice.from_interface(load_cell("xarm_bimanual").interface("left_arm"))


class TestLimitedFake(JointDeviceContract):
    @pytest.fixture
    def device(self) -> Iterator[Limited]:
        interface = load_cell("xarm_bimanual").interface("left_arm")
        yield Limited(FakeJointDevice.from_interface(interface), interface.limits)


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        ((math.nan, 0.0), NonFiniteError, "a is nan"), ((0.0, -math.inf), NonFiniteError, "b is -inf"), ((0.0,), ShapeError, r"shape \(1,\)"),
        ((0.0, 0.0, 0.0), ShapeError, "shape"), ((0.0, 0.51), LimitError, "b is 0.5100 rad; allowed"), ((0.21, 0.0), LimitError, "from measured"),
    ],
)
def test_violations_hold_raise_and_show(target: tuple[float, ...], error: type[DexError], words: str) -> None:
    device, fake = limited()
    with pytest.raises(error, match=words):
        device.command(np.array(target))
    assert fake.commands == [] and fake.calls[-1] == "hold" and device.violations == 1
    assert not device.health().ok and "refused at the driver" in device.health().text
    device.command(np.zeros(2))
    assert device.health().ok


def test_nothing_is_clamped() -> None:
    device, fake = limited()
    target = np.array([0.2, -0.1])
    assert device.command(target).tolist() == target.tolist() == fake.commands[0].tolist()


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=2, max_size=2))
def test_whatever_comes_only_lawful_targets_get_through(target: list[float]) -> None:
    device, fake = limited((0.3, 0.1))
    try:
        device.command(np.array(target))
    except DexError:
        assert fake.commands == []
    else:
        sent = fake.commands[0]
        assert np.isfinite(sent).all() and (np.abs(sent - [0.3, 0.1]) <= 0.2).all() and (np.abs(sent) <= [1.0 + 1e-5, 0.5 + 1e-5]).all()


def test_wrong_number_of_limits_is_refused() -> None:
    with pytest.raises(ShapeError, match="1 limits for the 2 joints"):
        Limited(FakeJointDevice(NAMES, (0.0, 0.0)), LIMITS[:1])
