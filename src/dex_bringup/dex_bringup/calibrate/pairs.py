# SPDX-License-Identifier: Apache-2.0
"""Messages of a camera and an arm, live or from a recording, brought together: a picture, and the joints if the arm stood still."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image, JointState

from dex_bringup.calibrate.stillness import Stillness
from dex_core.devices.camera import Intrinsics
from dex_core.errors import ConfigError, DexError
from dex_eval.bag import Recording
from dex_ros import names
from dex_ros.convert import image_from_msg, time_from_msg

MODELS = ("plumb_bob", "rational_polynomial", "")
WAITING = 12
"""Pictures that may wait for joint states."""


@dataclass(frozen=True)
class Pair:
    """One picture: (H, W) uint8 grey, when, and the arm's joints [rad]; None: it moved, or was silent."""

    stamp_ns: int
    gray: NDArray[np.uint8]
    joints_rad: dict[str, float] | None


@dataclass(frozen=True)
class Topics:
    """Where the messages come from; relative names."""

    image: str
    info: str
    states: str

    @staticmethod
    def of(interface: str, scope: str = "") -> Topics:
        """Of an arm, and of the only camera of a cell or of the one called ``scope``."""
        stem = f"{scope}/" if scope else ""
        return Topics(stem + names.IMAGE, stem + names.CAMERA_INFO, names.device_states(interface))


def intrinsics_of(msg: CameraInfo) -> Intrinsics:
    """The lens of a picture. Raises ConfigError where it is not OpenCV's pinhole model, or not given."""
    if msg.distortion_model not in MODELS:
        raise ConfigError(f"camera_info has the distortion model {msg.distortion_model!r}; allowed: {[m for m in MODELS if m]}")
    if not msg.k[0] > 0.0 or not msg.k[4] > 0.0:
        raise ConfigError("camera_info has no focal length: this camera's lens was never calibrated")
    lens = tuple(float(v) for v in msg.d)
    fx, fy, cx, cy = (float(msg.k[i]) for i in (0, 4, 2, 5))  # a message holds NumPy's numbers, which YAML does not know
    return Intrinsics(int(msg.width), int(msg.height), fx, fy, cx, cy, lens if any(lens) else ())


class Pairing:
    """Takes messages in the order they come; gives pairs as soon as the joints around a picture are known.

    Attributes:
        intrinsics: of the newest camera_info; None: none came yet.
    """

    def __init__(self, stillness: Stillness) -> None:
        self.intrinsics: Intrinsics | None = None
        self._stillness = stillness
        self._waiting: deque[tuple[int, Image]] = deque(maxlen=WAITING)

    def info(self, msg: CameraInfo) -> None:
        """A camera_info. Raises ConfigError; DexError ``lens_changed`` where it differs from the first."""
        found = intrinsics_of(msg)
        if self.intrinsics not in (None, found):
            raise DexError("camera_info changed while pictures were taken; views of two lenses do not go together", code="lens_changed")
        self.intrinsics = found

    def states(self, msg: JointState) -> None:
        """A joint state of the arm."""
        self._stillness.add(time_from_msg(msg.header.stamp), dict(zip(msg.name, msg.position, strict=False)))

    def picture(self, msg: Image) -> None:
        """A picture, which waits for the states around it."""
        self._waiting.append((time_from_msg(msg.header.stamp), msg))

    def pairs(self) -> Iterator[Pair]:
        """Those that are ready, oldest first."""
        while self._waiting and self._stillness.known(self._waiting[0][0]):
            stamp_ns, msg = self._waiting.popleft()
            yield Pair(stamp_ns, cv2.cvtColor(image_from_msg(msg), cv2.COLOR_RGB2GRAY), self._stillness.joints_at(stamp_ns))


def pairs_of_recording(path: Path, topics: Topics, stillness: Stillness) -> Iterator[tuple[Intrinsics, Pair]]:
    """Every picture of a recording with its joints, and the lens it was taken through.

    Raises:
        BagError: no such recording, or a topic is not in it.
    """
    recording = Recording(path)
    found = {wanted: _named(recording, wanted) for wanted in (topics.image, topics.info, topics.states)}
    recording.require(*found.values())
    pairing = Pairing(stillness)
    readers = {
        found[topics.image]: lambda data: pairing.picture(deserialize_message(data, Image)),
        found[topics.info]: lambda data: pairing.info(deserialize_message(data, CameraInfo)),
        found[topics.states]: lambda data: pairing.states(deserialize_message(data, JointState)),
    }
    for message in recording.messages(frozenset(readers)):
        readers[message.topic](message.data)
        if pairing.intrinsics is not None:
            yield from ((pairing.intrinsics, pair) for pair in pairing.pairs())


def _named(recording: Recording, relative: str) -> str:
    """The topic as recorded, under whatever namespace."""
    return next((topic for topic in sorted(recording.counts, key=len) if topic == relative or topic.endswith(f"/{relative}")), relative)
