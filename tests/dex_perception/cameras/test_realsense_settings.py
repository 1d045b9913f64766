# SPDX-License-Identifier: Apache-2.0
"""Modes, presets, filters and lenses of a RealSense, with librealsense itself where it has the last word."""
from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import cv2
import numpy as np
import pyrealsense2 as rs
import pytest

from dex_core.config.strict import build
from dex_core.errors import ConfigError, DeviceError
from dex_perception.cameras.realsense_device import information, is_stereo, prepare
from dex_perception.cameras.realsense_lens import distortion_of, intrinsics_of
from dex_perception.cameras.realsense_settings import (
    DepthFilters,
    Mode,
    RealSenseOptions,
    choose_depth,
    choose_profiles,
    choose_rate,
    preset_value,
)

spec = importlib.util.spec_from_file_location("soft_realsense", Path(__file__).with_name("soft_realsense.py"))
soft = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
spec.loader.exec_module(soft)  # type: ignore[union-attr]

D435_DEPTH = [Mode(w, h, f) for w, h in ((1280, 720), (848, 480), (640, 480), (640, 360), (424, 240)) for f in (6, 15, 30)]
LENS = (-0.056, 0.066, -0.0004, 0.0007, -0.021)
"""Of the size that a D455's colour sensor has."""


def given(**options: object) -> RealSenseOptions:
    return build(RealSenseOptions, options, "options")


# -- options ----------------------------------------------------------------------------------------------------------------
def test_nothing_is_filtered_unless_asked_for() -> None:
    assert DepthFilters(given(), stereo=True).names == ()


