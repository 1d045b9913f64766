# SPDX-License-Identifier: Apache-2.0
"""Every topic of a cell that a recording holds."""

from __future__ import annotations

from dataclasses import dataclass

from dex_core.config import CellConfig
from dex_ros import names

PICTURES_WAIT = 30
"""A recorder that is set aside for a second misses no picture of a camera of 30 Hz."""


@dataclass(frozen=True)
class RecordedTopic:
    """One topic: name relative to the cell's namespace (or absolute), type, and how it is subscribed to.

    Attributes:
        latched: transient-local, so that what was published before the recording began is in it.
        reliable: False only where the publisher is best effort.
        depth: how many messages may wait between two rounds of the recorder.
    """

    name: str
    type_name: str
    latched: bool = False
    reliable: bool = True
    depth: int = 100


def topics_of(cell: CellConfig) -> tuple[RecordedTopic, ...]:
    """The topics of DESIGN.md section 4 for this cell."""
    return (
        *(topic for camera in cell.cameras for topic in _camera_topics(cell, camera)),
        *(RecordedTopic(names.device_states(interface), "sensor_msgs/msg/JointState", reliable=False) for interface in cell.interfaces),
        RecordedTopic(names.JOINT_STATES, "sensor_msgs/msg/JointState", reliable=False),
        RecordedTopic(names.ACTION_CHUNK, "dex_msgs/msg/ActionChunk"),
        RecordedTopic(names.DECODED_CHUNK, "dex_msgs/msg/ActionChunk"),
        *(
            RecordedTopic(names.mounted_hand(interface.side), "dex_msgs/msg/MountedHand", latched=True)
            for interface in cell.interfaces.values() if interface.robot.kind == "hand"
        ),
        RecordedTopic(names.JOINT_COMMAND, "dex_msgs/msg/JointCommand"),
        RecordedTopic(names.COMMAND_REPORT, "dex_msgs/msg/CommandReport"),
        RecordedTopic(names.CHUNK_REPORT, "dex_msgs/msg/ChunkReport"),
        RecordedTopic(names.CHUNK_LATENCY, "dex_msgs/msg/ChunkLatency"),
        RecordedTopic(names.SAFETY_STATE, "dex_msgs/msg/SafetyState", latched=True),
        RecordedTopic(names.POLICY_STATUS, "dex_msgs/msg/PolicyStatus", latched=True),
        RecordedTopic(names.TASK_STATE, "dex_msgs/msg/TaskState", latched=True),
        *((RecordedTopic(names.SEGMENT_RESULT, "dex_msgs/msg/Segmentation"),) if cell.perception is not None else ()),
        RecordedTopic(names.HEARTBEATS, "dex_msgs/msg/Heartbeat", reliable=False, depth=200),
        RecordedTopic(names.ROBOT_DESCRIPTION, "std_msgs/msg/String", latched=True),
        RecordedTopic(names.SCENE_MARKERS, "visualization_msgs/msg/MarkerArray"),
        RecordedTopic(names.PLANNED_CHUNK, "visualization_msgs/msg/MarkerArray"),
        RecordedTopic(names.RUN_TASK + "/_action/status", "action_msgs/msg/GoalStatusArray", latched=True),
        RecordedTopic(names.DIAGNOSTICS, "diagnostic_msgs/msg/DiagnosticArray"),
        RecordedTopic("/tf", "tf2_msgs/msg/TFMessage"),
        RecordedTopic("/tf_static", "tf2_msgs/msg/TFMessage", latched=True),
        RecordedTopic("/rosout", "rcl_interfaces/msg/Log", latched=True, depth=1000),
    )


def _camera_topics(cell: CellConfig, camera: str) -> list[RecordedTopic]:
    """Pictures and lens; with depth, those of depth too."""
    pairs = [(names.IMAGE, names.CAMERA_INFO), *([(names.DEPTH, names.DEPTH_INFO)] if cell.cameras[camera].depth else [])]
    kinds = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo")
    scope = cell.camera_scope(camera)
    return [
        RecordedTopic(names.of_camera(topic, scope), kind, reliable=False, depth=PICTURES_WAIT)
        for pair in pairs for topic, kind in zip(pair, kinds, strict=True)
    ]
