# SPDX-License-Identifier: Apache-2.0
"""From the streams of a camera to one picture that may be used, or the word for what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dex_core.clock import NS
from dex_core.devices.camera import DISTORTION_SIZES, Frame, Intrinsics
from dex_perception.frame_watch import FrameWatch
from dex_perception.segment.codes import PictureError
from dex_perception.segment.pairing import Pair, Pairing
from dex_perception.segment.view import Picture

M = TypeVar("M")
CODES = {"blank": "image_blank", "repeated": "camera_frozen", "frozen": "camera_frozen", "late": "image_late", "future": "image_future"}
MODELS = ("plumb_bob", "rational_polynomial")
FUTURE_S = 0.1
SILENT_S = 0.5
"""No colour picture for so long is a camera that is lost; until then it is waited for."""


class Intake(Generic[M]):
    """Takes messages as they come and gives pairs out; then judges the pictures made of them. One thread.

    Args:
        pairing_s: largest difference of the stamps of colour and depth.
        max_age_s: older pictures are not used.
        frozen_after: so many equal pictures in a row are a frozen sensor; 0: a rendered scene, where equal pictures are no sign.
    """

    def __init__(self, pairing_s: float, max_age_s: float, frozen_after: int) -> None:
        self._pairing: Pairing[M, M] = Pairing(pairing_s)
        self._pairing_s, self._frozen_after = pairing_s, frozen_after
        self._sequence = 0
        self.restart(0, max_age_s)

    def restart(self, steady_ns: int, max_age_s: float) -> None:
        """A goal begins: nothing of before counts."""
        self._pairing.restart()
        self._watch = FrameWatch(max_age_s=max_age_s, max_future_s=FUTURE_S, frozen_after=self._frozen_after)
        self._colour_ns = self._depth_ns = steady_ns
        self._info: Intrinsics | PictureError | None = None

    def colour(self, message: M, stamp_ns: int, steady_ns: int) -> None:
        """A colour picture came."""
        self._colour_ns = steady_ns
        self._pairing.add_colour(message, stamp_ns)

    def depth(self, message: M, stamp_ns: int, steady_ns: int) -> None:
        """A depth picture came."""
        self._depth_ns = steady_ns
        self._pairing.add_depth(message, stamp_ns)

    def info(self, intrinsics: Intrinsics | PictureError) -> None:
        """The depth's camera_info came, or what is wrong with it."""
        self._info = intrinsics

    def newest(self, steady_ns: int) -> Pair[M, M] | None:
        """The newest pair not given out before; None: not yet.

        Raises:
            PictureError: ``camera_lost``, ``depth_missing`` or ``camera_info_missing``, once waiting makes no sense any more.
        """
        pair = self._pairing.newest()
        if pair is not None:
            return pair
        if steady_ns - self._colour_ns > SILENT_S * NS:
            raise PictureError(f"no colour picture for {(steady_ns - self._colour_ns) / NS:.1f} s", code="camera_lost")
        if steady_ns - self._depth_ns > SILENT_S * NS:
            raise PictureError(f"no depth for {(steady_ns - self._depth_ns) / NS:.1f} s, though colour comes", code="depth_missing")
        if self._pairing_s < self._pairing.nearest_s < math.inf:
            text = f"the nearest depth lies {self._pairing.nearest_s * 1e3:.0f} ms from the colour picture; at most {self._pairing_s * 1e3:.0f} ms"
            raise PictureError(text, code="depth_missing")
        return None

    @property
    def intrinsics(self) -> Intrinsics:
        """As the depth's camera_info says. Raises PictureError ``camera_info_missing`` or what was wrong with it."""
        if self._info is None:
            raise PictureError("no camera_info of the depth came", code="camera_info_missing")
        if isinstance(self._info, PictureError):
            raise self._info
        return self._info

    def judge(self, picture: Picture, depth_frame_id: str, wall_ns: int) -> None:
        """What pictures in a row tell. Raises PictureError with the code of the fault."""
        if not picture.frame_id or picture.frame_id != depth_frame_id:
            text = f"colour is in frame {picture.frame_id!r}, depth in {depth_frame_id!r}; aligned depth has the colour's frame"
            raise PictureError(text, code="frame_wrong")
        self._sequence += 1
        reason = self._watch.judge(Frame(picture.rgb, picture.depth_m, picture.stamp_ns, self._sequence), picture.rgb, wall_ns)
        if reason:
            text = f"the colour picture is {reason}; it was taken {(wall_ns - picture.stamp_ns) * 1e-6:.0f} ms ago"
            raise PictureError(text, code=CODES[reason])


def intrinsics_of(width: int, height: int, k: Sequence[float], d: Sequence[float], model: str) -> Intrinsics | PictureError:
    """What a camera_info says, or why it says nothing usable.

    Args:
        width, height: [px]. k: 9 numbers of the camera matrix, row by row. d: distortion. model: its name.
    """
    matrix, lens = np.asarray(k, dtype=np.float64), _lens(d)
    if matrix.shape != (9,) or not (np.isfinite(matrix).all() and matrix[0] > 0.0 and matrix[4] > 0.0 and width > 0 and height > 0):
        return PictureError(f"camera_info of {width} x {height} has k {matrix.tolist()}: the camera is not calibrated", code="camera_info_missing")
    if lens.size and model not in MODELS:
        return PictureError(f"distortion model {model!r}; read are {list(MODELS)}", code="camera_info_missing")
    if len(lens) not in DISTORTION_SIZES or not np.isfinite(lens).all():
        return PictureError(f"{len(lens)} distortion coefficients {lens.tolist()}; allowed are {list(DISTORTION_SIZES)}", code="camera_info_missing")
    return Intrinsics(int(width), int(height), *(float(matrix[i]) for i in (0, 4, 2, 5)), tuple(float(v) for v in lens))


def _lens(d: Sequence[float]) -> NDArray[np.float64]:
    """Nothing where every coefficient is zero."""
    lens = np.asarray(d, dtype=np.float64)
    return lens if lens.any() else np.zeros(0)
