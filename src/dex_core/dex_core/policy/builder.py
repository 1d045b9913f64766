# SPDX-License-Identifier: Apache-2.0
"""From streams to one observation: of every camera and interface the sample nearest in time; live and replay share it."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from dex_core.clock import NS
from dex_core.config import CellConfig
from dex_core.config.camera import EXTERNAL, CameraConfig
from dex_core.decode.mounted import MountedHand
from dex_core.errors import DexError
from dex_core.images import crop_and_resize
from dex_core.policy.base import Observation, PolicySpec
from dex_core.policy.measured import MeasuredPoses
from dex_core.policy.observation import ObservationRefused
from dex_core.types import JointState

T = TypeVar("T")
KEEP_S = 0.7
"""Samples are kept for so long beside the policy's history: pictures come late, joint states around them came before."""
NEVER_NS = 1 << 62


class Sample(NamedTuple, Generic[T]):
    """One message: when it was measured and received [ns], and how to read it."""

    stamp_ns: int
    received_ns: int
    read: Callable[[], T]


class Stream(Generic[T]):
    """What one sensor sent of late, in order of its stamps.

    Args:
        keep_s: samples so much older than the newest are dropped [s].
    """

    def __init__(self, keep_s: float) -> None:
        self._keep_ns = round(min(keep_s, 1e6) * NS)
        self._samples: list[Sample[T]] = []

    def add(self, sample: Sample[T]) -> None:
        """Keeps a sample; stamps may come out of order."""
        insort(self._samples, sample, key=_stamp)
        old = bisect_left(self._samples, self._samples[-1].stamp_ns - self._keep_ns, key=_stamp)
        del self._samples[:old]

    def nearest(self, stamp_ns: int, known_ns: int = NEVER_NS) -> Sample[T] | None:
        """The sample measured nearest to a stamp of those received by ``known_ns``, the earlier of two; None when there is none."""
        after = bisect_left(self._samples, stamp_ns, key=_stamp)
        before = next((s for s in reversed(self._samples[:after]) if s.received_ns <= known_ns), None)
        behind = next((s for s in self._samples[after:] if s.received_ns <= known_ns), None)
        if before is None or behind is None:
            return behind if before is None else before
        return before if stamp_ns - before.stamp_ns <= behind.stamp_ns - stamp_ns else behind

    def __len__(self) -> int:
        return len(self._samples)


class ObservationBuilder:
    """Collects what a policy needs and puts observations together. Nothing is made up: what is missing is missing in the observation too, and
    ``check_observation`` names it. One thread.

    Args:
        cell: its cameras and arms.
        spec: of the policy.
        keep_s: how long samples are kept [s]; infinite where a recording is read at leisure.

    Attributes:
        mounted: side -> the hand it carries, as last told.

    Raises:
        ConfigError: the policy wants a camera or an interface that the cell does not have.
    """

    def __init__(self, cell: CellConfig, spec: PolicySpec, keep_s: float = KEEP_S) -> None:
        self._cameras = {camera: cell.cameras[cell.camera(camera)] for camera in spec.cameras}
        self._first = next(iter(spec.cameras), "")
        self._history_ns = tuple(round(k * spec.history_dt_s * NS) for k in range(spec.history - 1, 0, -1))
        keep = keep_s + max(self._history_ns, default=0) / NS
        self._pictures: dict[str, Stream[NDArray[np.uint8]]] = {camera: Stream(keep) for camera in spec.cameras}
        self._states: dict[str, Stream[JointState]] = {cell.interface(name).name: Stream(keep) for name in spec.joint_interfaces}
        self._measured = MeasuredPoses(cell, spec.pose_interfaces)
        self.mounted: Mapping[str, MountedHand] = {}

    def add_picture(self, camera: str, stamp_ns: int, read: Callable[[], NDArray[np.uint8]], received_ns: int = 0) -> None:
        """Takes a picture.

        Args:
            camera: of the cell.
            stamp_ns: exposure, wall clock [ns].
            read: gives the (H, W, 3) uint8 RGB; called when the picture is used, as decoding one costs milliseconds.
            received_ns: when it came, for replay [ns].
        """
        self._pictures[camera].add(Sample(stamp_ns, received_ns, read))

    def add_state(self, interface: str, stamp_ns: int, read: Callable[[], JointState], received_ns: int = 0) -> None:
        """Takes a joint state; as ``add_picture``."""
        self._states[interface].add(Sample(stamp_ns, received_ns, read))

    def build(self, stamp_ns: int, instruction: str = "", known_ns: int = NEVER_NS) -> Observation:
        """The observation around the first camera's picture nearest to ``stamp_ns``, with those before it that the policy's history asks for.

        Args:
            stamp_ns: wall clock [ns].
            instruction: what the user asked for.
            known_ns: of all but the first camera's pictures, what was received later than this is not looked at.

        Raises:
            ObservationRefused: ``camera_lost``, the first camera has sent nothing; ``image_shape``, a picture cannot be read;
                ``non_finite`` and other codes of a joint state that cannot be; ``joint_names``, ``joint_limits``, ``hand_unknown`` of the arms
                whose poses are wanted.
        """
        past = tuple(self._around(stamp_ns - back_ns, instruction, known_ns) for back_ns in self._history_ns)
        newest = self._around(stamp_ns, instruction, known_ns)
        return newest if not past else Observation(**{**vars(newest), "past": past})

    def _around(self, wanted_ns: int, instruction: str, known_ns: int) -> Observation:
        first = self._pictures[self._first].nearest(wanted_ns) if self._first else None
        if self._first and first is None:
            raise ObservationRefused(f"no picture of camera {self._first!r} yet", code="camera_lost")
        stamp_ns = first.stamp_ns if first else wanted_ns
        pictures = {self._first: first} if first else {}
        for camera, stream in self._pictures.items():
            if camera != self._first and (found := stream.nearest(stamp_ns, known_ns)) is not None:
                pictures[camera] = found
        images = {camera: self._read(camera, sample) for camera, sample in pictures.items()}
        found = {name: stream.nearest(stamp_ns, known_ns) for name, stream in self._states.items()}
        joints = {name: _joints(name, sample) for name, sample in found.items() if sample is not None}
        stamps = {camera: sample.stamp_ns for camera, sample in pictures.items()}
        return self._measured.complete(Observation(stamp_ns, images, joints, instruction, image_stamps_ns=stamps), self.mounted)

    def _read(self, camera: str, sample: Sample[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        try:
            return fitted(sample.read(), self._cameras[camera])
        except DexError as error:
            raise ObservationRefused(f"picture of {camera}: {error}", code="image_shape") from error


def _joints(interface: str, sample: Sample[JointState]) -> JointState:
    try:
        return sample.read()
    except DexError as error:
        raise ObservationRefused(f"joint state of {interface}: {error}", code=error.code) from error


def fitted(image: NDArray[np.uint8], camera: CameraConfig) -> NDArray[np.uint8]:
    """The picture as the cell says that its camera gives it: one of an external driver, which knows no crop, is cropped and resized here.

    Args:
        image: (H, W, 3) uint8 RGB as it was published.
        camera: its description; the drivers of this stack publish what it says already.
    """
    if camera.driver != EXTERNAL or (image.shape[1], image.shape[0]) != tuple(camera.native_wh):
        return image
    return crop_and_resize(image, camera.crop_xywh, camera.output_wh)


def _stamp(sample: Sample) -> int:
    return sample.stamp_ns
