# SPDX-License-Identifier: Apache-2.0
"""Which topics of a recording are a camera's pictures, its depth and its lens, by the names that the common drivers use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dex_core.errors import ConfigError, DeviceError

IMAGE, COMPRESSED, INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo"
TRANSPORTS = ("", "/compressed")
DEPTH_TRANSPORTS = ("", "/compressedDepth")
CONVENTIONS = {
    "color/image_raw": "aligned_depth_to_color/image_raw",  # realsense2_camera, and this stack
    "rgb/color/rect/image": "depth/depth_registered",  # zed-ros2-wrapper for SDK 5
    "left/color/rect/image": "depth/depth_registered",
    "rgb/image_rect_color": "depth/depth_registered",  # and for SDK 4
    "left/image_rect_color": "depth/depth_registered",
}
"""End of a colour topic -> end of the topic of the depth that is aligned to it."""


@dataclass(frozen=True)
class BagTopics:
    """What is read. ``depth`` is empty where none is."""

    colour: str
    info: str
    depth: str = ""

    @property
    def all(self) -> frozenset[str]:
        """Every topic that is there."""
        return frozenset(filter(None, (self.colour, self.info, self.depth)))

    @property
    def rectified(self) -> bool:
        """Whether the pictures are rectified, so that P of CameraInfo is their matrix and D was undone (image_proc and ZED say ``rect``)."""
        return "rect" in re.split("[/_]", self.colour)


def choose_topics(types: Mapping[str, str], *, depth: bool, colour_topic: str = "", depth_topic: str = "", info_topic: str = "") -> BagTopics:
    """The topics of one camera.

    Args:
        types: topic -> type of everything recorded.
        depth: whether depth is wanted.
        colour_topic, depth_topic, info_topic: named by the user; empty: found by name.

    Raises:
        ConfigError: a topic that was named is not there or is of another type, or there are several cameras.
        DeviceError: ``topic_missing``: no colour, depth or CameraInfo that is known by its name; says what there is.
    """
    for name, allowed in ((colour_topic, (IMAGE, COMPRESSED)), (depth_topic, (IMAGE, COMPRESSED)), (info_topic, (INFO,))):
        if name and types.get(name) not in allowed:
            raise ConfigError(f"topic {name!r} is {types.get(name, 'not in the recording')}; needed is {' or '.join(allowed)}; {_there(types)}")
    colour = colour_topic or _colour(types)
    aligned = (depth_topic or _depth(types, colour)) if depth else ""
    info = info_topic or _info(types, colour) or _info(types, aligned)
    if not info:
        raise DeviceError(f"the recording has no CameraInfo beside {colour!r}; name one with info_topic; {_there(types)}", code="topic_missing")
    return BagTopics(colour, info, aligned)


def _colour(types: Mapping[str, str]) -> str:
    cameras: dict[str, str] = {}
    for ending in CONVENTIONS:
        for transport in TRANSPORTS:
            wanted = COMPRESSED if transport else IMAGE
            for name, type_name in types.items():
                if type_name == wanted and f"/{name}".endswith(f"/{ending}{transport}"):
                    cameras.setdefault(name[: len(name) - len(ending + transport)], name)
    if not cameras:
        raise DeviceError(f"the recording has no colour picture under a name that is known ({', '.join(CONVENTIONS)}); "
                          f"name one with colour_topic; {_there(types)}", code="topic_missing")
    if len(cameras) > 1:
        raise ConfigError(f"the recording has {len(cameras)} cameras; name one of {sorted(cameras.values())} with colour_topic")
    return next(iter(cameras.values()))


def _depth(types: Mapping[str, str], colour: str) -> str:
    base = colour.removesuffix(TRANSPORTS[1])
    for ending, aligned in CONVENTIONS.items():
        if f"/{base}".endswith(f"/{ending}"):
            names = [base[: len(base) - len(ending)] + aligned + transport for transport in DEPTH_TRANSPORTS]
            found = next((name for name in names if types.get(name) in (IMAGE, COMPRESSED)), "")
            if found:
                return found
            raise DeviceError(f"the recording has no {names[0]!r}, the depth aligned to {colour!r}; name one with depth_topic, or set depth: false; "
                              f"{_there(types)}", code="topic_missing")
    raise DeviceError(f"which depth is aligned to {colour!r} cannot be told by its name; name one with depth_topic; {_there(types)}",
                      code="topic_missing")


def _info(types: Mapping[str, str], image: str) -> str:
    """The CameraInfo beside an image topic: below it (zed-ros2-wrapper) or in its place (image_transport); empty: none."""
    base = image.removesuffix(TRANSPORTS[1]).removesuffix(DEPTH_TRANSPORTS[1])
    names = (f"{base}/camera_info", f"{base[: base.rfind('/') + 1]}camera_info")
    return next((name for name in names if types.get(name) == INFO), "")


def _there(types: Mapping[str, str]) -> str:
    pictures = sorted(name for name, type_name in types.items() if type_name in (IMAGE, COMPRESSED, INFO))
    return f"pictures in it: {pictures}" if pictures else f"there are no pictures in it, only {sorted(types) or 'nothing'}"