@pytest.mark.parametrize("options, says", [
    ({"exposure": 5}, "unknown key 'exposure'"), ({"decimation": 9}, "1 to 8"), ({"spatial": "yes"}, "expected bool"),
    ({"min_m": 2.0, "max_m": 1.0}, "min_m must be less"), ({"emitter": "auto"}, "'on', 'off'"), ({"depth_wh": [848]}, "expected 2 entries"),
])
def test_wrong_options_are_refused_with_what_is_allowed(options: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        given(**options)


# -- modes ------------------------------------------------------------------------------------------------------------------
def test_the_slowest_rate_that_is_fast_enough_is_taken() -> None:
    modes = [Mode(640, 480, fps) for fps in (6, 15, 30, 60)] + [Mode(1280, 720, 20)]
    assert choose_rate(modes, (640, 480), 20.0) == Mode(640, 480, 30)
    assert choose_rate(modes, (640, 480), 30.0) == Mode(640, 480, 30)
    assert choose_rate(modes, (640, 480), 90.0) is None and choose_rate(modes, (960, 540), 15.0) is None


@pytest.mark.parametrize("colour, wanted, mode", [
    (Mode(640, 480, 30), (0, 0), Mode(640, 480, 30)), (Mode(960, 540, 30), (0, 0), Mode(848, 480, 30)),
    (Mode(1920, 1080, 15), (0, 0), Mode(1280, 720, 15)), (Mode(640, 480, 30), (848, 480), Mode(848, 480, 30)),
    (Mode(640, 480, 30), (1024, 768), None), (Mode(640, 480, 60), (0, 0), None),
])
def test_depth_is_the_size_asked_for_else_the_largest_inside_the_colour(colour: Mode, wanted: tuple[int, int], mode: Mode | None) -> None:
    assert choose_depth(D435_DEPTH, colour, wanted) == mode


def test_modes_come_from_the_device_and_what_is_missing_is_listed() -> None:
    device = soft.SoftRealSense(more=[(640, 480, 30), (640, 480, 15)]).device
    chosen = choose_profiles(device, (640, 480), 10.0, depth=True)
    assert [str(Mode.of(p)) for c in chosen for p in c.profiles] == ["640x480@15", "640x480@15"]
    assert [c.sensor.is_depth_sensor() for c in chosen] == [False, True]
    assert len(choose_profiles(device, (640, 480), 10.0, depth=False)) == 1
    with pytest.raises(ConfigError, match="no colour mode of 960x540 at 30 Hz or more; the device offers 320x240@60, 640x480@15, 640x480@30"):
        choose_profiles(device, (960, 540), 30.0, depth=True)
    with pytest.raises(ConfigError, match="no depth mode of 848x480 at 30 Hz, the colour's rate; the device offers"):
        choose_profiles(device, (640, 480), 30.0, depth=True, depth_wh=(848, 480))


# -- presets ----------------------------------------------------------------------------------------------------------------
def test_presets_are_those_of_the_product_line() -> None:
    assert preset_value("D400", "high_accuracy") == int(rs.rs400_visual_preset.high_accuracy)
    assert preset_value("L500", "short_range") == int(rs.l500_visual_preset.short_range)
    with pytest.raises(ConfigError, match="preset 'short_range' is not one of a D400; allowed: .*'high_accuracy'"):
        preset_value("D400", "short_range")
    with pytest.raises(ConfigError, match="device of unknown product line; allowed: none"):
        preset_value("", "default")


def test_preset_and_projector_reach_the_depth_sensor_and_its_own_clock_shows() -> None:
    camera = soft.SoftRealSense()
    camera.depth_sensor.add_option(rs.option.visual_preset, rs.option_range(0, 6, 1, 0), True)
    for option in (rs.option.emitter_enabled, rs.option.global_time_enabled):
        camera.depth_sensor.add_option(option, rs.option_range(0, 1, 1, 1), True)
    prepare(camera.device, given(preset="high_density", emitter="off"), information(camera.device))
    read = camera.depth_sensor.get_option
    assert (read(rs.option.visual_preset), read(rs.option.emitter_enabled)) == (float(rs.rs400_visual_preset.high_density), 0.0)
    assert read(rs.option.global_time_enabled) == 0.0


def test_a_setting_that_the_device_does_not_have_is_refused() -> None:
    camera = soft.SoftRealSense()
    with pytest.raises(ConfigError, match="Soft D435 has no emitter_enabled"):
        prepare(camera.device, given(emitter="on"), information(camera.device))


# -- filters ----------------------------------------------------------------------------------------------------------------
def test_smoothing_happens_in_disparity_for_two_lenses_only() -> None:
    options = given(decimation=2, spatial=True, temporal=True, hole_filling=True, min_m=0.2, max_m=3.0)
    assert DepthFilters(options, stereo=True).names == (
        "decimation", "to disparity", "spatial", "temporal", "to depth", "hole filling", "range")
    assert DepthFilters(options, stereo=False).names == ("decimation", "spatial", "temporal", "hole filling", "range")
    assert DepthFilters(given(decimation=2, hole_filling=True), stereo=True).names == ("decimation", "hole filling")
    assert is_stereo(soft.SoftRealSense().device) and not is_stereo(soft.SoftRealSense(stereo=False).device)


def filtered(options: RealSenseOptions, counts: np.ndarray | None = None, sets: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Depth of the last set [counts] and colour, as they leave the filters, before alignment."""
    camera = soft.SoftRealSense()
    camera.counts = camera.counts if counts is None else counts
    filters, syncer = DepthFilters(options, stereo=True), rs.syncer()
    for sensor in camera.device.query_sensors():
        sensor.open(sensor.get_stream_profiles())
        sensor.start(syncer)
    deadline, whole = time.monotonic() + 5.0, 0
    while whole < sets:
        assert time.monotonic() < deadline, "no whole set of frames"
        camera.expose()
        got, frames = syncer.try_wait_for_frames(100)
        if got and frames.size() == 2:
            out, whole = filters.process(frames), whole + 1
    depth, colour = np.array(out.get_depth_frame().get_data()), np.array(out.get_color_frame().get_data())
    for sensor in camera.device.query_sensors():
        sensor.stop()
        sensor.close()
    return depth, colour


def test_each_filter_acts_on_depth_and_leaves_the_colour() -> None:
    plain, colour = filtered(given())
    assert plain.shape == (240, 320) and (plain == 0).any()
    halved, same = filtered(given(decimation=2))
    assert halved.shape == (120, 160) and np.array_equal(same, colour)
    assert (filtered(given(hole_filling=True))[0] == 0).sum() < (plain == 0).sum()
    near = filtered(given(max_m=0.9))[0]
    assert set(np.unique(near)) == {0, 600}


def test_spatial_smoothing_lessens_noise_and_keeps_the_level() -> None:
    noisy = (1000 + np.random.default_rng(0).integers(-8, 9, (240, 320))).astype(np.uint16)
    smooth = filtered(given(spatial=True), noisy)[0]
    assert smooth.std() < 0.7 * noisy.std() and smooth.mean() == pytest.approx(1000.0, abs=2.0)


# -- lenses -----------------------------------------------------------------------------------------------------------------
def lens(model: rs.distortion, coeffs: tuple[float, ...] = LENS) -> rs.intrinsics:
    return soft.intrinsics(640, 480, 600.0, model, coeffs)


def opencv_pixels(inner: rs.intrinsics, rays: np.ndarray) -> np.ndarray:
    ours = intrinsics_of(inner)
    points = np.column_stack([rays, np.ones(len(rays))])
    return cv2.projectPoints(points, np.zeros(3), np.zeros(3), ours.matrix, np.array(ours.distortion))[0].reshape(-1, 2)


PIXELS = [[float(u), float(v)] for u in (0, 150, 320, 500, 639) for v in (0, 100, 240, 479)]


@pytest.mark.parametrize("model", [rs.distortion.brown_conrady, rs.distortion.inverse_brown_conrady])
def test_a_ray_of_the_library_lands_where_opencv_puts_it(model: rs.distortion) -> None:
    inner = lens(model)
    rays = np.array([rs.rs2_deproject_pixel_to_point(inner, pixel, 1.0)[:2] for pixel in PIXELS])
    assert np.abs(opencv_pixels(inner, rays) - PIXELS).max() < 0.05


def test_a_projection_of_the_library_is_opencvs() -> None:
    inner = lens(rs.distortion.modified_brown_conrady)
    rays = np.array([(x, y) for x in (-0.5, -0.2, 0.0, 0.3) for y in (-0.4, 0.0, 0.35)])
    library = np.array([rs.rs2_project_point_to_pixel(inner, [x, y, 1.0]) for x, y in rays])
    assert np.abs(opencv_pixels(inner, rays) - library).max() < 0.05
    straight = (rays * 600.0) + (inner.ppx, inner.ppy)
    assert np.abs(straight - library).max() > 2.0, "the lens matters"


def test_no_distortion_is_none() -> None:
    assert distortion_of(lens(rs.distortion.brown_conrady, (0.0,) * 5)) == ()
    assert distortion_of(lens(rs.distortion.none)) == ()


def test_a_fisheye_is_refused() -> None:
    with pytest.raises(DeviceError, match="kannala_brandt4 has no equal"):
        distortion_of(lens(rs.distortion.kannala_brandt4))


def test_a_lens_that_the_coefficients_miss_is_refused() -> None:
    with pytest.raises(DeviceError, match="coefficients miss the .* lens by"):
        distortion_of(lens(rs.distortion.modified_brown_conrady, (3.0, -4.0, 0.4, 0.5, 2.0)))
