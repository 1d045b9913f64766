# SPDX-License-Identifier: Apache-2.0
"""dex annotate: a recording becomes a COCO file and a video; what cannot be annotated honestly is left out and counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage

from dex_bringup.annotate.recorded import RecordedSamples
from dex_bringup.cli import main
from dex_core.clock import NS
from dex_core.config import CellConfig, load_cell
from dex_core.types import JointState
from dex_eval.bag import BagError
from dex_eval.bag_writer import BagWriter
from dex_perception.frames import quaternion_xyzw
from dex_perception.keypoints.coco_check import check_folder
from dex_perception.keypoints.testing import OPTICAL, camera_pose, home, lens
from dex_ros import names
from dex_ros.convert import depth_to_msg, image_to_msg, joint_state_to_msg, time_to_msg

MS = NS // 1000
START = 1_795_000_000 * NS
PERIOD_MS = 50
Edit = Callable[[str, int, object], object | None]


def transform(cell: CellConfig) -> TFMessage:
    pose = camera_pose(cell)
    entry = TransformStamped(child_frame_id=OPTICAL)
    entry.header.frame_id = "world"
    t, r = entry.transform.translation, entry.transform.rotation
    t.x, t.y, t.z = pose[:3, 3].tolist()
    r.x, r.y, r.z, r.w = quaternion_xyzw(pose[:3, :3])
    return TFMessage(transforms=[entry])


def record(folder: Path, pictures: int = 4, edit: Edit = lambda _topic, _ms, message: message) -> Path:
    """A cell at rest, but for the left arm's first joint that turns at 1 rad/s; each picture is followed by its depth.

    ``edit`` takes topic, time and message and gives the message to write, a topic with it, or None.
    """
    cell = load_cell("xarm_bimanual")
    cell_file = folder.parent / f"{folder.name}.yaml"
    cell.save(cell_file)
    writer = BagWriter(folder, {"cell.yaml": cell_file.read_bytes()}, {"dex": {"cell": cell.name, "namespace": "/"}})
    i = lens()
    info = CameraInfo(width=i.width, height=i.height, distortion_model="plumb_bob", d=[0.0] * 5, k=[i.fx, 0.0, i.cx, 0.0, i.fy, i.cy, 0.0, 0.0, 1.0])
    info.header.frame_id = OPTICAL

    def put(name: str, ms: int, message: object) -> None:
        message = edit(name, ms, message)
        if message is None:
            return
        name, message = message if isinstance(message, tuple) else (name, message)
        topic = name if name.startswith("/") else f"/{name}"
        if not writer.has_topic(topic):
            writer.add_topic(topic, f"{type(message).__module__.split('.')[0]}/msg/{type(message).__name__}", [])
        writer.write(topic, serialize_message(message), START + ms * MS, START + ms * MS)

    put("/tf_static", 0, transform(cell))
    for ms in range(0, pictures * PERIOD_MS + 30, 10):
        for name, interface in cell.interfaces.items():
            position = np.array(interface.home) + (np.eye(len(interface.names))[0] * ms * 1e-3 if name == "left_arm" else 0.0)
            state = JointState(interface.names, position, np.zeros(len(position)), np.full(len(position), np.nan), START + ms * MS)
            put(names.device_states(name), ms, joint_state_to_msg(state))
        if ms % PERIOD_MS == 0 and ms < pictures * PERIOD_MS:
            stamp = START + (ms + 5) * MS
            rgb = np.random.default_rng(ms).integers(0, 255, (240, 320, 3), dtype=np.uint8)
            info.header.stamp = time_to_msg(stamp)
            put(names.CAMERA_INFO, ms, info)
            put(names.IMAGE, ms, image_to_msg(rgb, stamp, OPTICAL))
            put(names.DEPTH, ms, depth_to_msg(np.full((240, 320), 5.0, dtype=np.float32), stamp, OPTICAL))
    writer.close()
    return folder


def test_a_recording_becomes_a_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag, out = record(tmp_path / "bag"), tmp_path / "set"
    assert main(["annotate", str(bag), "-o", str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["annotated"] == 4 and result["skipped"] == {} and result["refused"] == {}
    assert check_folder(out)["images"] == 4
    data = json.loads((out / "annotations.json").read_text(encoding="utf-8"))
    assert [image["stamp_ns"] for image in data["images"]] == [START + (ms + 5) * MS for ms in range(0, 200, PERIOD_MS)]
    assert {image["visibility_by"] for image in data["images"]} == {"robots+depth"}
    picture = cv2.cvtColor(cv2.imread(str(out / "images" / "000002.png")), cv2.COLOR_BGR2RGB)
    assert np.array_equal(picture, np.random.default_rng(50).integers(0, 255, (240, 320, 3), dtype=np.uint8)), "the picture as it was"
    video = cv2.VideoCapture(str(out / "overlay.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 4 and video.get(cv2.CAP_PROP_FRAME_WIDTH) == 960
    assert main(["annotate", "--check", str(out)]) == 0
    assert main(["annotate", str(bag), "-o", str(out)]) == 1, "a set is not overwritten"


def test_joints_are_those_of_the_pictures_own_time(tmp_path: Path) -> None:
    samples = list(RecordedSamples(record(tmp_path / "bag")))
    turned = [sample.position_rad[0] - home(load_cell("xarm_bimanual"))[0] for sample in samples]
    assert turned == pytest.approx([0.005, 0.055, 0.105, 0.155], abs=1e-9)


def test_every_second_picture_without_video_and_masks(tmp_path: Path) -> None:
    out = tmp_path / "set"
    assert main(["annotate", str(record(tmp_path / "bag")), "-o", str(out), "--every", "2", "--no-video", "--no-masks"]) == 0
    assert check_folder(out)["images"] == 2 and not (out / "overlay.mp4").exists()


def without(wanted: str, from_ms: int = 0) -> Edit:
    return lambda name, ms, message: None if name == wanted and ms >= from_ms else message


def frozen(name: str, ms: int, message: object) -> object | None:
    """The left hand is silent for 130 ms around the last three pictures."""
    return None if name == names.device_states("left_hand") and 60 <= ms < 180 else message


def other_hand(name: str, ms: int, message: object) -> object:
    if name == names.device_states("left_hand") and ms > 100:
        message.name = [f"left_{row}" for row in range(len(message.name))]
    return message


@pytest.mark.parametrize(("edit", "annotated", "skipped"), [
    (frozen, 1, {"joints_gap": 3}),
    (without(names.device_states("left_hand"), 100), 2, {"joints_late": 2}),
    (without("/tf_static"), 0, {"tf_missing": 4}),
    (without(names.CAMERA_INFO), 0, {"camera_info_missing": 4}),
    (without(names.DEPTH), 4, {}),
    (other_hand, 2, {"joints_late": 2}),
])
def test_what_is_not_known_is_left_out_and_counted(tmp_path: Path, edit: Edit, annotated: int, skipped: dict[str, int]) -> None:
    source = RecordedSamples(record(tmp_path / "bag", edit=edit))
    assert len(list(source)) == annotated and dict(source.intake.assembler.skipped) == skipped
    assert bool(source.intake.refused) == (edit is other_hand) and set(source.intake.refused) <= {"joint_names"}


def test_compressed_pictures_will_do(tmp_path: Path) -> None:
    def pressed(name: str, _ms: int, message: object) -> object:
        if name != names.IMAGE:
            return message
        rgb = np.asarray(message.data, dtype=np.uint8).reshape(240, 320, 3)
        out = CompressedImage(header=message.header, format="png")
        out.data = cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes()
        return f"{names.IMAGE}/compressed", out

    samples = list(RecordedSamples(record(tmp_path / "pressed", edit=pressed)))
    assert len(samples) == 4 and np.array_equal(samples[0].rgb, np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8))
    with pytest.raises(BagError, match="image_raw"):
        RecordedSamples(record(tmp_path / "none", edit=without(names.IMAGE)))


@pytest.mark.parametrize("words", [
    [], ["bag"], ["--live", "bag", "-o", "x"], ["bag", "-o", "x", "--every", "0"], ["bag", "left_hand:=leap", "-o", "x"],
])
def test_wrong_use_is_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["annotate", *words])
    assert caught.value.code == 2 and "usage" in capsys.readouterr().err


def test_a_folder_that_is_no_set_and_a_bag_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["annotate", "--check", str(tmp_path)]) == 1
    assert main(["annotate", str(tmp_path / "nothing"), "-o", str(tmp_path / "out")]) == 1
    assert "no .mcap file there" in capsys.readouterr().err and not (tmp_path / "out").exists()
