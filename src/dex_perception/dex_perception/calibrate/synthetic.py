# SPDX-License-Identifier: Apache-2.0
"""Pictures of a board through a given lens, exact to a hundredth of a pixel, and rigs whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.devices.camera import Intrinsics
from dex_core.types import Array
from dex_perception.calibrate.board import Board
from dex_perception.calibrate.collect import Collector
from dex_perception.calibrate.poses import inverse, pose, rotation
from dex_perception.calibrate.solve import Calibration, Setup, calibrate

PX_PER_SQUARE = 48
OVERSAMPLE = 2
PAPER, SURROUNDINGS = 235, 90
BLACK = 25
JOINTS_ALONG_ARM = (0.0, 0.0, 0.5, 0.5, 1.0, 1.0, 1.0)
"""Where the seven joints sit between base and flange."""


def draw(board: Board, intrinsics: Intrinsics, pose_board_in_camera: Array) -> NDArray[np.uint8]:
    """(H, W) uint8 picture of the board on a sheet with a margin of one square.

    Every pixel is cast backwards through lens and pose onto the board, ``OVERSAMPLE`` times each way, and averaged.
    """
    rays = _rays(intrinsics)  # (H k, W k, 2)
    turn, shift = pose_board_in_camera[:3, :3], pose_board_in_camera[:3, 3]
    # a ray (x, y, 1) s meets the plane z = 0 of the board: columns of [r1 r2 t] invert the homography
    to_board = np.linalg.inv(np.stack([turn[:, 0], turn[:, 1], shift], axis=1))
    hit = rays @ to_board[:, :2].T + to_board[:, 2]
    ahead = hit[..., 2] > 0.0
    place_m = hit[..., :2] / np.where(ahead, hit[..., 2], 1.0)[..., None]
    texture = np.full(((board.rows + 2) * PX_PER_SQUARE, (board.columns + 2) * PX_PER_SQUARE), PAPER, np.uint8)
    squares = board.bitmap(PX_PER_SQUARE)
    texture[PX_PER_SQUARE:-PX_PER_SQUARE, PX_PER_SQUARE:-PX_PER_SQUARE] = np.where(squares > 127, PAPER, BLACK)
    at = (place_m / board.square_m + 1.0) * PX_PER_SQUARE - 0.5  # pixel centres of the bitmap lie half a pixel in
    at[~ahead] = -10.0
    seen = cv2.remap(texture, at.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=SURROUNDINGS)
    return cv2.resize(seen, (intrinsics.width, intrinsics.height), interpolation=cv2.INTER_AREA)


def spoil(picture: NDArray[np.uint8], rng: np.random.Generator, blur_px: float = 0.6, noise: float = 3.0) -> NDArray[np.uint8]:
    """What a sensor makes of it: a lens's blur (sigma [px]) and noise (sigma [grey levels])."""
    soft = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), blur_px) if blur_px > 0.0 else picture.astype(np.float32)
    return np.clip(np.round(soft + rng.normal(0.0, noise, picture.shape)), 0, 255).astype(np.uint8)


@lru_cache(maxsize=2)
def _rays(intrinsics: Intrinsics) -> Array:
    """(H k, W k, 2) directions (x/z, y/z) of every sub-pixel."""
    along = [(np.arange(n * OVERSAMPLE) + 0.5) / OVERSAMPLE - 0.5 for n in (intrinsics.width, intrinsics.height)]
    grid = np.stack(np.meshgrid(*along), axis=-1).reshape(-1, 1, 2)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 40, 1e-9)
    rays = cv2.undistortPoints(grid, intrinsics.matrix, np.asarray(intrinsics.distortion or (0.0,) * 4), None, None, None, stop)
    return np.asarray(rays).reshape(intrinsics.height * OVERSAMPLE, intrinsics.width * OVERSAMPLE, 2)


@dataclass(frozen=True)
class Shot:
    """What a rig gives for one posture: the picture, and where the robot SAYS its flange is (its joints are noisy)."""

    picture: NDArray[np.uint8]
    pose_flange_in_base: Array


