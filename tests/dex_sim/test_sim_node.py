# SPDX-License-Identifier: Apache-2.0
"""The simulation as a node: judge, markers, reset by seed, and a world that refuses a real cell."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter
from visualization_msgs.msg import MarkerArray

from dex_bringup.testing import private_cell
from dex_core.config import load_cell
from dex_msgs.msg import TaskState
from dex_msgs.srv import ResetCell
from dex_ros import names, qos
from dex_ros.testing import ros_domain, spinning, wait_for
from dex_sim.sim_node import SimNode

pytestmark = pytest.mark.ros
DOMAIN = 58


def sim_node(cell_file: Path, context: rclpy.Context) -> SimNode:
    return SimNode(context=context, parameter_overrides=[Parameter("cell_file", value=str(cell_file)), Parameter("autostart", value=False)])


@pytest.fixture
def context() -> Iterator[rclpy.Context]:
    with ros_domain(DOMAIN) as context:
        yield context


@pytest.fixture
def listener(context: rclpy.Context) -> Iterator[Node]:
    node = rclpy.create_node("listener", context=context)
    node.tasks, node.markers = [], []  # type: ignore[attr-defined]
    node.create_subscription(TaskState, names.TASK_STATE, node.tasks.append, qos.LATCHED)  # type: ignore[attr-defined]
    node.create_subscription(MarkerArray, names.SCENE_MARKERS, node.markers.append, qos.REPORT)  # type: ignore[attr-defined]
    yield node
    node.destroy_node()


def test_judges_and_resets_by_seed(context: rclpy.Context, listener: Node, tmp_path: Path) -> None:
    node = sim_node(private_cell(tmp_path, DOMAIN, host=191), context)
    client = listener.create_client(ResetCell, names.SIM_RESET)
    with spinning(node, listener):
        node.trigger_configure()
        node.trigger_activate()
        tasks = listener.tasks  # type: ignore[attr-defined]
        wait_for(lambda: tasks, "task_state")
        assert tasks[-1].task == "push_cans" and not tasks[-1].success
        assert client.wait_for_service(5.0)
        future = client.call_async(ResetCell.Request(seed=42))
        wait_for(future.done, names.SIM_RESET)
        answer = future.result()
        assert answer.success and answer.epoch > 1
        wait_for(lambda: (tasks[-1].seed, tasks[-1].epoch) == (42, answer.epoch), "task_state of the new epoch")
        markers = listener.markers  # type: ignore[attr-defined]
        wait_for(lambda: markers, "markers")
        assert {m.ns for m in markers[-1].markers} == {"table", "left_can", "right_can"}
        node.trigger_deactivate()
        refused = client.call_async(ResetCell.Request(seed=1))
        wait_for(refused.done, names.SIM_RESET)
        assert not refused.result().success and "not active" in refused.result().message
        node.trigger_cleanup()
    node.destroy_node()


def test_starts_again_after_cleanup(context: rclpy.Context, tmp_path: Path) -> None:
    node = sim_node(private_cell(tmp_path, DOMAIN, host=211), context)
    for _ in range(2):
        node.trigger_configure()
        node.trigger_activate()
        assert node.state_id == 3
        node.trigger_deactivate()
        node.trigger_activate()
        assert node.state_id == 3
        node.trigger_deactivate()
        node.trigger_cleanup()
        assert node.state_id == 1
    node.destroy_node()


def test_a_real_cell_is_not_simulated(context: rclpy.Context, tmp_path: Path) -> None:
    dataclasses.replace(load_cell("xarm_bimanual"), simulated=False).save(tmp_path / "real.yaml")
    node = sim_node(tmp_path / "real.yaml", context)
    node.trigger_configure()
    assert node.state_id == 1 and node.heartbeat.reason == "config_invalid"
    node.destroy_node()
