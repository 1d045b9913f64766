# SPDX-License-Identifier: Apache-2.0
"""A stereo pair of a known scene, seen through known lenses: what depth from stereo is measured against.

Every raw pixel is traced through its lens to the surface it sees, so that distortion, toe-in and baseline are exact and nothing is warped twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.devices.camera import Intrinsics
from dex_perception.cameras.stereo_calibration import SIZES, StereoCalibration
from dex_perception.cameras.stereo_rectify import Rectifier

Array = NDArray[np.float64]
TEXEL_M = 0.004
TEXTURE_PX = 1024
NOISE_LEVELS = 2.0
"""Standard deviation of the sensor's noise, of 255 levels."""


@dataclass(frozen=True)
class Patch:
    """A textured rectangle in the left camera's optical frame: ``centre_m`` +- ``half_m`` along the unit axes ``across`` and ``down``."""

    centre_m: tuple[float, float, float]
    across: tuple[float, float, float]
    down: tuple[float, float, float]
    half_m: tuple[float, float]


@dataclass(frozen=True)
class StereoPair:
    """Raw pictures (H, W, 3) uint8 of the two eyes, and depth (H, W) float32 [m] of the rectified left one, NaN where nothing is seen."""

    left: NDArray[np.uint8]
    right: NDArray[np.uint8]
    depth_m: NDArray[np.float32]


def zed_like(resolution: str = "VGA") -> StereoCalibration:
    """A made-up camera with the size, the wide lens, the 120 mm baseline and the small misalignments of a ZED."""
    width, height = SIZES[resolution]
    f = 0.547 * width
    left = Intrinsics(width, height, f, 0.9996 * f, 0.503 * width, 0.487 * height, (-0.171, 0.0262, 3.0e-4, -2.0e-4, 1.1e-4))
    right = Intrinsics(width, height, 0.9989 * f, 0.9987 * f, 0.496 * width, 0.506 * height, (-0.174, 0.0271, -2.0e-4, 4.0e-4, -1.3e-4))
    rotation = cv2.Rodrigues(np.array([-2.1e-3, 7.3e-3, 1.4e-3]))[0]
    return StereoCalibration(left, right, rotation, np.array([-0.1201, 3.1e-4, -2.4e-4]))


def tabletop() -> list[Patch]:
    """A table seen at a slant, a wall behind it, two boxes' fronts and a slanted board: 0.5 to 1.8 m."""
    slant = np.deg2rad(55.0)
    turn = np.deg2rad(35.0)
    return [
        Patch((0.0, 0.1, 1.8), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (4.0, 3.0)),
        Patch((0.0, 0.35, 1.0), (1.0, 0.0, 0.0), (0.0, float(np.cos(slant)), float(-np.sin(slant))), (0.9, 0.5)),
        Patch((-0.22, 0.12, 0.75), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.08, 0.12)),
        Patch((0.16, 0.08, 0.6), (float(np.cos(turn)), 0.0, float(np.sin(turn))), (0.0, 1.0, 0.0), (0.09, 0.1)),
        Patch((0.35, -0.2, 1.1), (float(np.cos(turn)), 0.0, float(-np.sin(turn))), (0.0, 1.0, 0.0), (0.18, 0.15)),
    ]


def render(calibration: StereoCalibration, patches: list[Patch], seed: int = 0) -> StereoPair:
    """Both raw pictures of the scene with sensor noise, and its true depth."""
    rng = np.random.default_rng(seed)
    textures = [_texture(rng) for _ in patches]
    to_right, origin_m = calibration.rotation, -calibration.rotation.T @ calibration.translation_m
    views = ((calibration.left, np.eye(3), np.zeros(3)), (calibration.right, to_right, origin_m))
    eyes = [_picture(_rays(camera) @ turn, origin, patches, textures, rng) for camera, turn, origin in views]
    rectifier = Rectifier(calibration)
    rays = _rays(rectifier.intrinsics) @ rectifier.rotation  # z of the rectified frame is 1 along each
    depth, _ = _nearest(rays, np.zeros(3), patches)
    return StereoPair(eyes[0], eyes[1], np.where(np.isfinite(depth), depth, np.nan).astype(np.float32))


