# SPDX-License-Identifier: Apache-2.0
"""`dex up` as people use it: Ctrl-C ends everything, a second start is refused (F40), and a killed one leaves no orphan."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dex_bringup.testing import private_cell
from dex_core.config import load_cell
from dex_eval.testing import fixture_cell
from dex_ros.testing import wait_for

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(180)]
DOMAIN = 58


@pytest.fixture
def cell_file(tmp_path: Path) -> Path:
    fixture_cell(load_cell(private_cell(tmp_path, DOMAIN, host=101)), tmp_path).save(tmp_path / "cell.yaml")
    return tmp_path / "cell.yaml"


def start(cell_file: Path, tmp_path: Path, run: str) -> subprocess.Popen:
    environment = {**os.environ, "ROS_DOMAIN_ID": str(DOMAIN), "DEX_RUN_DIR": str(tmp_path / run)}
    return subprocess.Popen([sys.executable, "-c", "from dex_bringup.cli import main; raise SystemExit(main())", "up", str(cell_file)],
                            env=environment, stdout=(tmp_path / f"{run}.txt").open("w"), stderr=subprocess.STDOUT, start_new_session=True)


@pytest.fixture
def running(cell_file: Path, tmp_path: Path) -> Iterator[subprocess.Popen]:
    process = start(cell_file, tmp_path, "first")
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def nodes_of(process: subprocess.Popen) -> list[psutil.Process]:
    return psutil.Process(process.pid).children()


@pytest.mark.render
def test_second_start_is_refused_and_ctrl_c_ends_the_first(running: subprocess.Popen, cell_file: Path, tmp_path: Path) -> None:
    log = tmp_path / "first.txt"
    wait_for(lambda: "all nodes active" in log.read_text(), "dex up", 90.0, 0.1)
    nodes = nodes_of(running)
    assert len(nodes) == 12
    second = start(cell_file, tmp_path, "second")
    assert second.wait(20) == 3
    assert f"process {running.pid}" in (tmp_path / "second.txt").read_text()
    running.send_signal(signal.SIGINT)
    assert running.wait(40) == 0
    assert "cell is down" in log.read_text() and "had to kill" not in log.read_text()
    assert not [node for node in nodes if node.is_running()]


def test_killed_supervisor_leaves_no_orphan(running: subprocess.Popen) -> None:
    wait_for(lambda: len(nodes_of(running)) == 12, "dex up", 20.0, 0.05)
    nodes = nodes_of(running)
    running.kill()
    running.wait()
    wait_for(lambda: not [node for node in nodes if node.is_running()], f"end of {len(nodes)} nodes", 20.0, 0.05)
