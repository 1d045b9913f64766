# SPDX-License-Identifier: Apache-2.0
"""Touch and currents: taken from drivers that have them, absent where they have not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dex_core.devices.joint_device import DeviceHealth
from dex_core.devices.sensing import currents_of, touch_of
from dex_core.types import Array

NAMES = ("left_a", "left_b")


class Plain:
    """A driver that tells only its health."""

    def __init__(self, **values: str) -> None:
        self._values = values

    def health(self) -> DeviceHealth:
        return DeviceHealth(True, values=self._values)


class Feeling(Plain):
    """A driver with skin and currents."""

    touch_unit = "N"
    measured: Array | None = np.array([0.1, -0.2])

    def touch(self) -> Mapping[str, Array]:
        return {"thumb": np.array([[1.0, 2.0]]), "palm": np.array([3.0])}

    def currents(self) -> Array | None:
        return self.measured


def test_a_driver_without_feels_nothing() -> None:
    assert touch_of(Plain()).areas == {} and currents_of(Plain(), NAMES) == {}


def test_areas_come_with_their_unit() -> None:
    touch = touch_of(Feeling())
    assert touch.unit == "N" and touch.areas["thumb"].shape == (1, 2) and touch.areas["palm"].tolist() == [3.0]


def test_currents_are_by_joint() -> None:
    device = Feeling()
    assert currents_of(device, NAMES) == {"left_a": 0.1, "left_b": -0.2}
    device.measured = None
    assert currents_of(device, NAMES) == {}


def test_currents_may_be_in_the_health() -> None:
    assert currents_of(Plain(**{"left_b.current_a": "0.25", "left_a.current_a": "nan", "current_a": "0.25"}), NAMES) == {"left_b": 0.25}
    assert currents_of(Plain(current_a="0.1 0.2"), NAMES) == {"left_a": 0.1, "left_b": 0.2}
    assert currents_of(Plain(current_a="0.3"), NAMES) == {}
