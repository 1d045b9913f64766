# SPDX-License-Identifier: Apache-2.0
"""`dex calibrate`: a session of the cell's own arm ends in the cell's file, pictures and joints find each other, wrong use is refused."""
from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from dex_bringup.calibrate.carrier import OPTICAL_IN_LINK, Carrier
from dex_bringup.calibrate.cellfile import change_of, file_of
from dex_bringup.calibrate.stillness import Stillness
from dex_bringup.cli import main
from dex_core.clock import NS
from dex_core.config import find_share, load_cell
from dex_core.errors import ConfigError, JointNameError
from dex_perception.calibrate import Board, Setup
from dex_perception.calibrate.poses import angle, distance, from_xyz_rpy, inverse
from dex_perception.calibrate.session import SessionWriter
from dex_perception.calibrate.synthetic import example_rig

CELL = load_cell("xarm_bimanual")
JOINTS = ("left_joint1", "left_joint2")


def test_the_flange_is_where_the_arms_own_kinematics_put_it() -> None:
    from dex_core.kinematics import load_arm

    carrier, interface = Carrier(CELL, "left_arm"), CELL.interface("left_arm")
    assert carrier.link == "left_link_eef"
    expected = from_xyz_rpy(interface.mount.xyz_m, interface.mount.rpy_rad) @ load_arm("xarm7").flange_pose(interface.home)
    assert carrier.pose_in_world(dict(zip(interface.names, interface.home, strict=True))) == pytest.approx(expected, abs=1e-6)


def test_an_arm_must_be_named_where_there_are_two_and_have_its_joints() -> None:
    with pytest.raises(ConfigError, match="say with --arm"):
        Carrier(CELL)
    with pytest.raises(ConfigError, match="is a hand"):
        Carrier(CELL, "left_hand")
    with pytest.raises(JointNameError, match="left_joint7"):
        Carrier(CELL, "left_arm").pose_in_world({"left_joint1": 0.0})


