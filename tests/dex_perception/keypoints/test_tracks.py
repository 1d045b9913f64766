# SPDX-License-Identifier: Apache-2.0
"""Joints at a stamp: between two measurements, never beyond them, never across a gap or a jump of the clock."""

from __future__ import annotations

import numpy as np
import pytest

from dex_core.clock import NS
from dex_core.config import CellConfig, load_cell
from dex_core.errors import ConfigError, JointNameError
from dex_perception.keypoints.tracks import JointTracks, NoPosture

MS = NS // 1000
START = 1_795_000_000 * NS


@pytest.fixture(scope="module")
def cell() -> CellConfig:
    return load_cell("xarm_bimanual")


def fill(tracks: JointTracks, cell: CellConfig, times_ms: range, start_ns: int = START, leave_out: str = "") -> None:
    """Every joint moves at 1 rad/s; the robots are measured a little after one another."""
    for lag, (name, interface) in enumerate(cell.interfaces.items()):
        for t in times_ms if name != leave_out else ():
            stamp = start_ns + (t + lag) * MS
            tracks.put(name, stamp, interface.names, np.full(len(interface.names), (stamp - START) / NS))


def code_of(tracks: JointTracks, stamp_ns: int) -> str:
    with pytest.raises(NoPosture) as caught:
        tracks.at(stamp_ns)
    return caught.value.code


def test_linear_motion_is_reproduced_between_measurements(cell: CellConfig) -> None:
    tracks = JointTracks(cell)
    fill(tracks, cell, range(0, 500, 20))
    for ms in (10.0, 33.333, 100.0, 476.9):
        assert np.allclose(tracks.at(START + round(ms * MS)), ms / 1e3, atol=1e-9)
    assert tracks.at(START + 40 * MS).shape == (len(cell.joint_names),)


def test_nothing_is_extrapolated(cell: CellConfig) -> None:
    tracks = JointTracks(cell)
    assert code_of(tracks, START) == "joints_missing"
    fill(tracks, cell, range(0, 100, 10))
    assert code_of(tracks, START + 91 * MS) == "joints_late", "the first robot was last measured 90 ms in"
    assert code_of(tracks, START) == "joints_early", "the second was first measured 1 ms later"
    assert code_of(tracks, START - NS) == "joints_early"
    fill(tracks, cell, range(400, 420, 10))
    assert code_of(tracks, START + 200 * MS) == "joints_gap"
    tracks.at(START + 405 * MS)


def test_one_silent_robot_is_named(cell: CellConfig) -> None:
    tracks = JointTracks(cell)
    fill(tracks, cell, range(0, 100, 10), leave_out="right_hand")
    with pytest.raises(NoPosture, match="right_hand"):
        tracks.at(START + 50 * MS)


def test_a_clock_set_back_starts_anew(cell: CellConfig) -> None:
    tracks = JointTracks(cell)
    fill(tracks, cell, range(0, 100, 10))
    fill(tracks, cell, range(0, 100, 10), start_ns=START - 60 * NS)
    assert code_of(tracks, START + 50 * MS) == "joints_late"
    assert np.allclose(tracks.at(START - 60 * NS + 50 * MS), -59.95)


def test_a_repeated_or_late_measurement_changes_nothing(cell: CellConfig) -> None:
    tracks = JointTracks(cell)
    fill(tracks, cell, range(0, 100, 10))
    before = tracks.at(START + 55 * MS)
    names = cell.interfaces["left_arm"].names
    tracks.put("left_arm", START + 50 * MS, names, np.full(7, 9.0))
    tracks.put("left_arm", START + 95 * MS, names, np.full(7, np.nan))
    assert np.array_equal(tracks.at(START + 55 * MS), before)


def test_joints_go_by_name_and_strangers_are_refused(cell: CellConfig) -> None:
    tracks = JointTracks(cell)
    fill(tracks, cell, range(0, 20, 10), leave_out="left_arm")
    names = cell.interfaces["left_arm"].names
    for t in (0, 10):
        tracks.put("left_arm", START + t * MS, names[::-1], np.arange(7.0)[::-1])
    assert np.allclose(tracks.at(START + 5 * MS)[:7], np.arange(7.0))
    with pytest.raises(JointNameError):
        tracks.put("left_arm", START, cell.interfaces["right_arm"].names, np.zeros(7))
    with pytest.raises(ConfigError, match="left_arm"):
        tracks.put("tail", START, ("a",), np.zeros(1))


def test_memory_is_bounded(cell: CellConfig) -> None:
    tracks = JointTracks(cell)
    names = cell.interfaces["left_hand"].names
    for t in range(0, 20_000, 10):
        tracks.put("left_hand", START + t * MS, names, np.zeros(len(names)))
    assert len(tracks._stamps["left_hand"]) <= 501
