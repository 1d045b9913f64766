# SPDX-License-Identifier: Apache-2.0
"""One look: a view and a request, or a tracker, give an object or the reason why there is none."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import DexError
from dex_perception.segment.base import Segmenter
from dex_perception.segment.codes import NoTarget
from dex_perception.segment.found import Found, found_in
from dex_perception.segment.prompts import Prompt, Reader, read
from dex_perception.segment.request import Request
from dex_perception.segment.result import Result, Times
from dex_perception.segment.tracker import Tracker
from dex_perception.segment.view import View

T = TypeVar("T")


@dataclass(frozen=True)
class Trust:
    """What a mask must be to be an object.

    Attributes:
        confidence: least, of the segmenter.
        points: least, of the object's cloud.
        largest_share: of the workspace's points; a mask that takes nearly all of them found nothing.
    """

    confidence: float = 0.5
    points: int = 30
    largest_share: float = 0.6


class Eye:
    """Holds the models; looks at one view at a time.

    Args:
        segmenter: clicks to masks.
        reader: words to places; None: words are answered with 'no target'.
        trust: what is believed.
        now_ns: monotonic clock [ns].
    """

    def __init__(
        self, segmenter: Segmenter, reader: Reader | None = None, trust: Trust = Trust(), now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.segmenter, self.reader, self.trust = segmenter, reader, trust
        self._now_ns = now_ns

    def look(
        self, view: View, request: Request, goal_id: str, arrived_ns: int, pose_points_in_world: NDArray[np.float64] | None = None,
        tracker: Tracker | None = None,
    ) -> Result:
        """What this view shows of the object; never an exception for what a picture or a model can do wrong.

        Args:
            view: checked.
            request, goal_id: what is looked for, and for whom.
            arrived_ns: when the picture came, monotonic [ns].
            pose_points_in_world: (4, 4) of ``request.points_frame`` at the picture's stamp.
            tracker: follow instead of reading the prompt anew; it takes over what is found.
        """
        blank = Result(
            view.picture.stamp_ns, view.picture.frame_id, goal_id, request.target, view.size_hw, segmenter=self.segmenter.name,
            tracked=tracker is not None,
        )
        marks = [self._now_ns()]
        try:
            if tracker is None:
                prompt = asked(lambda: read(request, view, pose_points_in_world, self.reader))
            else:
                prompt = Prompt(tracker.clicks(view))
            marks.append(self._now_ns())
            encoded = asked(lambda: self.segmenter.encode(view.cloud, view.pose_camera_in_world))
            marks.append(self._now_ns())
            mask = asked(lambda: self.segmenter.decode(encoded, prompt.clicks))
            marks.append(self._now_ns())
            found = self._believed(view, mask.inside, mask.confidence)
            if tracker is not None:
                tracker.accept(found, view)
            result = replace(blank, object=found, confidence=found.confidence, detail=prompt.note)
        except NoTarget as error:
            result = replace(blank, code=error.code, detail=str(error), confidence=getattr(error, "confidence", 0.0))
        except DexError as error:
            result = replace(blank, code="segmenter_failed", detail=f"{self.segmenter.name}: {error}")
        return replace(result, times=self._times(marks, arrived_ns))

    def _believed(self, view: View, inside: NDArray[np.bool_], confidence: float) -> Found:
        if inside.shape != (len(view.cloud),):
            raise DexError(f"the mask has {inside.shape} values for {len(view.cloud)} points")
        if not inside.any():
            raise NoTarget("the mask is empty", code="no_target")
        if not confidence >= self.trust.confidence:
            raise _Doubted(f"confidence {confidence:.2f}; at least {self.trust.confidence:.2f} is asked for", confidence)
        found = found_in(view, inside, confidence)
        points = 0 if found is None else len(found.cloud)
        if found is None or points < self.trust.points:
            raise NoTarget(f"the mask holds {points} points; at least {self.trust.points} are asked for", code="no_target")
        if points > self.trust.largest_share * len(view.cloud):
            raise NoTarget(f"the mask takes {points / len(view.cloud):.0%} of all points in the workspace: it found no one thing", code="no_target")
        return found

    def _times(self, marks: list[int], arrived_ns: int) -> Times:
        ends = [*marks[1:], *[marks[-1]] * (4 - len(marks))]
        prompt, encode, decode = (1e-6 * (end - start) for start, end in zip([marks[0], *ends], ends, strict=False))
        return Times(prompt, encode, decode, 1e-6 * (self._now_ns() - arrived_ns))


def asked(model: Callable[[], T]) -> T:
    """What a model says. Raises DexError whatever it raises: a model that fails is no reason to lose the goal."""
    try:
        return model()
    except DexError:
        raise
    except Exception as error:  # onnxruntime's errors share no base class of their own
        raise DexError(f"{type(error).__name__}: {error}", code="segmenter_failed") from error


class _Doubted(NoTarget):
    """A mask that is not trusted, with how little."""

    code = "low_confidence"

    def __init__(self, message: str, confidence: float) -> None:
        super().__init__(message)
        self.confidence = confidence if np.isfinite(confidence) else 0.0
