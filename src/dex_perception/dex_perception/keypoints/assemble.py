# SPDX-License-Identifier: Apache-2.0
"""Puts together what belongs to one picture: joints and camera pose at its stamp, its depth, its mask. What is not complete in time is counted."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.clock import NS
from dex_core.config import CellConfig
from dex_core.config.camera import WORLD
from dex_core.devices.camera import Intrinsics
from dex_core.errors import DexError
from dex_perception.keypoints.sample import Sample
from dex_perception.keypoints.tracks import JointTracks, NoPosture
from dex_perception.segment.codes import PictureError
from dex_perception.segment.transforms import TransformBuffer

MOST_WAITING = 64
"""Pictures that wait for their company; the oldest goes when one more comes."""


@dataclass(frozen=True)
class Limits:
    """How old what may be [s].

    Attributes:
        max_gap_s: longest time between two measurements of a robot's joints that is bridged.
        max_depth_apart_s: between the stamps of a picture and of the depth or mask that counts as its own.
        patience_s: how long a picture waits for what belongs to it, by the time at which things arrive.
    """

    max_gap_s: float = 0.1
    max_depth_apart_s: float = 0.005
    patience_s: float = 0.5


USUAL = Limits()


@dataclass(frozen=True)
class _Waiting:
    """A picture; ``rgb`` decodes it when it is its turn."""

    stamp_ns: int
    frame_id: str
    arrived_ns: int
    rgb: Callable[[], NDArray[np.uint8]]


class _Shelf:
    """The newest pictures of one kind by stamp, decoded when they are asked for."""

    def __init__(self) -> None:
        self._kept: deque[tuple[int, Callable[[], NDArray]]] = deque(maxlen=MOST_WAITING)

    def put(self, stamp_ns: int, decode: Callable[[], NDArray]) -> None:
        self._kept.append((stamp_ns, decode))

    @property
    def used(self) -> bool:
        return bool(self._kept)

    def find(self, stamp_ns: int, apart_ns: int) -> NDArray | None:
        nearest = min(self._kept, key=lambda kept: abs(kept[0] - stamp_ns), default=None)
        return None if nearest is None or abs(nearest[0] - stamp_ns) > apart_ns else nearest[1]()


class Assembler:
    """Takes everything as it arrives and gives out complete samples in the order of the pictures. One thread.

    A picture waits until every robot was measured after it (nothing is extrapolated) and, where depth or masks come at all, until its own did.
    When its patience is over it goes without depth or mask, but never without joints or camera pose.

    Args:
        cell: its robots.
        limits: see Limits.
        mounted_on: link of the cell that carries the camera; the transforms need to say how the camera stands in it, and where it is itself
            forward kinematics finds.

    Attributes:
        transforms: where frames are; feed it with /tf and /tf_static.
        skipped: code -> pictures that were left out. given: samples given out.
        newest_problem: why the newest picture was left out, in words; empty when it was not.
    """

    def __init__(self, cell: CellConfig, limits: Limits = USUAL, mounted_on: str = WORLD) -> None:
        self._limits, self._mounted_on = limits, mounted_on
        self._tracks = JointTracks(cell, limits.max_gap_s)
        self.transforms = TransformBuffer(ahead_s=0.0)
        self._waiting: deque[_Waiting] = deque()
        self._intrinsics: dict[str, Intrinsics] = {}
        self._depth, self._masks = _Shelf(), _Shelf()
        self._newest_ns = 0
        self.skipped: Counter[str] = Counter()
        self.given = 0
        self.newest_problem = ""

    def put_joints(self, interface: str, stamp_ns: int, names: tuple[str, ...], position_rad: NDArray[np.float64]) -> None:
        """Raises JointNameError when the joints are another robot's."""
        self._tracks.put(interface, stamp_ns, names, position_rad)

    def put_intrinsics(self, frame_id: str, intrinsics: Intrinsics) -> None:
        """Of the pictures in this optical frame."""
        self._intrinsics[frame_id] = intrinsics

    def put_picture(self, stamp_ns: int, frame_id: str, rgb: Callable[[], NDArray[np.uint8]], now_ns: int) -> None:
        """A colour picture; one that is not newer than the last is a repeated one and left out."""
        if 0 < self._newest_ns - stamp_ns + 1 <= NS:
            self._skip("picture_repeated", f"a picture's stamp lies {(self._newest_ns - stamp_ns) * 1e-6:.1f} ms before the last one's")
            return
        self._newest_ns = stamp_ns
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self._skip("overrun", f"more than {MOST_WAITING} pictures wait")
        self._waiting.append(_Waiting(stamp_ns, frame_id, now_ns, rgb))

    def put_depth(self, stamp_ns: int, depth_m: Callable[[], NDArray[np.float32]]) -> None:
        """A depth picture aligned to the colour."""
        self._depth.put(stamp_ns, depth_m)

    def put_mask(self, stamp_ns: int, mask: Callable[[], NDArray[np.bool_]]) -> None:
        """Where an object is seen in the picture of this stamp."""
        self._masks.put(stamp_ns, mask)

    def ready(self, now_ns: int) -> Iterator[Sample]:
        """Samples that are complete, or as complete as they will be, in order.

        Args:
            now_ns: on the clock that ``put_picture`` was told.
        """
        while self._waiting:
            first = self._waiting[0]
            patient = now_ns - first.arrived_ns < self._limits.patience_s * NS
            try:
                sample = self._sample(first, patient)
            except DexError as error:
                sample = None
                self._skip(error.code, str(error))
            else:
                if sample is None:
                    return
            self._waiting.popleft()
            if sample is not None:
                self.given += 1
                self.newest_problem = ""
                yield sample

    def _sample(self, picture: _Waiting, patient: bool) -> Sample | None:
        """None: not yet."""
        try:
            joints = self._tracks.at(picture.stamp_ns)
        except NoPosture as error:
            if patient and error.code in ("joints_late", "joints_missing"):
                return None
            raise
        apart_ns = round(self._limits.max_depth_apart_s * NS)
        depth, mask = (shelf.find(picture.stamp_ns, apart_ns) for shelf in (self._depth, self._masks))
        if patient and (depth is None and self._depth.used or mask is None and self._masks.used):
            return None
        intrinsics = self._intrinsics.get(picture.frame_id)
        if intrinsics is None:
            if patient:
                return None
            raise DexError(f"no camera_info says how the camera of {picture.frame_id!r} is made", code="camera_info_missing")
        try:
            pose = self.transforms.pose(self._mounted_on, picture.frame_id, picture.stamp_ns)
        except PictureError:
            if patient:
                return None
            raise
        return Sample(picture.rgb(), intrinsics, picture.frame_id, picture.stamp_ns, joints, pose, self._mounted_on, depth, mask)

    def _skip(self, code: str, why: str) -> None:
        self.skipped[code] += 1
        self.newest_problem = why