@dataclass(frozen=True)
class Rig:
    """A camera, a board and an arm whose true poses are known.

    Attributes:
        on_flange: the camera is on the flange and the board stands (eye in hand); else the board is on the flange.
        camera: (4, 4) truth: the camera in the flange, or in the base.
        board_pose: (4, 4) truth: the board in the base, or in the flange.
        joint_noise_rad, reach_m: every joint reads wrong by this (sigma); the flange is that far from the base.
        turn_rad: how far the postures tilt the flange.
    """

    board: Board
    intrinsics: Intrinsics
    on_flange: bool
    camera: Array
    board_pose: Array
    distance_m: float = 0.45
    turn_rad: float = 0.5
    joint_noise_rad: float = 0.0
    reach_m: float = 0.6
    blur_px: float = 0.6
    noise: float = 3.0

    def shots(self, count: int, rng: np.random.Generator) -> Iterator[Shot]:
        """Pictures from so many postures."""
        for _ in range(count):
            flange, said = self.posture(rng)
            seen = inverse(self.camera) @ (inverse(flange) if self.on_flange else flange) @ self.board_pose
            yield Shot(spoil(draw(self.board, self.intrinsics, seen), rng, self.blur_px, self.noise), said)

    def posture(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """(4, 4) flange in the base that shows the board from ``distance_m``, tilted and shifted across the picture; and as the robot says it."""
        chain = self.camera @ self._view(rng) @ inverse(self.board_pose)  # base in flange, or flange in base
        flange = inverse(chain) if self.on_flange else chain
        return flange, self._said(flange, rng)

    def _view(self, rng: np.random.Generator) -> Array:
        """A pose of the board in the camera: its middle somewhere in the picture's middle half, its face towards the camera."""
        away = self.distance_m * rng.uniform(0.8, 1.3)
        across = rng.uniform(-0.18, 0.18, 2) * np.array([self.intrinsics.width, self.intrinsics.height]) * away / self.intrinsics.fx
        turn = rotation(self.turn_rad * rng.uniform(-1.0, 1.0, 3) * (1.0, 1.0, 1.4))
        middle = np.array([*self.board.size_m, 0.0]) / 2.0
        out = np.eye(4)
        out[:3, :3], out[:3, 3] = turn, np.array([*across, away]) - turn @ middle
        return out

    def _said(self, flange: Array, rng: np.random.Generator) -> Array:
        """The flange as wrong joints report it: turned by joints at the base, half way and at the wrist."""
        said = flange
        for share in JOINTS_ALONG_ARM:
            at = flange[:3, 3] - (1.0 - share) * self.reach_m * np.array([1.0, 0.0, 0.0])
            turn = pose(rng.normal(0.0, self.joint_noise_rad) * _unit(rng), (0.0, 0.0, 0.0))
            turn[:3, 3] = at - turn[:3, :3] @ at
            said = turn @ said
        return said


def _unit(rng: np.random.Generator) -> Array:
    v = rng.normal(size=3)
    return v / np.linalg.norm(v)


def example_rig(board: Board, *, on_flange: bool, **changes: float) -> Rig:
    """A camera of 640 x 480 with a lens that bends by some pixels, 5 cm beside the flange or 1.3 m from the base."""
    lens = Intrinsics(640, 480, 610.0, 608.0, 322.3, 238.9, (0.08, -0.18, 0.0007, -0.0004, 0.05))
    if on_flange:
        return Rig(board, lens, True, pose((0.1, 0.2, -1.5), (0.03, -0.06, 0.05)), pose((0.1, 3.1, 0.05), (0.5, 0.1, 0.01)), **changes)
    return Rig(board, lens, False, pose((-2.1, 0.3, 0.2), (1.1, 0.1, 0.6)), pose((0.2, 0.1, 1.0), (0.02, 0.03, 0.08)), **changes)


def prove(rig: Rig, views: int, rng: np.random.Generator) -> Calibration:
    """Draws a rig's pictures, collects and calibrates from them as from a real one's. Raises DexError as ``calibrate`` does."""
    collector = Collector(rig.board, rig.intrinsics)
    for number, shot in enumerate(rig.shots(views, rng), 1):
        collector.offer(f"{number:04d}", shot.picture, shot.pose_flange_in_base)
    return calibrate(collector.views, rig.board, rig.intrinsics, Setup.IN_HAND if rig.on_flange else Setup.TO_HAND)
