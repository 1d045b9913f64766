# SPDX-License-Identifier: Apache-2.0
"""The messages of a cell that an annotator needs, live or recorded: which topics, and how each goes into the assembler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from tf2_msgs.msg import TFMessage

from dex_core.config import CellConfig
from dex_core.devices.camera import Intrinsics
from dex_core.errors import ConfigError, DexError, ShapeError
from dex_msgs.msg import Segmentation
from dex_perception.keypoints.assemble import USUAL, Assembler, Limits
from dex_perception.segment.intake import intrinsics_of
from dex_ros import convert, names

COMPRESSED = "compressed"
PICTURES = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=8, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)
"""Who draws slower than pictures come gets the newest; those it could not take are lost, as with any sensor."""
STATES = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=500, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)
"""Those around a picture are needed, not the newest alone, and drawing the picture before takes a while: none may be lost."""
EVERY_TF = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""Several nodes latch /tf_static; each one's is kept."""
MOVING_TF = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)


@dataclass(frozen=True)
class Route:
    """How one topic is read: type, QoS of a live subscription, and what takes a message that arrived at a time [ns]."""

    kind: type
    qos: QoSProfile
    take: Callable[[Any, int], None]


class Intake:
    """Puts the messages of one camera and all robots of a cell into an assembler.

    Args:
        cell: as it ran.
        camera: one of its cameras; empty: the first.
        limits: of the assembler.
        masks: whether an object's mask of a picture goes into that picture's sample.

    Attributes:
        assembler: gives the samples.
        routes: topic -> Route; relative names but for /tf. The compressed pictures are in ``compressed``, for where there are no others.
        result: the newest word of the segmentation, None before any.
        refused: code -> messages that were not understood; newest_refusal: the last one in words.
    """

    def __init__(self, cell: CellConfig, camera: str = "", limits: Limits = USUAL, *, masks: bool = True) -> None:
        if not cell.cameras:
            raise ConfigError(f"cell {cell.name!r} has no camera")
        self.camera = camera or next(iter(cell.cameras))
        if self.camera not in cell.cameras:
            raise ConfigError(f"cell {cell.name!r} has no camera {camera!r}; it has {list(cell.cameras)}")
        self.config = cell.cameras[self.camera]
        self.assembler = Assembler(cell, limits, self.config.mounted_on)
        self.result: Segmentation | None = None
        self.refused: Counter[str] = Counter()
        self.newest_refusal = ""
        self._masks = masks
        scope = cell.camera_scope(self.camera)
        stem = f"{scope}/" if scope else ""
        self.image, self.compressed = stem + names.IMAGE, f"{stem}{names.IMAGE}/{COMPRESSED}"
        self.routes: dict[str, Route] = {
            self.image: Route(Image, PICTURES, self._picture),
            stem + names.CAMERA_INFO: Route(CameraInfo, PICTURES, self._info),
            stem + names.DEPTH: Route(Image, PICTURES, self._depth),
            names.SEGMENT_RESULT: Route(Segmentation, PICTURES, self._segmented),
            "/tf_static": Route(TFMessage, EVERY_TF, self._still),
            "/tf": Route(TFMessage, MOVING_TF, self._moving),
            **{names.device_states(name): Route(JointState, STATES, self._states(name)) for name in cell.interfaces},
        }

    def use_compressed(self) -> None:
        """Reads the compressed pictures in place of the others."""
        self.routes.pop(self.image, None)
        self.routes[self.compressed] = Route(CompressedImage, PICTURES, self._jpeg)

    def put(self, topic: str, message: Any, now_ns: int) -> None:
        """One message of a topic of ``routes``; one that is not understood is counted."""
        try:
            self.routes[topic].take(message, now_ns)
        except DexError as error:
            self.refused[error.code] += 1
            self.newest_refusal = f"{topic}: {error}"

    def _picture(self, message: Image, now_ns: int) -> None:
        stamp_ns = convert.time_from_msg(message.header.stamp)
        self.assembler.put_picture(stamp_ns, message.header.frame_id, lambda: convert.image_from_msg(message), now_ns)

    def _jpeg(self, message: CompressedImage, now_ns: int) -> None:
        self.assembler.put_picture(convert.time_from_msg(message.header.stamp), message.header.frame_id, lambda: _decoded(message), now_ns)

    def _depth(self, message: Image, _now_ns: int) -> None:
        self.assembler.put_depth(convert.time_from_msg(message.header.stamp), lambda: convert.depth_from_msg(message))

    def _info(self, message: CameraInfo, _now_ns: int) -> None:
        found = intrinsics_of(message.width, message.height, message.k, message.d, message.distortion_model)
        if not isinstance(found, Intrinsics):
            raise found
        self.assembler.put_intrinsics(message.header.frame_id, found)

    def _segmented(self, message: Segmentation, _now_ns: int) -> None:
        self.result = message
        if self._masks and message.found:
            self.assembler.put_mask(convert.time_from_msg(message.header.stamp), lambda: mask_of(message))

    def _still(self, message: TFMessage, _now_ns: int) -> None:
        self._transforms(message, fixed=True)

    def _moving(self, message: TFMessage, _now_ns: int) -> None:
        self._transforms(message, fixed=False)

    def _transforms(self, message: TFMessage, *, fixed: bool) -> None:
        for entry in message.transforms:
            t, r = entry.transform.translation, entry.transform.rotation
            stamp_ns = convert.time_from_msg(entry.header.stamp)
            self.assembler.transforms.add(entry.header.frame_id, entry.child_frame_id, (t.x, t.y, t.z), (r.x, r.y, r.z, r.w), stamp_ns, fixed=fixed)

    def _states(self, interface: str) -> Callable[[JointState, int], None]:
        def take(message: JointState, _now_ns: int) -> None:
            state = convert.joint_state_from_msg(message)
            self.assembler.put_joints(interface, state.stamp_ns, state.names, state.position_rad)

        return take


def mask_of(result: Segmentation) -> NDArray[np.bool_]:
    """(H, W) of a result that found something. Raises ShapeError."""
    return np.asarray(convert.pixels_from_msg(result.mask)) > 0


def _decoded(message: CompressedImage) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(message.data, dtype=np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ShapeError(f"a compressed picture of format {message.format!r} and {len(message.data)} bytes does not decode", code="image_damaged")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
