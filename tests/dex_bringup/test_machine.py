# SPDX-License-Identifier: Apache-2.0
"""Findings about the machine are facts and change nothing."""
from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dex_bringup import machine


def test_trying_real_time_leaves_this_process_alone() -> None:
    before = os.sched_getscheduler(0)
    assert machine.may_schedule_realtime() in (True, False)
    assert os.sched_getscheduler(0) == before


def test_another_ros_install_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = tmp_path / 'own', tmp_path / 'other'
    for prefix in (own, other):
        (prefix / 'lib').mkdir(parents=True)
        (prefix / 'lib' / 'librcl.so').touch()
    monkeypatch.setattr(sys, 'prefix', str(own))
    monkeypatch.delenv('PYTHONPATH', raising=False)
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(own))
    assert machine.foreign_ros() is None
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'{other}{os.pathsep}{own}')
    assert machine.foreign_ros() == str(other)


def test_in_a_ros_install_nothing_is_foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    monkeypatch.setenv('AMENT_PREFIX_PATH', '/opt/ros/jazzy')
    assert machine.foreign_ros() is None
