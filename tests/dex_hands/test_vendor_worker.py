# SPDX-License-Identifier: Apache-2.0
"""The process of a closed SDK: whatever it does to itself, the caller gets an answer or an error in time."""
from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dex_core.errors import ConfigError, ConnectionLostError, DeviceError
from dex_hands.vendor_worker import MAIN, VendorWorker
from dex_ros.testing import wait_for

ADAPTER = '''
import os, sys, time

class Gone(Exception):
    kind = "lost"

class Coded(Exception):
    device_code = 42

def fail(error):
    raise error

def missing():
    import xhand_controller_that_nobody_has

print("an SDK that talks on stdout")
CALLS = {
    "echo": lambda *args: list(args), "sleep": time.sleep, "abort": os.abort, "end": lambda: os._exit(3), "missing": missing,
    "fail": lambda: fail(Coded("no such joint")), "lost": lambda: fail(Gone("unplugged")), "shout": lambda: os.write(int(sys.argv[1]), b"nonsense"),
    "pid": os.getpid,
}
'''
PATIENT_S = 10.0


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[VendorWorker]:
    (tmp_path / "adapter.py").write_text(ADAPTER)
    worker = VendorWorker(tmp_path / "adapter.py", "left_hand", "install it with pip")
    worker.start()
    yield worker
    worker.stop()


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_calls_are_answered_from_another_process(worker: VendorWorker) -> None:
    assert worker.call("echo", 1, [0.5, -2.25], "two", timeout_s=PATIENT_S) == [1, [0.5, -2.25], "two"]
    assert worker.call("pid", timeout_s=PATIENT_S) == worker.pid != os.getpid()


def test_what_the_sdk_refuses_is_an_error_and_not_the_end(worker: VendorWorker) -> None:
    with pytest.raises(DeviceError, match="left_hand: the SDK failed at 'fail': Coded: no such joint") as caught:
        worker.call("fail", timeout_s=PATIENT_S)
    assert caught.value.device_code == 42 and not isinstance(caught.value, ConnectionLostError)
    with pytest.raises(DeviceError, match="KeyError"):
        worker.call("no_such_call", timeout_s=PATIENT_S)
    assert worker.call("echo", timeout_s=PATIENT_S) == []


def test_an_sdk_that_is_not_installed_says_how_to_install_it(worker: VendorWorker) -> None:
    with pytest.raises(ConfigError, match="left_hand: No module named 'xhand_controller_that_nobody_has'; install it with pip"):
        worker.call("missing", timeout_s=PATIENT_S)


@pytest.mark.parametrize(("call", "words"), [
    ("abort", "died of SIGABRT during 'abort'"), ("end", "ended with code 3 during 'end'"), ("lost", "lost the hand at 'lost': Gone: unplugged"),
    ("shout", "the process of its SDK .* during 'shout'"),
])
def test_an_sdk_that_ends_or_loses_the_hand_is_a_lost_link(worker: VendorWorker, call: str, words: str) -> None:
    pid = worker.pid
    with pytest.raises(ConnectionLostError, match=words):
        worker.call(call, timeout_s=PATIENT_S)
    assert not worker.running and pid is not None and gone(pid)
    with pytest.raises(ConnectionLostError, match="does not run; connect first"):
        worker.call("echo", timeout_s=PATIENT_S)
    worker.start()
    assert worker.call("echo", 1, timeout_s=PATIENT_S) == [1]


def test_a_late_answer_ends_the_process_in_time(worker: VendorWorker) -> None:
    worker.call("echo", timeout_s=PATIENT_S)
    pid, begin_s = worker.pid, time.monotonic()
    with pytest.raises(ConnectionLostError, match="did not answer 'sleep' within 0.1 s; its process was ended"):
        worker.call("sleep", 30.0, timeout_s=0.1)
    assert time.monotonic() - begin_s < 15.0 and pid is not None and gone(pid)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_or_stopped_process_is_a_lost_link(worker: VendorWorker, blow: signal.Signals) -> None:
    worker.call("echo", timeout_s=PATIENT_S)
    pid = worker.pid
    assert pid is not None
    os.kill(pid, blow)
    with pytest.raises(ConnectionLostError, match="left_hand"):
        worker.call("echo", timeout_s=0.2)
    assert gone(pid)


def test_a_process_whose_caller_has_gone_ends(worker: VendorWorker) -> None:
    worker.call("echo", timeout_s=PATIENT_S)
    process = worker._process
    assert process is not None and worker._link is not None
    worker._link.close()
    wait_for(lambda: process.poll() == 0, "the worker to end", PATIENT_S)


def test_an_orphan_that_hangs_in_the_sdk_ends_itself(worker: VendorWorker) -> None:
    worker.call("echo", timeout_s=PATIENT_S)
    process = worker._process
    assert process is not None and worker._link is not None
    worker._link.send(b'{"id": 9, "call": "sleep", "args": [60.0], "limit_s": 0.1}')
    worker._link.close()
    wait_for(lambda: process.poll() == -signal.SIGALRM, "the orphan to end", PATIENT_S)


def test_another_interpreter_runs_it_and_one_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "adapter.py").write_text("import sys\nCALLS = {'flags': lambda: [sys.flags.isolated, sys.executable]}\n")
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} -I \"$@\"\n")
    script.chmod(0o755)
    worker = VendorWorker(tmp_path / "adapter.py", "left_hand", "", python=str(script))
    worker.start()
    assert worker.call("flags", timeout_s=PATIENT_S)[0] == 1, "the worker needs nothing but the standard library"
    worker.stop()
    with pytest.raises(ConfigError, match="the interpreter '/no/python' of its SDK cannot be run"):
        VendorWorker(tmp_path / "adapter.py", "left_hand", "", python="/no/python").start()
    assert MAIN.is_file()
