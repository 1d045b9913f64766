# SPDX-License-Identifier: Apache-2.0
"""A folder of pictures and robot poses: what collecting writes, and what calibration can be run on again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from dex_core.config.robot import Pose
from dex_core.config.strict import build, read_yaml, to_plain
from dex_core.devices.camera import Intrinsics
from dex_core.errors import ConfigError
from dex_core.types import Array
from dex_perception.calibrate.board import Board
from dex_perception.calibrate.poses import from_xyz_rpy, to_rpy

FILE = "session.yaml"
FORMAT = """{folder}/session.yaml:
  board: 7x5,30mm,22mm,5X5_100
  intrinsics: {width: 640, height: 480, fx: 610.0, fy: 610.0, cx: 319.5, cy: 239.5, distortion: [0.1, -0.2, 0.0, 0.0, 0.0]}
  pairs:
  - {picture: 0001.png, flange: {xyz_m: [0.4, 0.0, 0.3], rpy_rad: [3.14, 0.0, 0.0]}}    flange: in the world; or instead of it
  - {picture: 0002.png, joints_rad: {left_joint1: 0.5, ...}}                            the arm's joints, with the side's prefix"""


@dataclass(frozen=True)
class Pair:
    """One picture, and where the robot was: the flange's pose in the world, or the joints it follows from."""

    picture: str
    flange: Pose | None = None
    joints_rad: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.flange is None) == (not self.joints_rad):
            raise ConfigError(f"picture {self.picture!r}: give flange or joints_rad, one of them")
        if Path(self.picture).name != self.picture:
            raise ConfigError(f"picture {self.picture!r}: a file name in the folder itself, without a path")


@dataclass(frozen=True)
class Session:
    """``session.yaml`` of a folder; see ``FORMAT``."""

    board: str
    intrinsics: Intrinsics
    pairs: tuple[Pair, ...]

    @staticmethod
    def read(folder: Path) -> Session:
        """Raises ConfigError naming the file, the key and what is allowed, or the picture that is missing."""
        path = folder / FILE
        session = build(Session, read_yaml(path), str(path))
        missing = [p.picture for p in session.pairs if not (folder / p.picture).is_file()]
        if missing or not session.pairs:
            raise ConfigError(f"{path}: " + (f"picture {missing[0]!r} is not in the folder" if missing else "pairs is empty"))
        Board.parse(session.board)
        return session


def read_gray(path: Path) -> NDArray[np.uint8]:
    """(H, W) uint8 of a picture file. Raises ConfigError."""
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise ConfigError(f"{path}: no picture that can be read")
    return np.asarray(picture, np.uint8)


class SessionWriter:
    """Writes a session as it is collected: after every pair the folder is whole.

    Args:
        folder: made when missing. Raises ConfigError when a session is in it already: none is overwritten.
    """

    def __init__(self, folder: Path, board: Board, intrinsics: Intrinsics) -> None:
        if (folder / FILE).exists():
            raise ConfigError(f"{folder / FILE} exists; name another folder, or use it with --from {folder}")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._board, self._intrinsics = folder, str(board), intrinsics
        self._pairs: list[Pair] = []

    def add(self, name: str, gray: NDArray[np.uint8], pose_flange_in_world: Array) -> None:
        """Adds one pair; ``name`` becomes the picture's, with .png."""
        cv2.imwrite(str(self.folder / f"{name}.png"), gray)
        self._pairs.append(Pair(f"{name}.png", as_pose(pose_flange_in_world)))
        self._write(self._pairs)

    def _write(self, pairs: Sequence[Pair]) -> None:
        plain = to_plain(Session(self._board, self._intrinsics, tuple(pairs)))
        for pair in plain["pairs"]:
            del pair["joints_rad"]
        fresh = self.folder / f".{FILE}"
        fresh.write_text(yaml.safe_dump(plain, sort_keys=False, width=160), encoding="utf-8")
        fresh.replace(self.folder / FILE)


def as_pose(matrix: Array) -> Pose:
    """A (4, 4) as a cell writes it, to a micrometre and a microradian."""
    x, y, z = (round(float(v), 6) for v in matrix[:3, 3])
    roll, pitch, yaw = (round(v, 6) for v in to_rpy(matrix))
    return Pose((x, y, z), (roll, pitch, yaw))


def as_matrix(pose: Pose) -> Array:
    """The reverse of ``as_pose``."""
    return from_xyz_rpy(pose.xyz_m, pose.rpy_rad)
