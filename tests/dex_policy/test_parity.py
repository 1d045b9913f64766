# SPDX-License-Identifier: Apache-2.0
"""The policy node at work, recorded by the recorder, and the replay of that recording: the same observations, frame by frame, to the bit."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dex_core.config import CellConfig
from dex_eval.evaluate import evaluate
from dex_msgs.msg import Heartbeat
from dex_msgs.srv import SetGoal
from dex_policy.policy_node import PolicyNode
from dex_ros import names, qos
from dex_ros.testing import wait_for

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]
CHUNKS = 20


def test_the_replay_of_a_recording_sees_what_the_live_node_saw(bench: Any, cell: CellConfig, tmp_path: Path) -> None:
    beats: list[Heartbeat] = []
    with bench(PolicyNode, serve_policy=False) as (_, fakes):
        fakes.create_subscription(Heartbeat, names.HEARTBEATS, beats.append, qos.HEARTBEAT)
        options = [f"cell_file:='{tmp_path / 'cell.yaml'}'", f"folder:='{tmp_path / 'run'}'", "autostart:=true"]
        command = [sys.executable, "-m", "dex_eval.record_node", "--ros-args", *(word for option in options for word in ("-p", option))]
        recorder = subprocess.Popen(command)
        try:
            wait_for(lambda: any(b.pid == recorder.pid and b.state == 3 for b in beats), "the recorder", 60.0)
            streams = (fakes._image, *fakes._joints.values())
            wait_for(lambda: all(p.get_subscription_count() == 2 for p in streams), "the recorder beside the policy on every stream")
            steps = iter(range(10**9))
            fakes.create_timer(0.02, lambda: setattr(fakes, "joint_value", 0.2 + 0.1 * math.sin(0.1 * next(steps))))
            client = fakes.create_client(SetGoal, names.POLICY_SET_GOAL)
            assert client.wait_for_service(5.0)
            answer = client.call_async(SetGoal.Request(goal_id="g1", instruction="push the two cans together", active=True))
            wait_for(answer.done, "policy/set_goal")
            assert answer.result().accepted
            wait_for(lambda: len(fakes.chunks) >= CHUNKS, "chunks", 60.0)
            recorder.send_signal(signal.SIGTERM)
            assert recorder.wait(30) == 0
        finally:
            recorder.kill()
    result = evaluate(tmp_path / "run").result
    found = result["observations"]
    assert found["compared"] == result["instants"] >= CHUNKS - 2 and not result["refused"]
    assert found["share"] == 1.0, found
    assert result["same_model"]
