# SPDX-License-Identifier: Apache-2.0
"""Who starts, watches, records and places the cameras of a cell: one, several, and those that another package drives."""
from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dex_bringup.fault.relay import publishers_of
from dex_bringup.resolve import Resolution, resolve
from dex_control.gate_types import watched_nodes
from dex_core.config import CellConfig, load_cell
from dex_core.errors import ConfigError
from dex_description import compose_cell_urdf, parse_urdf
from dex_eval.topics import topics_of
from dex_monitor.state_node import camera_frames
from dex_policy import task
from dex_ros import names

CELL = load_cell("xarm_bimanual")
FRONT = CELL.cameras["front"]


def cell_of(**drivers: str) -> CellConfig:
    """The cell with cameras of these drivers."""
    return dataclasses.replace(CELL, cameras={name: dataclasses.replace(FRONT, driver=driver, depth=True) for name, driver in drivers.items()})


def resolved(tmp_path: Path, cell: CellConfig, **arguments: str) -> Resolution:
    cell.save(tmp_path / "mine.yaml")
    return resolve(tmp_path / "mine.yaml", arguments, tmp_path / "run")


def started(resolution: Resolution) -> dict[str, object]:
    return {p.name: p.parameters["interface"] for p in resolution.processes if p.executable == "camera_node"}


def test_each_camera_has_a_node_of_its_own(tmp_path: Path) -> None:
    resolution = resolved(tmp_path, cell_of(front="simulated", wrist="realsense"))
    assert started(resolution) == {"camera": "front", "wrist_camera": "wrist"}
    assert len({p.name for p in resolution.processes}) == len(resolution.processes)


def test_an_external_camera_has_none_whether_the_file_says_so_or_the_launch_line(tmp_path: Path) -> None:
    assert started(resolved(tmp_path, cell_of(front="external", wrist="simulated"))) == {"wrist_camera": "wrist"}
    resolution = resolved(tmp_path, cell_of(front="simulated", wrist="realsense"), camera_driver="external")
    assert started(resolution) == {} and all(camera.driver == "external" for camera in load_cell(resolution.cell_file).cameras.values())


def test_real_hardware_with_external_cameras_needs_no_driver_of_ours(tmp_path: Path) -> None:
    addresses = ",".join(f"{name}=10.0.0.{k}" for k, name in enumerate(CELL.interfaces, 1))
    with pytest.raises(ConfigError, match="driver 'simulated'"):
        resolved(tmp_path, CELL, sim="false", addresses=addresses)
    assert started(resolved(tmp_path, CELL, sim="false", addresses=addresses, camera_driver="external")) == {}


def test_who_sends_no_heartbeat_is_not_waited_for() -> None:
    """The policy's own limit on a picture's age tells the loss of an external camera."""
    for watched in (watched_nodes, task.watched_nodes):
        assert "camera" in {watch.node for watch in watched(CELL)}
        assert "camera" not in {watch.node for watch in watched(cell_of(front="external"))}


def test_only_what_this_stack_publishes_can_be_faulted() -> None:
    assert names.IMAGE in publishers_of(CELL) and names.IMAGE not in publishers_of(cell_of(front="external"))


def test_every_camera_is_recorded() -> None:
    recorded = {topic.name for topic in topics_of(cell_of(front="simulated", wrist="external"))}
    pictures = (names.IMAGE, names.CAMERA_INFO, names.DEPTH, names.DEPTH_INFO)
    assert recorded >= {*pictures, *(f"wrist/{topic}" for topic in pictures)}


def test_each_frame_of_a_camera_has_one_publisher() -> None:
    """A node of ours places its own camera; what another package drives is placed by the cell's description, down to its link."""
    cell = cell_of(front="simulated", wrist="external")
    left_out = set(camera_frames(cell))
    assert left_out == {"camera_link", "camera_color_optical_frame", "wrist_camera_color_optical_frame"}
    assert left_out | {"wrist_camera_link"} <= {joint.child for joint in parse_urdf(compose_cell_urdf(cell)).joints}
