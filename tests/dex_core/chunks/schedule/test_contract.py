# SPDX-License-Identifier: Apache-2.0
"""Every schedule keeps the contract; what it does not promise is said here."""

from __future__ import annotations

import typing

import pytest

from dex_core.chunks import SCHEDULES
from dex_core.chunks.schedule import Asynchronous, Blending, Ensemble, RealTime, Synchronous
from dex_core.config import ControlConfig
from dex_core.config.control import SCHEDULE_NAMES
from dex_core.contracts.schedule import ScheduleContract


class TestBlending(ScheduleContract):
    kind = Blending


class TestRealTime(ScheduleContract):
    kind = RealTime
    overshoot_rad = 0.2  # of a joint in motion that is told to be still


class TestEnsemble(ScheduleContract):
    kind = Ensemble
    meets_velocity = False
    exact_rad = 0.01  # its own steps lie between those of the chunk


class TestAsynchronous(ScheduleContract):
    kind = Asynchronous
    meets_position = meets_velocity = False


class TestSynchronous(ScheduleContract):
    kind = Synchronous
    meets_position = meets_velocity = by_time = False


def test_the_registry_and_the_cell_file_know_the_same_names():
    assert tuple(SCHEDULES) == SCHEDULE_NAMES and ControlConfig().schedule in SCHEDULES


@pytest.mark.parametrize("name", SCHEDULE_NAMES)
def test_every_schedule_has_a_file_of_its_own_name(name):
    assert SCHEDULES[name].__module__ == f"dex_core.chunks.schedule.{name}"
    assert not typing.cast(type, SCHEDULES[name]).__abstractmethods__
