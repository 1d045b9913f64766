# SPDX-License-Identifier: Apache-2.0
"""A G1's topics between this project (Fast DDS) and Cyclone DDS 0.10, which the robot and unitree_sdk2py run: both ways, restarts, no crash.

Everything runs in a network namespace of its own, whose loopback interface is all there is. It needs

    DEX_UNITREE_PYTHON    a Python (3.10 has wheels) with cyclonedds 0.10.2 or 0.10.5
    DEX_UNITREE_SDK       for Unitree's own example: a checkout of unitree_sdk2_python, which that Python can run
"""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PYTHON, SDK = os.environ.get("DEX_UNITREE_PYTHON", ""), os.environ.get("DEX_UNITREE_SDK", "")
EXAMPLE = "example/g1/high_level/g1_arm7_sdk_dds_example.py"
LONG_S, WAIT_S = 120.0, 90.0


def why_not() -> str:
    """Why this cannot run here; empty when it can."""
    if not PYTHON:
        return "DEX_UNITREE_PYTHON names no Python with cyclonedds 0.10"
    question = "from importlib.metadata import version; import cyclonedds; print(version('cyclonedds'))"
    answer = subprocess.run([PYTHON, "-c", question], capture_output=True, text=True)
    if not answer.stdout.startswith("0.10."):
        return f"{PYTHON} has no cyclonedds 0.10: {answer.stdout or answer.stderr[-200:]}"
    made = subprocess.run(["unshare", "-rn", "ip", "link", "set", "lo", "up"], capture_output=True, text=True)
    return "" if made.returncode == 0 else f"no network namespace can be made here: {made.stderr}"


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can")


class Side:
    """One process in the namespace."""

    def __init__(self, namespace: int, words: list[str], **environment: str) -> None:
        inside = ["nsenter", "-t", str(namespace), "-U", "-n", "--preserve-credentials", "--"]
        self._out = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [*inside, *words], stdin=subprocess.PIPE, stdout=self._out, stderr=subprocess.STDOUT, env={**os.environ, **environment}, text=True,
        )

    def said(self) -> str:
        self._out.seek(0)
        return self._out.read()

    def wait_for(self, word: str, times: int = 1) -> None:
        deadline = time.monotonic() + WAIT_S
        while self.said().count(word) < times:
            assert time.monotonic() < deadline and self.process.poll() is None, f"no {word!r} in: {self.said()}"
            time.sleep(0.05)

    def kill(self) -> None:
        """As a crash: nothing is said any more."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=10.0)

    def end(self) -> dict:
        """SIGTERM, a clean end, and what it has to say."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=WAIT_S) == 0, self.said()
        return json.loads(self.said().splitlines()[-1])


class Net:
    """A machine without any other network than its loopback."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "-rn", "sh", "-c", "ip link set lo up && ip link set lo multicast on && echo up && exec sleep 600"],
            stdout=subprocess.PIPE, text=True,
        )
        assert self._holder.stdout is not None and self._holder.stdout.readline() == "up\n"
        self._sides: list[Side] = []

    def start(self, words: list[str], **environment: str) -> Side:
        side = Side(self._holder.pid, words, **environment)
        self._sides.append(side)
        return side

    def peer(self, role: str) -> Side:
        return self.start([PYTHON, str(HERE / "unitree_peer.py"), role, "1"])

    def ours(self, role: str, domain: int = 1) -> Side:
        return self.start([sys.executable, str(HERE / "unitree_ours.py"), role, str(domain)])

    def close(self) -> None:
        for side in self._sides:
            if side.process.poll() is None:
                side.kill()
        self._holder.kill()
        self._holder.wait(timeout=10.0)


@pytest.fixture
def net() -> Iterator[Net]:
    net = Net()
    yield net
    net.close()


def test_a_host_reads_and_moves_the_simulated_robot_and_another_one_after_it_was_killed(net: Net) -> None:
    robot = net.ours("robot")
    robot.wait_for("started")
    first = net.peer("host")
    first.wait_for("raised")
    first.kill()  # in the middle of its stream
    second = net.peer("host")
    second.wait_for("raised")
    heard, ours = second.end(), robot.end()
    assert heard["heard"] > 50 and heard["wrong"] == 0 and heard["raised"] == pytest.approx(0.2, abs=0.02)
    assert ours["commands"] > 100 and ours["refused"] == 0 and ours["raised"] == pytest.approx(0.4, abs=0.04)
    assert ours["weight"] == 1.0, "the robot keeps the last command of a host that is gone"


def test_a_robot_that_is_killed_and_starts_again_is_found_by_a_host_that_runs_on(net: Net) -> None:
    first = net.ours("robot")
    first.wait_for("started")
    host = net.peer("host")
    host.wait_for("raised")
    first.kill()
    second = net.ours("robot")
    second.wait_for("raised")
    host.wait_for("restarted")
    heard, ours = host.end(), second.end()
    assert ours["commands"] > 0 and ours["refused"] == 0
    assert heard["restarts"] == 1 and heard["wrong"] == 0


def test_the_driver_takes_moves_and_gives_back_a_robot_on_cyclone(net: Net) -> None:
    robot, driver = net.peer("robot"), net.ours("driver")
    driver.wait_for("raised")
    ours, theirs = driver.end(), robot.end()
    assert ours["raised"] == pytest.approx(0.2, abs=0.01)
    assert theirs["heard"] > 50 and theirs["wrong"] == 0 and theirs["legs"] == 0
    assert theirs["weights"][1:] == [1.0, 0.0], "taken, and given back at the end"


def test_the_driver_joins_again_after_the_robot_was_killed(net: Net) -> None:
    first, driver = net.peer("robot"), net.ours("driver")
    driver.wait_for("raised")
    first.kill()
    driver.wait_for("lost")
    second = net.peer("robot")
    driver.wait_for("raised", times=2)
    ours, theirs = driver.end(), second.end()
    assert ours["losses"] >= 1 and ours["rounds"] == 2
    assert theirs["wrong"] == 0 and theirs["weights"] == [1.0, 1.0, 0.0], "taken again at the weight that was held, given back at the end"


@pytest.mark.timeout(300)
@pytest.mark.skipif(not (SDK and (Path(SDK) / EXAMPLE).is_file()), reason="DEX_UNITREE_SDK names no checkout of unitree_sdk2_python")
def test_unitrees_own_arm_example_runs_to_its_end(net: Net) -> None:
    robot = net.ours("robot", domain=0)
    robot.wait_for("started")
    example = net.start([PYTHON, str(Path(SDK) / EXAMPLE), "lo"], PYTHONPATH=SDK)
    assert example.process.stdin is not None
    example.process.stdin.write("\n")
    example.process.stdin.flush()
    assert example.process.wait(timeout=LONG_S) == 255, "its own way to end: sys.exit(-1)"
    assert "Done!" in example.said()
    ours = robot.end()
    assert ours["commands"] > 900 and ours["refused"] == 0
    assert ours["weight"] == pytest.approx(0.0, abs=1e-6) and ours["raised"] == pytest.approx(0.0, abs=0.01)
