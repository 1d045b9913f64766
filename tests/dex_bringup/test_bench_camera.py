# SPDX-License-Identifier: Apache-2.0
"""What `dex bench camera` counts: lost pictures by their numbers, the floor, and one whole way in small."""

from __future__ import annotations

from pathlib import Path

import pytest

from dex_bringup.bench import camera, camera_floor
from dex_bringup.bench.camera_listen import Stream
from dex_bringup.transport import KEPT_MEMORY, PROFILE, PROFILE_VARIABLES, picture_environment


def test_what_is_missing_between_the_first_and_the_last_is_lost() -> None:
    assert Stream(numbers=[7, 8, 9]).lost() == 0
    assert Stream(numbers=[7, 9, 10, 14]).lost() == 1 + 3
    assert Stream(numbers=[4094, 4095, 0, 2]).lost(4096) == 1
    assert Stream().lost() == Stream(numbers=[3]).lost() == 0


def test_the_floor_brings_every_picture_to_every_reader() -> None:
    delays, lost = camera_floor.measure(640 * 480 * 3, 100.0, 2, 0.1, 0.3)
    assert len(delays) == 2 * 30 and lost == 0 and min(delays) > 0.0


def test_the_untuned_way_has_no_profile_and_ours_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "/somewhere/else.xml")
    assert not set(picture_environment()) & set(camera._environment(tuned=False))
    tuned = camera._environment(tuned=True)
    assert {Path(tuned[name]).name for name in PROFILE_VARIABLES} == {PROFILE} and set(KEPT_MEMORY) <= set(tuned)


@pytest.mark.ros
def test_one_way_is_measured_from_the_node_to_three_processes(tmp_path: Path) -> None:
    cell_file = camera._cell_file(tmp_path, "xarm_bimanual", 64, 48, 50.0)
    found = camera._measured(camera.Way("small", True, False), cell_file, 1.5)
    assert found["received"] >= 0.8 * 2 * camera.READERS * 50.0 * 1.5
    assert 0.0 < found["colour_p50_ms"] < 1000.0 and 0.0 < found["publisher_cpu"] < 2.0
