# SPDX-License-Identifier: Apache-2.0
"""What a cell file may ask of a RealSense: which of its modes, which preset, which of the recommended filters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyrealsense2 as rs

from dex_core.config.strict import bounded, choice
from dex_core.errors import ConfigError

PRESETS = {"D400": rs.rs400_visual_preset, "L500": rs.l500_visual_preset}
"""Product line -> its presets; a D455 and a D435 share theirs, an L515 has its own."""
COLOUR_FORMATS = (rs.format.rgb8, rs.format.bgr8)
"""What is read as it is; live devices convert to the first themselves."""
SYNC_HZ = 1.0
"""Rates of two streams that differ by less are the same."""


@dataclass(frozen=True)
class RealSenseOptions:
    """``options`` of a camera with the driver ``realsense``. Every filter is off unless asked for.

    Attributes:
        preset: as the maker names it, e.g. ``high_accuracy`` (D400) or ``short_range`` (L515); empty: as the device is.
        emitter: the projector; empty: as the device is.
        depth_wh: size of the depth picture before alignment [px]; (0, 0): that of the colour picture, else the largest inside it.
        decimation: side of the square of pixels that become one; 1: off. It costs detail at edges.
        spatial: smooths over the picture and keeps edges.
        temporal: smooths over time; it smears what moves.
        hole_filling: invents depth where there is none, at edges above all.
        min_m, max_m: depth outside is unknown; 0: no such limit.
        transport_s: least time from exposure to arrival, where somebody has measured it; taken off every stamp [s].
        loop: a recording begins anew at its end instead of ending like a cable that is pulled.
    """

    preset: str = ""
    emitter: str = choice("", "on", "off", default="")
    depth_wh: tuple[int, int] = (0, 0)
    decimation: int = bounded(1, 8, default=1)
    spatial: bool = False
    temporal: bool = False
    hole_filling: bool = False
    min_m: float = bounded(0.0, 20.0, default=0.0)
    max_m: float = bounded(0.0, 20.0, default=0.0)
    transport_s: float = bounded(0.0, 0.1, default=0.0)
    loop: bool = True

    def __post_init__(self) -> None:
        if self.max_m and self.min_m >= self.max_m:
            raise ConfigError(f"min_m is {self.min_m} and max_m {self.max_m}; min_m must be less")


class Mode(NamedTuple):
    """One mode of a stream: size [px], rate [Hz]."""

    width: int
    height: int
    fps: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}@{self.fps}"

    @classmethod
    def of(cls, profile: rs.stream_profile) -> Mode:
        """Of a video profile."""
        video = profile.as_video_stream_profile()
        return cls(video.width(), video.height(), profile.fps())


class Chosen(NamedTuple):
    """What will be streamed: a sensor and its profiles, colour first where one sensor gives both."""

    sensor: rs.sensor
    profiles: tuple[rs.video_stream_profile, ...]


def choose_rate(modes: Iterable[Mode], size_wh: Sequence[int], rate_hz: float) -> Mode | None:
    """The slowest mode of a size that is not slower than asked for; None when there is none."""
    fitting = [mode for mode in modes if mode[:2] == tuple(size_wh) and mode.fps >= rate_hz - SYNC_HZ]
    return min(fitting, key=lambda mode: mode.fps, default=None)


def choose_depth(modes: Sequence[Mode], colour: Mode, wanted_wh: Sequence[int]) -> Mode | None:
    """The depth mode at the colour's rate: of the size asked for, else of the colour's size, else the largest inside it; None: there is none."""
    same = [mode for mode in modes if abs(mode.fps - colour.fps) < SYNC_HZ]
    if any(wanted_wh):
        same = [mode for mode in same if mode[:2] == tuple(wanted_wh)]
    else:
        same = [mode for mode in same if mode.width <= colour.width and mode.height <= colour.height]
    return max(same, key=lambda mode: mode.width * mode.height, default=None)


def choose_profiles(
    device: rs.device, size_wh: tuple[int, int], rate_hz: float, *, depth: bool, depth_wh: tuple[int, int] = (0, 0),
) -> tuple[Chosen, ...]:
    """The profiles to open on each sensor; nothing but colour and, when asked for, depth (no infrared, no IMU).

    Raises:
        ConfigError: the device has no such mode; lists those it has.
    """
    offered = [(sensor, profile) for sensor in device.query_sensors() for profile in sensor.get_stream_profiles()]
    colours = [(s, p) for s, p in offered if p.stream_type() == rs.stream.color and p.format() in COLOUR_FORMATS]
    depths = [(s, p) for s, p in offered if p.stream_type() == rs.stream.depth and p.format() == rs.format.z16]
    colour = choose_rate((Mode.of(p) for _, p in colours), size_wh, rate_hz)
    if colour is None:
        raise _no_mode("colour", f"{size_wh[0]}x{size_wh[1]} at {rate_hz:g} Hz or more", colours)
    taken = [min((pair for pair in colours if Mode.of(pair[1]) == colour), key=lambda pair: COLOUR_FORMATS.index(pair[1].format()))]
    if depth:
        mode = choose_depth([Mode.of(p) for _, p in depths], colour, depth_wh)
        if mode is None:
            size = f"{depth_wh[0]}x{depth_wh[1]}" if any(depth_wh) else f"at most {colour.width}x{colour.height}"
            raise _no_mode("depth", f"{size} at {colour.fps} Hz, the colour's rate", depths)
        taken.append(next(pair for pair in depths if Mode.of(pair[1]) == mode))
    return _by_sensor(taken)


def _no_mode(stream: str, wanted: str, offered: Sequence[tuple[rs.sensor, rs.stream_profile]]) -> ConfigError:
    modes = ", ".join(str(mode) for mode in sorted({Mode.of(profile) for _, profile in offered}))
    return ConfigError(f"no {stream} mode of {wanted}; the device offers {modes or 'none in a format that is read here (rgb8, bgr8; z16)'}")


def _by_sensor(taken: Sequence[tuple[rs.sensor, rs.stream_profile]]) -> tuple[Chosen, ...]:
    """Profiles of one sensor are opened together: a D405 gives colour and depth from the same."""
    names = dict.fromkeys(sensor.get_info(rs.camera_info.name) for sensor, _ in taken)
    grouped = ([pair for pair in taken if pair[0].get_info(rs.camera_info.name) == name] for name in names)
    return tuple(Chosen(pairs[0][0], tuple(profile.as_video_stream_profile() for _, profile in pairs)) for pairs in grouped)


def preset_value(product_line: str, name: str) -> int:
    """The number of a preset. Raises ConfigError with the names that this product line has."""
    known = dict(getattr(PRESETS.get(product_line), "__members__", {}))
    if name not in known:
        raise ConfigError(f"preset {name!r} is not one of a {product_line or 'device of unknown product line'}; allowed: {sorted(known) or 'none'}")
    return int(known[name])


class DepthFilters:
    """The recommended filters in the recommended order, all before alignment: decimation, [to disparity], spatial, temporal, [back], holes, range.

    One object per camera and connection: the temporal filter remembers pictures.

    Args:
        options: which.
        stereo: depth comes from two lenses, so smoothing happens in disparity, whose noise does not grow with distance. Not on an L515.
    """

    def __init__(self, options: RealSenseOptions, *, stereo: bool) -> None:
        smoothing: list[tuple[str, rs.filter]] = []
        if options.spatial:
            smoothing.append(("spatial", rs.spatial_filter()))
        if options.temporal:
            smoothing.append(("temporal", rs.temporal_filter()))
        if smoothing and stereo:
            smoothing = [("to disparity", rs.disparity_transform(True)), *smoothing, ("to depth", rs.disparity_transform(False))]
        self._chain = [
            *([("decimation", _decimation(options.decimation))] if options.decimation > 1 else []),
            *smoothing,
            *([("hole filling", rs.hole_filling_filter())] if options.hole_filling else []),
            *([("range", rs.threshold_filter(options.min_m, options.max_m or 100.0))] if options.min_m or options.max_m else []),
        ]

    @property
    def names(self) -> tuple[str, ...]:
        """In the order they act."""
        return tuple(name for name, _ in self._chain)

    def process(self, frames: rs.composite_frame) -> rs.composite_frame:
        """The set with its depth filtered and its colour as it was."""
        for _, one in self._chain:
            frames = one.process(frames).as_frameset()
        return frames


def _decimation(side: int) -> rs.decimation_filter:
    one = rs.decimation_filter()
    one.set_option(rs.option.filter_magnitude, float(side))
    return one
