# SPDX-License-Identifier: Apache-2.0
"""`dex import lerobot`: an episode of a dataset as a recording, so that everything that reads recordings reads it too."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from rclpy.serialization import serialize_message

from dex_core.config import CellConfig, load_cell
from dex_core.errors import ConfigError
from dex_core.types import JointState
from dex_eval.bag_writer import BagWriter
from dex_eval.lerobot.export import CELL_FILE, SOURCES_FILE
from dex_eval.lerobot.reading import Dataset, DatasetError
from dex_eval.lerobot.writing import ACTION, STATE
from dex_msgs.msg import JointCommand, PolicyStatus
from dex_ros import names
from dex_ros.convert import image_to_msg, joint_state_to_msg, time_to_msg

GOAL = "lerobot"
START_NS = 1_700_000_000_000_000_000
"""Time of the first frame where the dataset does not tell it [ns]."""
_TYPES = {"Image": "sensor_msgs/msg/Image", "JointState": "sensor_msgs/msg/JointState"}


def cell_of(dataset: Dataset, name: str = "") -> CellConfig:
    """The cell a dataset is replayed in: the one named, else the one it was exported from. Raises ConfigError, DatasetError."""
    own = dataset.root / "meta" / CELL_FILE
    if not name and not own.is_file():
        raise DatasetError(f"{dataset.root} does not say which cell it is of; give --cell", code="cell_unknown")
    return load_cell(name or own)


def to_recording(dataset: Dataset, episode: int, cell: CellConfig, out: Path, unit: str = "") -> int:
    """Writes an episode as a recording; returns its frames.

    States become the joint states of the cell's interfaces, actions the gate's commands, pictures those of its cameras, the task the instruction of
    the one goal; all of a frame have one stamp.

    Args:
        dataset: opened. episode: which.
        cell: whose joints the dataset names and whose cameras it has.
        out: folder that does not exist.
        unit: rad or deg, where the dataset's names do not say it.

    Raises:
        DatasetError, JointNameError: the dataset is of other joints or cameras, or cannot be read. RecordingError: ``out`` exists.
    """
    rows = dataset.rows(episode)
    state, action = (dataset.joints(key, cell.joint_names, unit, rows[key].astype(np.float64)) for key in (STATE, ACTION))
    _require_cameras(dataset, cell)
    start_ns = _start_ns(dataset, episode)
    stamps = [start_ns + round(float(t) * 1e9) for t in rows["timestamp"]]
    pictures = {camera: dataset.pictures(episode, camera) for camera in cell.cameras}
    with tempfile.TemporaryDirectory() as folder:
        cell.save(Path(folder) / "cell.yaml")
        attachment = (Path(folder) / "cell.yaml").read_bytes()
    writer = BagWriter(out, {"cell.yaml": attachment}, {"dex": {"cell": cell.name, "namespace": "/"}})
    try:
        _put(writer, names.POLICY_STATUS, stamps[0], PolicyStatus(goal_id=GOAL, instruction=dataset.task(episode)))
        for k, stamp in enumerate(stamps):
            at = 0
            for name, interface in cell.interfaces.items():
                q = state[k, at : at + len(interface.names)]
                at += len(q)
                _put(writer, names.device_states(name), stamp, joint_state_to_msg(JointState(interface.names, q, 0.0 * q, np.nan * q, stamp)))
            command = JointCommand(sequence=k, mode=JointCommand.TRACK, names=list(cell.joint_names), positions=action[k].tolist())
            command.velocities = [0.0] * len(cell.joint_names)
            command.header.stamp = time_to_msg(stamp)
            _put(writer, names.JOINT_COMMAND, stamp, command)
            for camera in cell.cameras:
                image = next(pictures[camera], None)
                if image is None:
                    raise DatasetError(f"{dataset.root}: camera {camera!r} of episode {episode} has {k} pictures for {len(stamps)} frames")
                topic = names.of_camera(names.IMAGE, cell.camera_scope(camera))
                _put(writer, topic, stamp, image_to_msg(image, stamp, f"{cell.camera_stem(camera)}_color_optical_frame"))
    finally:
        writer.close()
    return len(stamps)


def _put(writer: BagWriter, topic: str, stamp_ns: int, message: object) -> None:
    name, kind = f"/{topic}", type(message).__name__
    if not writer.has_topic(name):
        writer.add_topic(name, _TYPES.get(kind, f"dex_msgs/msg/{kind}"), [])
    writer.write(name, serialize_message(message), stamp_ns, stamp_ns)


def _require_cameras(dataset: Dataset, cell: CellConfig) -> None:
    for name, camera in cell.cameras.items():
        wanted = (camera.output_wh[1], camera.output_wh[0])
        found = dataset.cameras.get(name)
        if found != wanted:
            what = f"{found[1]} x {found[0]}" if found else f"missing; there is: {sorted(dataset.cameras)}"
            raise ConfigError(f"{dataset.root}: camera {name!r} is {what}; cell {cell.name!r} has {wanted[1]} x {wanted[0]}")


def _start_ns(dataset: Dataset, episode: int) -> int:
    """When the first frame was recorded, where we exported it [ns]."""
    path = dataset.root / "meta" / SOURCES_FILE
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["episodes"]
        return next(int(entry["start_ns"]) for entry in entries if entry["episode"] == episode)
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return START_NS
