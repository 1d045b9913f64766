# SPDX-License-Identifier: Apache-2.0
"""Scenes without a renderer: boxes and balls on a table, seen by a pinhole camera, with the truth of every pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from dex_core.clock import NS
from dex_core.devices.camera import Intrinsics
from dex_perception.segment.view import Picture, View, Workspace, see

INTRINSICS = Intrinsics(160, 120, 150.0, 150.0, 79.5, 59.5)
WORKSPACE = Workspace((-0.6, -0.6, -0.05), (0.6, 0.6, 0.5), 3.0)


@dataclass(frozen=True)
class Ball:
    centre_m: tuple[float, float, float]
    radius_m: float
    rgb: tuple[int, int, int]


@dataclass(frozen=True)
class Box:
    low_m: tuple[float, float, float]
    high_m: tuple[float, float, float]
    rgb: tuple[int, int, int]


@dataclass(frozen=True)
class Scene:
    """Rays against things; the table is the plane z = 0."""

    things: tuple[Ball | Box, ...]
    eye_m: tuple[float, float, float] = (0.0, -0.75, 0.65)
    table: bool = True
    noise_m: float = 0.0
    seed: int = 0
    looks_at_m: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0))

    def pose(self) -> NDArray[np.float64]:
        """(4, 4) of the optical frame in the world."""
        ahead = np.subtract(self.looks_at_m, self.eye_m)
        ahead = ahead / np.linalg.norm(ahead)
        right = np.cross(ahead, (0.0, 0.0, 1.0))
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, np.cross(ahead, right), ahead], axis=1)
        pose[:3, 3] = self.eye_m
        return pose

    def render(self, stamp_ns: int = NS) -> tuple[Picture, NDArray[np.int32]]:
        """The picture, and (H, W) which thing each pixel shows: 0 table or nothing, 1.. the things."""
        i, pose = INTRINSICS, self.pose()
        u, v = np.meshgrid(np.arange(i.width), np.arange(i.height))
        rays = np.stack([(u - i.cx) / i.fx, (v - i.cy) / i.fy, np.ones(u.shape)], axis=-1) @ pose[:3, :3].T
        eye = pose[:3, 3]
        depth = np.full(u.shape, np.inf)
        labels = np.zeros(u.shape, dtype=np.int32)
        rng = np.random.default_rng(self.seed)
        rgb = rng.integers(0, 12, (*u.shape, 3)).astype(np.uint8)
        if self.table:
            with np.errstate(divide="ignore"):
                t = np.where(rays[..., 2] < 0, -eye[2] / rays[..., 2], np.inf)
            depth, rgb = np.where(t > 0, t, np.inf), rgb + np.array([120, 110, 100], dtype=np.uint8)
        for number, thing in enumerate(self.things, 1):
            t = _hits(thing, eye, rays)
            here = t < depth
            depth[here], labels[here] = t[here], number
            rgb[here] = np.array(thing.rgb, dtype=np.uint8) + rng.integers(0, 8, (int(here.sum()), 3)).astype(np.uint8)
        depth = depth + rng.normal(0.0, 1.0, depth.shape) * self.noise_m
        depth_m = np.where(np.isfinite(depth), depth, np.nan).astype(np.float32)
        return Picture(rgb, depth_m, INTRINSICS, stamp_ns, "camera_color_optical_frame"), labels

    def view(self, stamp_ns: int = NS) -> tuple[View, NDArray[np.int32]]:
        """The checked view, and the truth."""
        picture, labels = self.render(stamp_ns)
        return see(picture, self.pose(), WORKSPACE), labels


def _hits(thing: Ball | Box, eye: NDArray, rays: NDArray) -> NDArray:
    """(H, W) ray lengths in units of the optical axis; infinity: missed."""
    if isinstance(thing, Ball):
        away = eye - np.array(thing.centre_m)
        a, b, c = (rays * rays).sum(-1), 2.0 * rays @ away, away @ away - thing.radius_m**2
        inner = b * b - 4.0 * a * c
        return np.where(inner > 0.0, (-b - np.sqrt(np.maximum(inner, 0.0))) / (2.0 * a), np.inf)
    with np.errstate(divide="ignore"):
        near, far = np.sort(np.stack([(np.array(corner) - eye) / rays for corner in (thing.low_m, thing.high_m)]), axis=0)
    enter, leave = near.max(-1), far.min(-1)
    return np.where((enter < leave) & (enter > 0.0), enter, np.inf)


RED, GREEN, BLUE, YELLOW = (200, 30, 30), (30, 160, 40), (30, 60, 190), (220, 200, 40)


@pytest.fixture
def scene() -> Callable[..., Scene]:
    """Makes a scene; without things a red box, a green ball and a blue box."""

    def make(*things: Ball | Box, **settings: object) -> Scene:
        usual = (
            Box((-0.20, -0.05, 0.0), (-0.12, 0.03, 0.08), RED), Ball((0.02, 0.0, 0.035), 0.035, GREEN),
            Box((0.14, -0.02, 0.0), (0.22, 0.04, 0.05), BLUE),
        )
        return Scene(things or usual, **settings)  # type: ignore[arg-type]

    return make


@pytest.fixture
def ball() -> type[Ball]:
    return Ball


@pytest.fixture
def box() -> type[Box]:
    return Box


def centre_of(labels: NDArray[np.int32], number: int) -> tuple[float, float]:
    """Column and row of the pixel of a thing that lies nearest to its middle."""
    rows, columns = np.nonzero(labels == number)
    best = ((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin()
    return float(columns[best]), float(rows[best])


@pytest.fixture
def middle() -> Callable[[NDArray[np.int32], int], tuple[float, float]]:
    return centre_of


@pytest.fixture
def iou() -> Callable[[NDArray, NDArray], float]:
    """Of two boolean pictures."""
    return lambda a, b: float((a & b).sum() / max(1, (a | b).sum()))


@pytest.fixture(scope="module")
def shared_view() -> View:
    """One view for many examples; nothing changes it."""
    return Scene((Ball((0.02, 0.0, 0.1), 0.1, GREEN),), table=False).view()[0]