def test_stillness_needs_rest_on_both_sides_of_a_picture() -> None:
    still = Stillness(JOINTS)
    for number in range(100):
        moving = 0.01 * max(0, number - 50)
        still.add(number * NS // 100, {"left_joint1": 0.5 + moving, "left_joint2": -0.2, "right_joint1": 9.0})
    assert still.joints_at(NS // 4) == pytest.approx({"left_joint1": 0.5, "left_joint2": -0.2})
    assert still.joints_at(NS // 2) is None, "it starts to move half a rest later"
    assert still.joints_at(8 * NS // 10) is None
    assert still.joints_at(5 * NS) is None and not still.known(5 * NS)


def test_a_gap_in_the_joint_states_is_no_rest() -> None:
    still = Stillness(JOINTS)
    for stamp in (0, 1, 2, 40, 41, 42):
        still.add(stamp * NS // 100, {"left_joint1": 0.0, "left_joint2": 0.0})
    assert still.known(20 * NS // 100) and still.joints_at(20 * NS // 100) is None
    still.add(NS, {"left_joint1": 0.0})
    assert still.newest_ns == 42 * NS // 100, "a state without all joints tells nothing"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve views: the board on the left flange, the camera 1.3 m away."""
    rig = example_rig(Board(), on_flange=False)
    folder = tmp_path_factory.mktemp("calibration") / "views"
    writer = SessionWriter(folder, rig.board, rig.intrinsics)
    for number, shot in enumerate(rig.shots(10, np.random.default_rng(4)), 1):
        writer.add(f"{number:04d}", shot.picture, shot.pose_flange_in_base)
    return folder


@pytest.fixture
def cell_file(tmp_path: Path) -> Path:
    """A copy of the cell's file."""
    return Path(shutil.copy(find_share("config", "cells", "xarm_bimanual.yaml"), tmp_path / "my_cell.yaml"))


def test_a_folder_of_views_ends_in_the_cells_file(session: Path, cell_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = cell_file.read_text()
    words = ["calibrate", "camera", "front", "--cell", str(cell_file), "--arm", "left_arm", "--setup", "eye-to-hand", "--from", str(session)]
    words.append("--json")
    assert main([*words, "--dry-run"]) == 0
    assert cell_file.read_text() == before
    shown = capsys.readouterr()
    assert "+    pose:" in shown.err and json.loads(shown.out)["reprojection_px"] < 0.2
    assert main([*words, "--yes"]) == 0
    camera = load_cell(cell_file).cameras["front"]
    found = from_xyz_rpy(camera.pose.xyz_m, camera.pose.rpy_rad) @ OPTICAL_IN_LINK
    truth = example_rig(Board(), on_flange=False).camera
    assert distance(found, truth) < 5e-4 and np.degrees(angle(found, truth)) < 0.05
    assert camera.mounted_on == "world"
    kept = [line for line in before.splitlines() if "position_m" not in line and "look_at_m" not in line and line.strip() != "mounted_on: world"]
    after = [line for line in cell_file.read_text().splitlines() if "pose:" not in line and line.strip() != "mounted_on: world"]
    assert after == kept


def test_nobody_to_ask_writes_nothing(session: Path, cell_file: Path) -> None:
    before = cell_file.read_text()
    words = ["calibrate", "camera", "--cell", str(cell_file), "--arm", "left_arm", "--setup", "eye-to-hand", "--from", str(session)]
    assert main(words) == 2
    assert cell_file.read_text() == before


def test_the_wrong_set_up_is_refused(session: Path, cell_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["calibrate", "camera", "--cell", str(cell_file), "--arm", "left_arm", "--setup", "eye-in-hand", "--from", str(session), "--yes"]
    assert main(words) == 1
    assert "the set-up is the other one" in capsys.readouterr().err


def test_a_camera_on_a_flange_is_mounted_on_its_link(cell_file: Path) -> None:
    from dex_bringup.calibrate.carrier import Written
    from dex_core.config.robot import Pose

    change = change_of(str(cell_file), "front", Written(Pose((0.0, 0.05, 0.03), (0.0, -1.5, 0.0)), "left_link_eef"))
    change.write()
    cell = load_cell(cell_file)
    assert yaml.safe_load(cell_file.read_text())["cameras"]["front"]["mounted_on"] == "left_link_eef"
    from dex_description import compose_cell_urdf, parse_urdf
    from dex_description.forward import link_poses

    poses = link_poses(parse_urdf(compose_cell_urdf(cell)), {})
    optical = inverse(poses["left_link_eef"]) @ poses["camera_color_optical_frame"]
    assert optical == pytest.approx(from_xyz_rpy((0.0, 0.05, 0.03), (0.0, -1.5, 0.0)) @ OPTICAL_IN_LINK, abs=1e-6)


def test_a_file_that_changed_meanwhile_is_not_written(cell_file: Path) -> None:
    from dex_bringup.calibrate.carrier import Written
    from dex_core.config.robot import Pose

    change = change_of(str(cell_file), "front", Written(Pose((1.0, 0.0, 0.8)), "world"))
    cell_file.write_text(cell_file.read_text() + "# mine\n")
    with pytest.raises(ConfigError, match="changed meanwhile"):
        change.write()
    with pytest.raises(ConfigError, match="no such cell file"):
        file_of(str(cell_file.with_name("other.yaml")))


def test_a_board_is_printed_and_a_wrong_one_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "board", "--board", "5x4,40mm,30mm,4X4_50", "--png", str(tmp_path / "b.png")]) == 0
    assert (tmp_path / "b.png").stat().st_size > 1000
    assert main(["calibrate", "board"]) == 2 and main(["calibrate", "board", "--board", "5", "--png", str(tmp_path / "c.png")]) == 2
    assert "--pdf FILE" in capsys.readouterr().err
    assert {s.value for s in Setup} == {"eye-in-hand", "eye-to-hand"}
