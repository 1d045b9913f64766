# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from dex_core.safety import Beat, HeartbeatBook, ProcessBook, Watch, machine_id


@pytest.fixture()
def child() -> Iterator[subprocess.Popen]:
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


def _deaths(book: ProcessBook, timeout_s: float = 5.0) -> list[tuple[str, int]]:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if dead := book.died():
            return dead
    return []


def test_a_killed_process_is_told_once_and_by_name(child: subprocess.Popen) -> None:
    book = ProcessBook()
    book.watch("policy", child.pid)
    book.watch("policy", child.pid)
    assert book.died() == []
    child.kill()
    assert _deaths(book) == [("policy", child.pid)]
    assert book.died() == []
    book.close()


def test_a_process_that_is_gone_already_is_left_to_its_silence(child: subprocess.Popen) -> None:
    child.kill()
    child.wait()
    book = ProcessBook()
    book.watch("policy", child.pid)
    assert not book.watch("policy", child.pid) and book.died() == []


def test_silence_of_an_attended_process_is_a_hang_and_has_its_own_limit() -> None:
    book = HeartbeatBook((Watch("policy", "policy_lost"), Watch("camera", "camera_lost")), 0.18, 0.5)
    book.beat(Beat("policy", attended=True), 0)
    book.beat(Beat("camera"), 0)
    assert [t.cause for t in book.lost(300_000_000)] == ["camera"]
    assert [t.cause for t in book.lost(600_000_000)] == ["policy", "camera"]


def test_last_words_of_the_dead_do_not_revive_a_node_but_a_new_process_does() -> None:
    book = HeartbeatBook((Watch("policy", "policy_lost"),), 0.25)
    book.beat(Beat("policy", pid=7), 0)
    assert not book.lost(1)
    book.died("policy", 7)
    book.beat(Beat("policy", pid=7), 2)  # was still in the queue
    assert [t.reason for t in book.lost(3)] == ["policy_lost"] and "7 has ended" in book.lost(3)[0].detail
    book.beat(Beat("policy", pid=8), 4)
    assert not book.lost(5)


def test_machine_is_the_same_for_every_process_of_it() -> None:
    out = subprocess.run(
        [sys.executable, "-c", "from dex_core.safety import machine_id; print(machine_id())"], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == machine_id() != ""
