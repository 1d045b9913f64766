# SPDX-License-Identifier: Apache-2.0
"""A camera's pose in a cell's YAML: the values change, nothing else does."""
from __future__ import annotations

import pytest
import yaml

from dex_core.config.robot import Pose
from dex_core.errors import ConfigError
from dex_perception.calibrate.write import difference, with_camera_pose

POSE = Pose((1.2, 0.0, 0.8), (0.1, 0.2, 0.3))
BLOCK = """# A cell.
name: one   # its name
cameras:
  front:
    driver: realsense  # USB 3
    # measured with a tape
    position_m: [1.20, 0.0, 0.80]
    look_at_m: [0.37, 0.0, 0.09]

  # not calibrated yet
  side: {driver: zed, rate_hz: 15.0}
policy: {bundle: ""}
"""


def test_a_block_keeps_its_comments_and_loses_what_the_pose_replaces() -> None:
    after = with_camera_pose(BLOCK, "front", POSE, "left_link_eef", "cell.yaml")
    front = yaml.safe_load(after)["cameras"]["front"]
    assert front == {"driver": "realsense", "pose": {"xyz_m": [1.2, 0.0, 0.8], "rpy_rad": [0.1, 0.2, 0.3]}, "mounted_on": "left_link_eef"}
    kept = [line for line in BLOCK.splitlines() if "position_m" not in line and "look_at_m" not in line]
    assert [line for line in after.splitlines() if "pose:" not in line and "mounted_on" not in line] == kept


def test_a_second_calibration_changes_the_values_in_place() -> None:
    once = with_camera_pose(BLOCK, "front", POSE, "world", "cell.yaml")
    twice = with_camera_pose(once, "front", Pose((1.3, 0.0, 0.8), (0.1, 0.2, 0.3)), "world", "cell.yaml")
    lines = difference(once, twice, "cell.yaml").splitlines()
    assert sum(line.startswith("+ ") for line in lines) == sum(line.startswith("- ") for line in lines) == 1
    assert with_camera_pose(twice, "front", Pose((1.3, 0.0, 0.8), (0.1, 0.2, 0.3)), "world", "cell.yaml") == twice


def test_a_camera_in_braces_is_extended_in_its_line() -> None:
    after = with_camera_pose(BLOCK, "side", POSE, "world", "cell.yaml")
    assert yaml.safe_load(after)["cameras"]["side"]["mounted_on"] == "world"
    assert len(after.splitlines()) == len(BLOCK.splitlines())


def test_a_file_that_ends_without_a_newline() -> None:
    after = with_camera_pose("cameras:\n  front:\n    driver: zed", "front", POSE, "world", "cell.yaml")
    assert yaml.safe_load(after)["cameras"]["front"]["pose"]["xyz_m"] == [1.2, 0.0, 0.8]


@pytest.mark.parametrize(("text", "camera", "said"), [
    (BLOCK, "back", "there is no cameras.back; it has .'front', 'side'."), ("name: one\n", "front", "there is no cameras; it has .'name'."),
    ("cameras: {front: {position_m: [1, 0, 0]}}", "front", "as a block"), ("cameras:\n  front:\n", "front", "is no mapping"),
])
def test_what_cannot_be_written_is_refused(text: str, camera: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        with_camera_pose(text, camera, POSE, "world", "cell.yaml")
