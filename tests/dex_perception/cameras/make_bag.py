# SPDX-License-Identifier: Apache-2.0
"""Recordings for tests, written by rosbags: another's writer, so that reading is not held against ourselves."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.ROS2_JAZZY)
IMAGE, COMPRESSED, INFO, TEXT = (f"{package}/msg/{name}" for package, name in (
    ("sensor_msgs", "Image"), ("sensor_msgs", "CompressedImage"), ("sensor_msgs", "CameraInfo"), ("std_msgs", "String")))
FIRST_NS = 1_700_000_000_000_000_000
WIDTH, HEIGHT = 32, 24
FX = 40.0


def message(type_name: str, **values: Any) -> Any:
    return TYPES.types[type_name](**values)


def header(stamp_ns: int, frame_id: str = "camera_color_optical_frame") -> Any:
    stamp = message("builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return message("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def image(stamp_ns: int, pixels: np.ndarray, encoding: str, pad: int = 0, big: bool = False) -> Any:
    rows = pixels.reshape(pixels.shape[0], -1)
    rows = (rows.astype(rows.dtype.newbyteorder(">")) if big else rows).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, pad)), constant_values=7)
    return message(IMAGE, header=header(stamp_ns), height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, is_bigendian=int(big),
                   step=rows.shape[1], data=rows.ravel())


def compressed(stamp_ns: int, data: bytes, form: str) -> Any:
    return message(COMPRESSED, header=header(stamp_ns), format=form, data=np.frombuffer(data, dtype=np.uint8))


def info(stamp_ns: int, fx: float = FX, d: Sequence[float] = (0.0,) * 5, model: str = "plumb_bob", size: tuple[int, int] = (WIDTH, HEIGHT),
         p_fx: float | None = None) -> Any:
    cx, cy = (size[0] - 1) / 2, (size[1] - 1) / 2
    f = fx if p_fx is None else p_fx
    roi = message("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return message(INFO, header=header(stamp_ns), height=size[1], width=size[0], distortion_model=model, d=np.array(d, dtype=float),
                   k=np.array([fx, 0, cx, 0, fx, cy, 0, 0, 1.0]), r=np.eye(3).ravel(),
                   p=np.array([f, 0, cx, 0, 0, f, cy, 0, 0, 0, 1.0, 0]), binning_x=0, binning_y=0, roi=roi)


def rgb_of(k: int) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) that says which picture it is."""
    picture = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    picture[..., 0], picture[..., 1] = k, np.arange(WIDTH)
    picture[..., 2] = np.arange(HEIGHT)[:, None]
    return picture


def depth_mm_of(k: int) -> np.ndarray:
    depth = np.full((HEIGHT, WIDTH), 1000 + k, dtype=np.uint16)
    depth[0, :5] = 0
    return depth


class Recording:
    """Messages to write: (topic, type, message, time of recording [ns])."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str, Any, int]] = []

    def add(self, topic: str, type_name: str, value: Any, log_ns: int) -> None:
        self.entries.append((topic, type_name, value, log_ns))

    def write(self, folder: Path, compression: bool = False) -> Path:
        writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
        if compression:
            writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        connections: dict[str, Any] = {}
        with writer:
            for topic, type_name, value, log_ns in self.entries:
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, type_name, typestore=TYPES)
                writer.write(connections[topic], log_ns, TYPES.serialize_cdr(value, type_name))
        return folder


def realsense(
    folder: Path, frames: int = 8, period_ns: int = 20_000_000, prefix: str = "/camera/camera/",
    edit: Callable[[str, int, Any], Any] = lambda _kind, _k, value: value, compression: bool = False,
) -> Path:
    """What realsense2_camera leaves: rgb8, aligned 16UC1, CameraInfo of both. ``edit(kind, k, message)`` changes or drops (None) a message."""
    recording = Recording()
    for k in range(frames):
        stamp_ns = FIRST_NS + k * period_ns
        for kind, topic, type_name, value in (
            ("info", "color/camera_info", INFO, info(stamp_ns)),
            ("colour", "color/image_raw", IMAGE, image(stamp_ns, rgb_of(k), "rgb8")),
            ("depth", "aligned_depth_to_color/image_raw", IMAGE, image(stamp_ns, depth_mm_of(k), "16UC1")),
        ):
            edited = edit(kind, k, value)
            if edited is not None:
                recording.add(prefix + topic, type_name, edited, stamp_ns + 1_000_000)
    recording.add("/rosout_text", TEXT, message(TEXT, data="hello"), FIRST_NS)
    return recording.write(folder, compression)
