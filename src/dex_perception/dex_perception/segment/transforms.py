# SPDX-License-Identifier: Apache-2.0
"""Transforms over time: what /tf and /tf_static said, and a pose at a picture's stamp or the reason why there is none."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dex_core.clock import NS
from dex_perception.segment.codes import PictureError

KEPT_S = 10.0
"""How far back moving transforms are remembered."""
MOST_FRAMES, MOST_STAMPS, MOST_LINKS = 1024, 4096, 64
"""More than any robot has; a flood of names fills no memory."""
Pose = NDArray[np.float64]


def pose_of(translation_m: Sequence[float], quaternion_xyzw: Sequence[float]) -> Pose:
    """(4, 4) of a translation and a quaternion.

    Raises:
        PictureError: ``tf_missing``, a number is not finite or the quaternion's length is not 1.
    """
    q, t = np.asarray(quaternion_xyzw, dtype=np.float64), np.asarray(translation_m, dtype=np.float64)
    length = float(np.linalg.norm(q))
    if not np.isfinite(t).all() or not abs(length - 1.0) < 1e-3:
        raise PictureError(f"transform with translation {t.tolist()} and quaternion {q.tolist()} is no pose", code="tf_missing")
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = _matrix(q / length), t
    return pose


def _matrix(q: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z, w = q
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])


def _slerp(a: NDArray[np.float64], b: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    b = -b if a @ b < 0.0 else b
    angle = float(np.arccos(np.clip(a @ b, -1.0, 1.0)))
    mixed = (1.0 - share) * a + share * b if angle < 1e-6 else (np.sin((1.0 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)
    return mixed / np.linalg.norm(mixed)


@dataclass
class _Link:
    """How one frame stands in its parent: forever, or at stamps that only grow."""

    parent: str
    fixed: bool
    stamps_ns: list[int] = field(default_factory=list)
    places: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=list)

    def add(self, stamp_ns: int, translation: NDArray[np.float64], quaternion: NDArray[np.float64]) -> None:
        if self.fixed or (self.stamps_ns and stamp_ns < self.stamps_ns[-1] - KEPT_S * NS):  # a clock set back starts anew
            self.stamps_ns.clear()
            self.places.clear()
        at = bisect.bisect_left(self.stamps_ns, stamp_ns)
        if at < len(self.stamps_ns) and self.stamps_ns[at] == stamp_ns:
            self.places[at] = (translation, quaternion)
            return
        self.stamps_ns.insert(at, stamp_ns)
        self.places.insert(at, (translation, quaternion))
        first = bisect.bisect_left(self.stamps_ns, self.stamps_ns[-1] - round(KEPT_S * NS))
        first = max(first, len(self.stamps_ns) - MOST_STAMPS)
        del self.stamps_ns[:first], self.places[:first]

    def at(self, stamp_ns: int, ahead_ns: int, name: str) -> Pose:
        if self.fixed:
            return pose_of(*self.places[0])
        first, last = self.stamps_ns[0], self.stamps_ns[-1]
        if stamp_ns > last + ahead_ns:
            gap_ms, most_ms = 1e-6 * (stamp_ns - last), 1e-6 * ahead_ns
            text = f"transform {self.parent} -> {name} ends {gap_ms:.0f} ms before the picture; at most {most_ms:.0f} ms are bridged"
            raise PictureError(text, code="tf_future")
        if stamp_ns < first:
            raise PictureError(f"transform {self.parent} -> {name} begins {(first - stamp_ns) * 1e-6:.0f} ms after the picture", code="tf_old")
        after = bisect.bisect_left(self.stamps_ns, stamp_ns)
        if after == len(self.stamps_ns) or self.stamps_ns[after] == stamp_ns or after == 0:
            return pose_of(*self.places[min(after, len(self.places) - 1)])
        (t0, q0), (t1, q1) = self.places[after - 1 : after + 1]
        share = (stamp_ns - self.stamps_ns[after - 1]) / (self.stamps_ns[after] - self.stamps_ns[after - 1])
        return pose_of((1.0 - share) * t0 + share * t1, _slerp(q0, q1, share))


class TransformBuffer:
    """A forest of frames; any thread may write and read.

    Args:
        ahead_s: how far a picture may be newer than the newest transform of a moving frame, which is then taken as it is.
    """

    def __init__(self, ahead_s: float = 0.05) -> None:
        self._ahead_ns = round(ahead_s * NS)
        self._links: dict[str, _Link] = {}
        self._lock = threading.Lock()
        self.refused = 0

    def add(self, parent: str, child: str, translation_m: Sequence[float], quaternion_xyzw: Sequence[float], stamp_ns: int, *, fixed: bool) -> None:
        """Takes one transform: the pose of ``child`` in ``parent``; what is no pose is counted in ``refused`` and left out."""
        parent, child = parent.strip("/"), child.strip("/")
        try:
            pose_of(translation_m, quaternion_xyzw)
        except PictureError:
            self.refused += 1
            return
        with self._lock:
            if not parent or not child or parent == child or (child not in self._links and len(self._links) >= MOST_FRAMES):
                self.refused += 1
                return
            link = self._links.get(child)
            if link is None or link.parent != parent or link.fixed != fixed:
                link = self._links[child] = _Link(parent, fixed)
            q = np.asarray(quaternion_xyzw, dtype=np.float64)
            link.add(stamp_ns, np.asarray(translation_m, dtype=np.float64), q / np.linalg.norm(q))

    def pose(self, target: str, source: str, stamp_ns: int) -> Pose:
        """(4, 4) pose of ``source`` in ``target`` at a stamp.

        Raises:
            PictureError: ``tf_missing`` (no such frame, no path, or a loop), ``tf_future``, ``tf_old``.
        """
        with self._lock:
            return self._pose(target.strip("/"), source.strip("/"), stamp_ns)

    def _pose(self, target: str, source: str, stamp_ns: int) -> Pose:
        up, ups = np.eye(4), {source: np.eye(4)}
        for parent, pose in self._chain(source, stamp_ns, stop=target):
            up = pose @ up
            ups[parent] = up
        if target in ups:
            return ups[target]
        down = np.eye(4)
        for parent, pose in self._chain(target, stamp_ns, stop=""):
            down = pose @ down
            if parent in ups:
                return np.linalg.inv(down) @ ups[parent]
        raise PictureError(f"no transform leads from {source!r} to {target!r}; known are {sorted(self._names())[:20]}", code="tf_missing")

    def _names(self) -> set[str]:
        return set(self._links) | {link.parent for link in self._links.values()}

    def _chain(self, frame: str, stamp_ns: int, stop: str) -> list[tuple[str, Pose]]:
        """(parent, pose of the frame below in it) from ``frame`` upwards, as far as it goes or to ``stop``."""
        found: list[tuple[str, Pose]] = []
        while frame != stop and (link := self._links.get(frame)) is not None:
            if len(found) >= MOST_LINKS:
                raise PictureError(f"the transforms above {frame!r} form a loop", code="tf_missing")
            found.append((link.parent, link.at(stamp_ns, self._ahead_ns, frame)))
            frame = link.parent
        return found
