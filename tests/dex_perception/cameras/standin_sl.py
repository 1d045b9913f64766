# SPDX-License-Identifier: Apache-2.0
"""What of ``pyzed.sl`` the driver calls, by the names of the SDK's Python sources (5.4); it proves the driver's logic, not the SDK."""
from __future__ import annotations

import enum
import time
from types import SimpleNamespace
from typing import Any

import numpy as np


class ErrorCode(enum.Enum):
    """Ordered as the SDK's: warnings below SUCCESS, failures above."""

    CONFIGURATION_FALLBACK = -4
    CORRUPTED_FRAME = -2
    SUCCESS = 0
    CAMERA_NOT_DETECTED = 4
    LOW_USB_BANDWIDTH = 8
    END_OF_SVOFILE_REACHED = 13

    def __lt__(self, other: ErrorCode) -> bool:
        return self.value < other.value

    def __gt__(self, other: ErrorCode) -> bool:
        return self.value > other.value


class Sl:
    """The module. Attributes say what the camera does.

    Attributes:
        serials: plugged in. opens: what open() answers. grabs: answers of the next grabs, then SUCCESS. svo_frames: of a recording.
        opened: the parameters that a camera was opened with. closed: how often one was.
    """

    ERROR_CODE = ErrorCode
    RESOLUTION = SimpleNamespace(HD2K="HD2K", HD1080="HD1080", HD720="HD720", VGA="VGA", SVGA="SVGA", HD1200="HD1200")
    DEPTH_MODE = SimpleNamespace(NONE="NONE", NEURAL="NEURAL", NEURAL_LIGHT="NEURAL_LIGHT", QUALITY="QUALITY")
    UNIT, COORDINATE_SYSTEM = SimpleNamespace(METER="METER"), SimpleNamespace(IMAGE="IMAGE")
    VIEW, MEASURE = SimpleNamespace(LEFT="LEFT"), SimpleNamespace(DEPTH="DEPTH")
    TIME_REFERENCE = SimpleNamespace(IMAGE="IMAGE")
    SIZES = {"VGA": (672, 376), "HD720": (1280, 720)}

    def __init__(self) -> None:
        self.serials = [4711]
        self.opens = ErrorCode.SUCCESS
        self.grabs: list[ErrorCode] = []
        self.svo_frames = 0
        self.opened: list[Any] = []
        self.closed = 0
        self.period_s = 0.005
        self.Camera = type("Camera", (_Camera,), {
            "sl": self, "get_device_list": staticmethod(lambda: [SimpleNamespace(serial_number=serial) for serial in self.serials]),
            "get_sdk_version": staticmethod(lambda: "5.4.0")})

    class InitParameters:
        svo_real_time_mode = False

        def set_from_serial_number(self, number: int) -> None:
            self.serial = number

        def set_from_svo_file(self, path: str) -> None:
            self.svo = path

    class RuntimeParameters:
        def __init__(self, confidence_threshold: int) -> None:
            self.confidence_threshold = confidence_threshold

    class Mat:
        data: np.ndarray

        def get_data(self) -> np.ndarray:
            return self.data


class _Camera:
    """One camera; each picture says its number in red."""

    sl: Sl

    def open(self, parameters: Any) -> ErrorCode:
        self.sl.opened.append(parameters)
        self.size = self.sl.SIZES[parameters.camera_resolution]
        self.count = self.position = 0
        self.svo = getattr(parameters, "svo", "")
        return self.sl.opens

    def get_camera_information(self) -> Any:
        left = SimpleNamespace(fx=350.0, fy=350.0, cx=0.5 * self.size[0], cy=0.5 * self.size[1])
        return SimpleNamespace(serial_number=4711, camera_model="ZED 2i", camera_configuration=SimpleNamespace(
            resolution=SimpleNamespace(width=self.size[0], height=self.size[1]), calibration_parameters=SimpleNamespace(left_cam=left)))

    def grab(self, _runtime: Any) -> ErrorCode:
        time.sleep(self.sl.period_s)
        if self.sl.grabs:
            return self.sl.grabs.pop(0)
        if self.svo and self.position >= self.sl.svo_frames:
            return ErrorCode.END_OF_SVOFILE_REACHED
        self.count, self.position = self.count + 1, self.position + 1
        self.stamp_ns = time.time_ns()
        return ErrorCode.SUCCESS

    def set_svo_position(self, position: int) -> None:
        self.position = position

    def retrieve_image(self, mat: Any, _view: str) -> ErrorCode:
        mat.data = np.zeros((self.size[1], self.size[0], 4), dtype=np.uint8)
        mat.data[:] = (10, 20, self.position % 256, 255)
        return ErrorCode.SUCCESS

    def retrieve_measure(self, mat: Any, _measure: str) -> ErrorCode:
        mat.data = np.full((self.size[1], self.size[0]), 1.5, dtype=np.float32)
        mat.data[0, :4] = (np.nan, np.inf, -np.inf, 99.0)
        return ErrorCode.SUCCESS

    def get_timestamp(self, _reference: str) -> Any:
        return SimpleNamespace(get_nanoseconds=lambda: self.stamp_ns)

    def close(self) -> None:
        self.sl.closed += 1
