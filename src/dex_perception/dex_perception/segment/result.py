# SPDX-License-Identifier: Apache-2.0
"""What is said about one picture, and how long it may stand."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from dex_core.clock import NS
from dex_perception.segment.found import Found


@dataclass(frozen=True)
class Times:
    """Milliseconds: words or mask to clicks, cloud to features, clicks to mask, and all since the picture's arrival."""

    prompt_ms: float = 0.0
    encode_ms: float = 0.0
    decode_ms: float = 0.0
    total_ms: float = 0.0


@dataclass(frozen=True)
class Result:
    """One object, or 'no target' with the reason.

    Attributes:
        stamp_ns, frame_id: of the picture.
        goal_id, target: what it answers. size_hw: of the picture [px].
        object: None: no target.
        code, detail: why not, or a note beside an object.
        confidence: of an object; of a refused one too, for the eye of a person.
        segmenter: its name. tracked: the clicks came from the mask before.
    """

    stamp_ns: int
    frame_id: str
    goal_id: str
    target: str
    size_hw: tuple[int, int]
    object: Found | None = None
    code: str = ""
    detail: str = ""
    confidence: float = 0.0
    segmenter: str = ""
    tracked: bool = False
    times: Times = Times()

    def without_object(self, code: str, detail: str) -> Result:
        """The same picture, declared 'no target'."""
        return replace(self, object=None, code=code, detail=detail, confidence=0.0)


class Standing:
    """The result that stands on the topics; it falls when its picture has become too old. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._result: Result | None = None
        self._until_ns = 0

    def put(self, result: Result, max_age_s: float, wall_ns: int, steady_ns: int) -> None:
        """A result was published: with an object it stands until its picture is ``max_age_s`` old, whatever the wall clock does from here on."""
        age_ns = max(0, wall_ns - result.stamp_ns)
        with self._lock:
            self._result = result if result.object is not None else None
            self._until_ns = steady_ns + round(max_age_s * NS) - age_ns

    def fallen(self, steady_ns: int, *, at_once: bool = False) -> Result | None:
        """Once, when it is too old, or at once: the withdrawal to publish."""
        with self._lock:
            if self._result is None or (steady_ns < self._until_ns and not at_once):
                return None
            result, self._result = self._result, None
        return result.without_object("expired", "the node stops" if at_once else "no newer result came; the last one is too old and is withdrawn")

    @property
    def left_standing(self) -> bool:
        """Whether an object is out there."""
        with self._lock:
            return self._result is not None
