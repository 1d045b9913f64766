# SPDX-License-Identifier: Apache-2.0
"""The camera node on the simulated cell: what it publishes agrees with the world, and it outlives the simulator."""
from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from dex_core.config import CellConfig, load_cell
from dex_perception.camera_node import CameraNode
from dex_ros import convert, names, qos
from dex_ros.node import INACTIVE
from dex_ros.polling import PolledSubscription
from dex_ros.testing import ros_domain, spinning, wait_for
from dex_sim.cell import SimCell

pytestmark = [pytest.mark.ros, pytest.mark.render]
SERVER = "127.0.55.32:27600"


@pytest.fixture
def cell() -> CellConfig:
    cell = load_cell("xarm_bimanual")
    front = dataclasses.replace(cell.cameras["front"], address=SERVER)
    return dataclasses.replace(cell, cameras={"front": front}, sim=dataclasses.replace(cell.sim, state_server=SERVER))


@pytest.fixture
def running(cell: CellConfig, tmp_path: Path) -> Iterator[tuple[CameraNode, Node]]:
    cell.save(tmp_path / "cell.yaml")
    with ros_domain(55) as context:
        node = CameraNode(context=context, parameter_overrides=[Parameter("cell_file", value=str(tmp_path / "cell.yaml"))])
        peer = Node("peer", context=context)
        with spinning(node, peer):
            yield node, peer
            if node.is_active:
                node.trigger_deactivate()
            if node.state_id == INACTIVE:
                node.trigger_cleanup()
        node.destroy_node()


def matrix(transform: TransformStamped) -> np.ndarray:
    t, q = transform.transform.translation, transform.transform.rotation
    x, y, z, w = q.x, q.y, q.z, q.w
    out = np.eye(4)
    out[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    out[:3, 3] = t.x, t.y, t.z
    return out


def newer_picture(images: PolledSubscription, after_ns: int) -> np.ndarray:
    message = wait_for(
        lambda: (m := images.take_newest()) is not None and convert.time_from_msg(m.header.stamp) > after_ns and m, "a newer picture", 10.0
    )
    return convert.image_from_msg(message).astype(float)


def test_frames_and_intrinsics_say_where_a_can_is_in_the_picture(cell: CellConfig, running: tuple[CameraNode, Node]) -> None:
    node, peer = running
    images = PolledSubscription(peer, Image, names.IMAGE, qos.SENSOR)
    infos = PolledSubscription(peer, CameraInfo, names.CAMERA_INFO, qos.SENSOR)
    frames = PolledSubscription(peer, TFMessage, "/tf_static", qos.LATCHED)
    with SimCell(cell, devices=False) as sim:
        sim.world.reset(0, randomise=False)
        sim.world.place({}, {"left_can": (0.40, 0.22)})
        node.autostart()
        assert node.is_active
        there = newer_picture(images, node.now_ns() + 100_000_000)
        centre = np.append(sim.world.object_poses()["left_can"][:3], 1.0)
        sim.world.place({}, {"left_can": (-0.6, 0.9)})
        gone = newer_picture(images, node.now_ns() + 100_000_000)
        k = np.array(wait_for(infos.take_newest, "camera_info").k).reshape(3, 3)
        world_link, link_optical = (matrix(t) for t in wait_for(frames.take_newest, "static frames").transforms)
    point = np.linalg.inv(world_link @ link_optical) @ centre
    u, v, _ = k @ point[:3] / point[2]
    changed = np.abs(there - gone).max(axis=2) > 25
    rows, columns = np.nonzero(changed)
    assert changed.sum() > 50
    assert np.median(columns) == pytest.approx(u, abs=2.5) and np.median(rows) == pytest.approx(v, abs=2.5)


def test_it_outlives_the_simulator(cell: CellConfig, running: tuple[CameraNode, Node]) -> None:
    node, peer = running
    images = PolledSubscription(peer, Image, names.IMAGE, qos.SENSOR)
    node.autostart()
    assert not node.is_active and node.heartbeat.reason == "connection_lost"
    with SimCell(cell, devices=False):
        node.autostart()
        assert node.is_active
        newer_picture(images, 0)
    wait_for(lambda: node.heartbeat.reason == "camera_lost", "the loss", 10.0)
    with SimCell(cell, devices=False):
        newer_picture(images, node.now_ns())
        wait_for(lambda: node.heartbeat.reason == "", "the recovery", 10.0)
