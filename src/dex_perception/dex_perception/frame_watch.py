# SPDX-License-Identifier: Apache-2.0
"""Tells a live picture from a black, frozen, repeated, misshapen or wrongly stamped one, before anybody infers from it."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from dex_core.clock import NS
from dex_core.devices.camera import Frame
from dex_core.images import is_blank

CLOCK_STEP_NS = NS
REASONS = ("malformed", "blank", "repeated", "frozen", "late", "future")


class FrameWatch:
    """Judges exposures in the order they come.

    Args:
        max_age_s: an exposure older than this on arrival is late.
        max_future_s: how far its stamp may lie ahead of the host's clock.
        frozen_after: so many pictures in a row with the same pixels are a frozen sensor: real sensors have noise.
            0 switches that check off, for a rendered scene where nothing moves; stamps and sequence are still checked.

    Attributes:
        passed: exposures found good.
        refused: reason -> exposures refused for it.
        newest: verdict on the newest exposure.
    """

    def __init__(self, *, max_age_s: float = 1.0, max_future_s: float = 0.1, frozen_after: int = 3) -> None:
        self._max_age_ns, self._max_future_ns = round(max_age_s * NS), round(max_future_s * NS)
        self._frozen_after = frozen_after
        self.passed = 0
        self.newest = ""
        self.refused: Counter[str] = Counter({reason: 0 for reason in REASONS})
        self.restart()

    def restart(self, size_wh: tuple[int, int] | None = None) -> None:
        """Forgets the last exposure: after a reconnect sequence and stamps may start anew.

        Args:
            size_wh: what the camera's intrinsics are for [px]; exposures of another size are malformed. None: any size.
        """
        self._size_wh = size_wh
        self._stamp_ns: int | None = None
        self._sequence = -1
        self._picture: NDArray[np.uint8] | None = None
        self._same = 0

    def fits(self, frame: Frame) -> bool:
        """Whether an exposure can be cut and measured at all: RGB bytes, depth beside it, of the size that the intrinsics are for.

        What does not is refused as malformed.
        """
        rgb, depth = frame.rgb, frame.depth_m
        good = rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3
        good = good and (self._size_wh is None or rgb.shape[1::-1] == self._size_wh)
        good = good and (depth is None or (depth.dtype == np.float32 and depth.shape == rgb.shape[:2]))
        if not good:
            self.newest = "malformed"
            self.refused["malformed"] += 1
        return good

    def judge(self, frame: Frame, picture: NDArray[np.uint8], now_ns: int) -> str:
        """Empty for a good exposure, else one of ``REASONS``.

        Args:
            frame: the exposure, for stamp and sequence.
            picture: (H, W, 3) uint8, what would be published of it.
            now_ns: wall-clock time [ns].
        """
        reason = self.newest = self._reason(frame, picture, now_ns)
        if reason:
            self.refused[reason] += 1
        else:
            self.passed += 1
        return reason

    def _reason(self, frame: Frame, picture: NDArray[np.uint8], now_ns: int) -> str:
        if self._came_before(frame):
            return "repeated"
        if frame.stamp_ns > now_ns + self._max_future_ns:
            return "future"
        if frame.stamp_ns < now_ns - self._max_age_ns:
            return "late"
        self._stamp_ns, self._sequence = frame.stamp_ns, frame.sequence
        if is_blank(picture):
            return "blank"
        if not self._frozen_after:
            return ""
        same = self._picture is not None and self._picture.shape == picture.shape and bool(np.array_equal(self._picture, picture))
        self._same = self._same + 1 if same else 0
        self._picture = picture
        return "frozen" if self._same >= self._frozen_after else ""

    def _came_before(self, frame: Frame) -> bool:
        """The last exposure again, or one from before it; further back than CLOCK_STEP_NS it is the clock that was set back."""
        if self._stamp_ns is None:
            return False
        back_ns = self._stamp_ns - frame.stamp_ns
        return frame.sequence == self._sequence or 0 <= back_ns < CLOCK_STEP_NS