def _rays(camera: Intrinsics) -> Array:
    """(H, W, 3) directions with z = 1 in the camera's own frame."""
    columns, rows = np.meshgrid(np.arange(camera.width, dtype=float), np.arange(camera.height, dtype=float))
    flat = np.column_stack(((columns.ravel() - camera.cx) / camera.fx, (rows.ravel() - camera.cy) / camera.fy))  # where distortion left them
    if camera.distorted:
        flat = _undistorted(flat, camera.distortion)
    return np.dstack((flat.reshape(*columns.shape, 2), np.ones(columns.shape)))


def _undistorted(distorted: Array, coefficients: tuple[float, ...]) -> Array:
    """(N, 2) ideal points of distorted ones: fixed-point iteration of the lens model until it stands still (1e-9)."""
    k1, k2, p1, p2, k3 = coefficients
    points = distorted.copy()
    for _ in range(50):
        x, y = points.T
        r2 = x * x + y * y
        radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
        ahead = np.column_stack((x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x), y * radial + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y))
        step = distorted - ahead
        points += step
        if np.abs(step).max() < 1e-9:
            break
    return points


def _nearest(rays: Array, origin: Array, patches: list[Patch]) -> tuple[Array, list[tuple[NDArray[np.bool_], Array, Array]]]:
    """(H, W) distance along each ray (inf: nothing), and for every patch where it is the nearest and where in it (across, down) [m]."""
    nearest, hits = np.full(rays.shape[:2], np.inf), []
    for patch in patches:
        across, down, centre = np.array(patch.across), np.array(patch.down), np.array(patch.centre_m)
        normal = np.cross(across, down)
        with np.errstate(divide="ignore"):
            along = ((centre - origin) @ normal) / (rays @ normal)  # (H, W)
        offset = origin + along[..., None] * rays - centre
        u, v = offset @ across, offset @ down
        hit = (along > 0.0) & (np.abs(u) <= patch.half_m[0]) & (np.abs(v) <= patch.half_m[1]) & (along < nearest)
        nearest = np.where(hit, along, nearest)
        hits = [(earlier & ~hit, a, b) for earlier, a, b in hits] + [(hit, u, v)]
    return nearest, hits


def _picture(rays: Array, origin: Array, patches: list[Patch], textures: list[NDArray[np.float32]], rng: np.random.Generator) -> NDArray[np.uint8]:
    picture = np.zeros((*rays.shape[:2], 3), dtype=np.float32)
    for (hit, u, v), texture in zip(_nearest(rays, origin, patches)[1], textures, strict=True):
        where = [(np.mod(values / TEXEL_M + TEXTURE_PX / 2, TEXTURE_PX)).astype(np.float32) for values in (u, v)]
        picture[hit] = cv2.remap(texture, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)[hit]
    picture += rng.normal(0.0, NOISE_LEVELS, picture.shape).astype(np.float32)
    return np.clip(np.rint(picture), 0.0, 255.0).astype(np.uint8)


def _texture(rng: np.random.Generator) -> NDArray[np.float32]:
    """(TEXTURE_PX, TEXTURE_PX, 3) of grain from one to sixteen texels, round a colour of its own."""
    colour = rng.uniform(90.0, 165.0, 3)
    grain = np.zeros((TEXTURE_PX, TEXTURE_PX), dtype=np.float32)
    for size, strength in ((1, 14.0), (4, 22.0), (16, 22.0)):
        noise = rng.normal(0.0, strength, (TEXTURE_PX // size,) * 2).astype(np.float32)
        grain += cv2.resize(noise, (TEXTURE_PX, TEXTURE_PX), interpolation=cv2.INTER_LINEAR)
    return (grain[..., None] + colour).astype(np.float32)
