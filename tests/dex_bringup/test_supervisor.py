# SPDX-License-Identifier: Apache-2.0
"""Processes without ROS: started, watched, respawned, ended in order, never left behind."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from dex_bringup import children
from dex_bringup.children import Child, _before_exec, stop_in_order
from dex_bringup.logs import LogTail, last_lines
from dex_bringup.process import ProcessDescription
from dex_bringup.resolve import resolve
from dex_bringup.supervisor import CellDownError, Supervisor
from dex_bringup.testing import private_cell
from dex_core.errors import ConfigError
from dex_ros.testing import wait_for

POLITE = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


@pytest.fixture(autouse=True)
def scripts_for_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose executable is a Python text runs that text."""
    monkeypatch.setattr(children, "command_of", lambda process: [sys.executable, "-S", "-c", process.executable])


def child(tmp_path: Path, name: str, script: str, stage: int = 0) -> Child:
    return Child(ProcessDescription("none", script, name, stop_stage=stage), tmp_path / f"{name}.log")


def up(*started: Child) -> None:
    for one in started:
        one.start()
    wait_for(lambda: all("up" in "".join(last_lines(one.log_path)) for one in started), "scripts", 10.0)


def test_stages_end_one_after_another(tmp_path: Path) -> None:
    first, second = child(tmp_path, "a", POLITE, 0), child(tmp_path, "b", POLITE, 1)
    up(first, second)
    assert stop_in_order([second, first]) == []
    assert not first.running and not second.running and first.exit_text == "exit code 0"


def test_who_does_not_end_is_killed_and_named(tmp_path: Path) -> None:
    stubborn = child(tmp_path, "stubborn", STUBBORN)
    up(stubborn)
    assert stop_in_order([stubborn], stage_timeout_s=0.3) == ["stubborn"]
    assert stubborn.exit_text == "killed by SIGKILL"


def test_a_terminal_signal_does_not_reach_the_child(tmp_path: Path) -> None:
    import os

    one = child(tmp_path, "a", POLITE)
    up(one)
    assert os.getpgid(one.pid) == one.pid
    stop_in_order([one])


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    resolution = resolve(private_cell(tmp_path, 58, host=131), {}, tmp_path / "run")
    few = tuple(dataclasses.replace(p, executable=POLITE) for p in resolution.processes if p.name in ("gate", "policy"))
    said: list[str] = []
    made = Supervisor(dataclasses.replace(resolution, processes=few), notify=said.append)
    made.said = said  # type: ignore[attr-defined]
    return made


def test_a_dead_node_is_reported_and_started_again(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dex_bringup.supervisor.command_of", lambda _process: [])
    with supervisor:
        policy = supervisor.child("policy")
        policy.signal(signal.SIGKILL)
        wait_for(lambda: not policy.running, "policy", 5.0)
        supervisor.tick()
        assert any("policy ended (killed by SIGKILL)" in text for text in supervisor.said)  # type: ignore[attr-defined]
        deadline = time.monotonic() + 10.0
        while len(policy.starts) == 1 and time.monotonic() < deadline:
            supervisor.tick()
            time.sleep(0.02)
        assert policy.running and len(policy.starts) == 2


@pytest.mark.ros
def test_a_node_that_cannot_start_ends_the_wait_with_its_log(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dex_bringup.supervisor.command_of", lambda _process: [])
    policy = supervisor.child("policy")
    policy.process = dataclasses.replace(policy.process, executable="raise SystemExit('no model today')")
    supervisor.start()
    try:
        with pytest.raises(CellDownError, match="(?s)policy does not start.*no model today"):
            supervisor.wait_active(20.0)
    finally:
        supervisor.stop()


def test_the_end_of_an_essential_one_ends_the_cell(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dex_bringup.supervisor.command_of", lambda _process: [])
    with supervisor:
        supervisor.child("gate").signal(signal.SIGKILL)
        wait_for(lambda: not supervisor.child("gate").running, "gate", 5.0)
        with pytest.raises(CellDownError, match="gate ended"):
            supervisor.tick()
    assert not any(c.running for c in supervisor.children)


def test_rviz_that_is_not_there_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="rviz2 is not installed"):
        children.command_of(ProcessDescription("rviz2", "rviz2", "rviz"))


def test_log_tail_shows_whole_lines_with_the_name(tmp_path: Path) -> None:
    shown: list[str] = []
    tail = LogTail({"gate": tmp_path / "gate.log", "sim": tmp_path / "sim.log"}, shown.append, colour=False)
    tail.pump()
    (tmp_path / "gate.log").write_bytes(b"one\ntw")
    tail.pump()
    assert shown == ["gate | one"]
    with (tmp_path / "gate.log").open("ab") as log:
        log.write(b"o\n\xff\n")
    tail.pump()
    assert shown == ["gate | one", "gate | two", "gate | \ufffd"]


def test_a_child_whose_parent_died_before_the_kernel_knew_does_not_start() -> None:
    somebody_else = os.getpid() + 1
    child = subprocess.Popen([sys.executable, "-c", "pass"], preexec_fn=partial(_before_exec, 0, somebody_else))  # noqa: PLW1509
    assert child.wait(10.0) == 1


def test_the_parents_handler_does_not_swallow_the_end_of_a_child_that_is_about_to_start() -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # as a supervisor has one; the fork copies it

    def ended_at_once() -> None:
        _before_exec(0, parent)
        os.kill(os.getpid(), signal.SIGTERM)  # what the kernel does when the parent dies here

    parent = os.getpid()
    try:
        child = subprocess.Popen([sys.executable, "-c", "pass"], preexec_fn=ended_at_once)  # noqa: PLW1509
        assert child.wait(timeout=20.0) == -signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)
