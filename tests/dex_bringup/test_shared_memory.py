# SPDX-License-Identifier: Apache-2.0
"""Only what dead processes left is removed."""
from __future__ import annotations

import fcntl
from pathlib import Path

from dex_bringup.shared_memory import remove_stale_segments, stale_segments


def make_segment(folder: Path, digit: str, size: int = 100) -> Path:
    """A segment and its lock file, as Fast DDS names them."""
    segment = folder / f'fastrtps_{digit * 16}'
    segment.write_bytes(bytes(size))
    segment.with_name(segment.name + '_el').touch()
    return segment


def test_dead_is_removed_and_alive_stays(tmp_path: Path) -> None:
    dead, alive = make_segment(tmp_path, 'a'), make_segment(tmp_path, 'b')
    (tmp_path / 'fastrtps_port7000').touch()
    (tmp_path / 'something_else').touch()
    with (tmp_path / (alive.name + '_el')).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert stale_segments(tmp_path, min_age_s=0.0) == [dead]
        assert remove_stale_segments(tmp_path, min_age_s=0.0) == 100
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        alive.name, alive.name + '_el', 'fastrtps_port7000', 'something_else']


def test_young_files_are_left_alone(tmp_path: Path) -> None:
    make_segment(tmp_path, 'a')
    assert stale_segments(tmp_path) == []
    assert remove_stale_segments(tmp_path) == 0


def test_lock_without_segment_goes_too(tmp_path: Path) -> None:
    make_segment(tmp_path, 'c').unlink()
    assert remove_stale_segments(tmp_path, min_age_s=0.0) == 0
    assert not list(tmp_path.iterdir())


def test_no_shared_memory_folder(tmp_path: Path) -> None:
    assert stale_segments(tmp_path / 'missing') == []
