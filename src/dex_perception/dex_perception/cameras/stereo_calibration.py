# SPDX-License-Identifier: Apache-2.0
"""A ZED's factory calibration (SN<serial>.conf): two lenses and how they stand to each other, for every resolution it gives.

The file is INI text. ``[LEFT_CAM_HD]`` and its kin hold fx, fy, cx, cy [px] and the lens of one resolution; newer files keep the lens, in OpenCV's
rational model, once in ``[LEFT_DISTO]``. ``[STEREO]`` holds ``Baseline``, ``TY``, ``TZ`` [mm] and for every resolution ``RX``, ``CV``, ``RZ``: the
rotation vector [rad] about x, y and z. Stereolabs' own calibration tool writes them from OpenCV's stereoCalibrate, which settles signs and
directions: x_right = R x_left + T with T = (-Baseline, TY, TZ) (stereolabs/zed-opencv-native and zed-open-capture read it that way).
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.devices.camera import Intrinsics
from dex_core.errors import ConfigError, NonFiniteError

Array = NDArray[np.float64]
SIZES = {"2K": (2208, 1242), "FHD1200": (1920, 1200), "FHD": (1920, 1080), "HD": (1280, 720), "SVGA": (960, 600), "VGA": (672, 376)}
"""Resolution as the file calls it -> (width, height) of one eye [px]."""
RATIONAL = ("k4", "k5", "k6")
MAX_BYTES = 65_536
PLAUSIBLE_BASELINE_MM = (10.0, 1000.0)


@dataclass(frozen=True)
class StereoCalibration:
    """Two cameras at one resolution.

    Attributes:
        left, right: with distortion, of the raw pictures.
        rotation: (3, 3), left optical frame into right optical frame.
        translation_m: (3,), x_right = rotation x_left + translation_m.
    """

    left: Intrinsics
    right: Intrinsics
    rotation: Array
    translation_m: Array

    @property
    def baseline_m(self) -> float:
        """Distance of the two optical centres [m]."""
        return float(np.linalg.norm(self.translation_m))


def load_calibration(path: Path, size_wh: tuple[int, int]) -> StereoCalibration:
    """Calibration of the resolution whose eye is ``size_wh`` [px].

    Raises:
        ConfigError: no such file, not a ZED calibration, a number missing or impossible, or not for this size; names what the file has.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: {path.stat().st_size} bytes; a ZED calibration has at most {MAX_BYTES}")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}; a ZED's calibration is SN<serial>.conf, from /usr/local/zed/settings or Stereolabs' site") from error
    try:
        return parse_calibration(text, size_wh)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def resolutions(text: str) -> dict[str, tuple[int, int]]:
    """Resolutions that a calibration covers: name -> (width, height) of one eye [px]. Raises ConfigError."""
    sections = _sections(text)
    return {name: size for name, size in SIZES.items() if f"LEFT_CAM_{name}" in sections and f"RIGHT_CAM_{name}" in sections}


def parse_calibration(text: str, size_wh: tuple[int, int]) -> StereoCalibration:
    """The same from the file's text. Raises ConfigError."""
    covered = resolutions(text)
    name = next((name for name, size in covered.items() if size == tuple(size_wh)), None)
    if name is None:
        known = ", ".join(f"{name} {size[0]}x{size[1]}" for name, size in covered.items()) or "none that is known"
        raise ConfigError(f"there is no calibration for {size_wh[0]}x{size_wh[1]} pixels of one eye; the file has: {known}")
    sections = _sections(text)
    stereo = sections["STEREO"] if "STEREO" in sections else None
    if stereo is None:
        raise ConfigError("section [STEREO] is missing")
    baseline_mm = _number(stereo, "Baseline")
    low, high = PLAUSIBLE_BASELINE_MM
    if not low <= baseline_mm <= high:
        raise ConfigError(f"[STEREO] Baseline is {baseline_mm}; it is in mm, {low:g} to {high:g}")
    vector = np.array([_number(stereo, f"{key}_{name}", key) for key in ("RX", "CV", "RZ")])  # [rad]
    offsets_mm = [_number(stereo, f"{key}_{name}", key, default=0.0) for key in ("TY", "TZ")]
    rotation, translation_m = cv2.Rodrigues(vector)[0], np.array([-baseline_mm, *offsets_mm]) * 1e-3
    rotation.setflags(write=False)
    translation_m.setflags(write=False)
    return StereoCalibration(_lens(sections, "LEFT", name), _lens(sections, "RIGHT", name), rotation, translation_m)


def _sections(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)  # strict: a section or key given twice is refused
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ConfigError(f"not a ZED calibration: {' '.join(str(error).split())}") from error
    return parser


def _lens(sections: configparser.ConfigParser, side: str, name: str) -> Intrinsics:
    camera = sections[f"{side}_CAM_{name}"]
    lens = sections[f"{side}_DISTO"] if f"{side}_DISTO" in sections else camera
    order = ["k1", "k2", "p1", "p2", "k3", *(RATIONAL if all(key in lens for key in RATIONAL) else ())]
    coefficients = tuple(_number(lens, key, default=0.0 if key in ("p1", "p2", "k3") else None) for key in order)
    width, height = SIZES[name]
    fx, fy, cx, cy = (_number(camera, key) for key in ("fx", "fy", "cx", "cy"))
    if not (fx > 0.0 and fy > 0.0 and 0.0 < cx < width and 0.0 < cy < height):
        raise ConfigError(f"[{camera.name}] fx {fx}, fy {fy}, cx {cx}, cy {cy} are not those of a picture of {width}x{height} pixels")
    try:
        return Intrinsics(width, height, fx, fy, cx, cy, coefficients)
    except NonFiniteError as error:
        raise ConfigError(f"[{lens.name}]: {error}") from error


def _number(section: configparser.SectionProxy, *keys: str, default: float | None = None) -> float:
    """The first of ``keys`` that the section has. Raises ConfigError for none (without a default) and for what is no finite number."""
    key = next((key for key in keys if key in section), None)
    if key is None:
        if default is None:
            raise ConfigError(f"[{section.name}] {keys[0]} is missing")
        return default
    try:
        value = float(section[key])
    except ValueError as error:
        raise ConfigError(f"[{section.name}] {key} is {section[key]!r}, expected a number") from error
    if not np.isfinite(value):
        raise ConfigError(f"[{section.name}] {key} is {value}, expected a finite number")
    return value
