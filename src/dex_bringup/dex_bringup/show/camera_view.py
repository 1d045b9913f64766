# SPDX-License-Identifier: Apache-2.0
"""What `dex show camera` draws: the newest sample with its overlays, how old everything is, and that nothing comes when nothing comes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dex_bringup.annotate.files import scale_for
from dex_bringup.annotate.intake import Intake, mask_of
from dex_core.clock import NS
from dex_core.errors import ShapeError
from dex_perception.keypoints.annotator import Annotator
from dex_perception.keypoints.overlay import caption, draw
from dex_perception.keypoints.sample import HIDDEN, VISIBLE, Sample
from dex_ros.convert import time_from_msg

RESULT_S = 1.0
"""An object's mask of a picture this much older than the one that is shown is no longer drawn."""
BLANK_WH = (640, 480)
RATE_OVER_S = 2.0
Picture = NDArray[np.uint8]


class CameraView:
    """Draws samples of one camera.

    Args:
        intake: where the segmentation's word comes from.
        annotator: of the cell.

    Attributes:
        status: figures of what was drawn last, for people.
    """

    def __init__(self, intake: Intake, annotator: Annotator) -> None:
        self._intake, self._annotator = intake, annotator
        self._last: Picture | None = None
        self._last_ns = 0
        self._drawn: list[float] = []
        self.status: dict[str, Any] = {}

    def picture(self, sample: Sample) -> Picture:
        """(h, w, 3) RGB of a sample."""
        started_s = time.monotonic()
        annotation = self._annotator.annotate(sample)
        mask, words = self._segmented(sample)
        drawn = draw(sample.rgb, annotation, scale=scale_for(sample.rgb.shape[1]), object_mask=mask)
        self._last, self._last_ns = drawn, sample.stamp_ns
        self._drawn = [*(moment for moment in self._drawn if started_s - moment < RATE_OVER_S), started_s]
        rate = f", {len(self._drawn) / RATE_OVER_S:.1f} a second" if len(self._drawn) > 1 else ""
        seen, hidden = (sum(int(np.count_nonzero(robot.visibility == kind)) for robot in annotation.robots) for kind in (VISIBLE, HIDDEN))
        skipped = self._intake.assembler.skipped
        self.status = {
            "camera": f"{self._intake.camera}, {sample.rgb.shape[1]} x {sample.rgb.shape[0]}, {sample.frame_id}",
            "picture": f"{(time.time_ns() - sample.stamp_ns) * 1e-6:.0f} ms old when drawn{rate}",
            "points": f"{seen} seen, {hidden} hidden, by {annotation.by}",
            "segmentation": words,
            "left out": ", ".join(f"{count} {code}" for code, count in skipped.items()) or "none",
            "drawing": f"{(time.monotonic() - started_s) * 1e3:.0f} ms",
        }
        return caption(drawn, [f"{what}: {self.status[what]}" for what in ("picture", "points", "segmentation")])

    def silent(self, why: str) -> Picture:
        """Says that no picture comes, over the last one made dark."""
        if self._last is None:
            shown, text = np.zeros((BLANK_WH[1], BLANK_WH[0], 3), dtype=np.uint8), "no picture yet"
        else:
            shown, text = self._last // 3, f"no picture for {(time.time_ns() - self._last_ns) / NS:.1f} s"
        self.status = {"camera": self._intake.camera, "picture": text, "why": why}
        return caption(shown, [text, why])

    def _segmented(self, sample: Sample) -> tuple[NDArray[np.bool_] | None, str]:
        """The object's mask, where it is of about this picture, and the result in words."""
        result = self._intake.result
        if result is None:
            return None, "nobody publishes results"
        apart_s = (sample.stamp_ns - time_from_msg(result.header.stamp)) / NS
        age = f"of the picture {apart_s * 1e3:.0f} ms before" if apart_s > 1e-6 else "of this picture"
        if not result.found:
            return None, f"{result.target!r}: {result.code or 'nothing found'}, {age}"
        words = f"{result.target!r}, confidence {result.confidence:.2f}, {age}"
        if abs(apart_s) > RESULT_S:
            return None, f"{words}: too old to draw"
        try:
            mask = mask_of(result)
        except ShapeError as error:
            return None, f"{words}: {error}"
        return (mask, words) if mask.shape == sample.rgb.shape[:2] else (None, f"{words}: its mask is of another size")
