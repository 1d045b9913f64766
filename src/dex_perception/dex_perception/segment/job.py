# SPDX-License-Identifier: Apache-2.0
"""One goal from its first picture to its ending: looks, follows, loses, finds again, gives up - each with a reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from dex_core.clock import NS
from dex_perception.segment.codes import PictureError
from dex_perception.segment.eye import Eye
from dex_perception.segment.request import Request
from dex_perception.segment.result import Result
from dex_perception.segment.tracker import Tracker
from dex_perception.segment.view import View


class Outcome(IntEnum):
    """How a goal ends; the numbers of dex_msgs/action/Segment."""

    SUCCEEDED = 1
    NO_TARGET = 2
    CANCELLED = 3
    ABORTED = 4
    REFUSED = 5
    PREEMPTED = 6


@dataclass(frozen=True)
class Ending:
    """Outcome, its code and its sentence."""

    outcome: Outcome
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Patience:
    """How long a goal waits.

    Attributes:
        budget_s: from a picture's arrival to its result; later, the result carries ``over_budget``.
        max_age_s: a picture older than this is not used, and neither is its result.
        picture_s: without any usable picture for so long, the goal is aborted.
        lost_s: a followed object, or one that words look for, may be out of sight for so long.
    """

    budget_s: float
    max_age_s: float
    picture_s: float = 2.0
    lost_s: float = 2.0

    def asked_by(self, request: Request) -> Patience:
        """With what the request itself asks for."""
        return replace(self, budget_s=request.budget_s or self.budget_s, max_age_s=request.max_age_s or self.max_age_s)


class Job:
    """The life of one goal. One thread.

    Args:
        eye: the models.
        request: what is asked for.
        goal_id: whose it is.
        patience: the cell's, with the request's own wishes.
        steady_ns: monotonic clock [ns]. wall_ns: the clock that stamps are made with [ns].

    Attributes:
        ending: None while it goes on.
        last: newest result, or None.
        pictures: how many were looked at. over_budget: how many took longer than the budget.
        trouble: newest code and sentence about the pictures; empty while they are good.
    """

    def __init__(
        self, eye: Eye, request: Request, goal_id: str, patience: Patience, steady_ns: Callable[[], int], wall_ns: Callable[[], int],
    ) -> None:
        self._eye, self.request, self.goal_id = eye, request, goal_id
        self.patience = patience.asked_by(request)
        self._steady_ns, self._wall_ns = steady_ns, wall_ns
        self._tracker: Tracker | None = None
        self._good_ns = self._seen_ns = steady_ns()
        self.ending: Ending | None = None
        self.last: Result | None = None
        self.pictures = self.over_budget = 0
        self.trouble = ("", "")

    @property
    def stage(self) -> str:
        """``waiting``, ``segmenting``, ``tracking`` or ``lost``."""
        if self.last is None:
            return "waiting"
        if self._tracker is None:
            return "segmenting"
        return "tracking" if self.last.object is not None else "lost"

    def on_view(self, view: View, arrived_ns: int, pose_points_in_world: NDArray[np.float64] | None = None) -> Result:
        """Looks at one picture and says what to publish."""
        self._good_ns, self.trouble = self._steady_ns(), ("", "")
        self.pictures += 1
        result = self._eye.look(view, self.request, self.goal_id, arrived_ns, pose_points_in_world, self._tracker)
        if result.object is None and self._tracker is not None and self.request.kind == "text":  # out of the tracker's reach, words still name it
            again = self._eye.look(view, self.request, self.goal_id, arrived_ns)
            if again.object is not None:
                self._tracker, result = None, again
        result = self._timely(result)
        self.last = result
        if result.object is not None:
            self._seen_ns = self._steady_ns()
            if self.request.continuous and self._tracker is None:
                self._tracker = Tracker(result.object, view)
        self._conclude(result)
        return result

    def on_trouble(self, error: PictureError) -> None:
        """A picture, or the lack of one, that cannot be used; ends the goal when that lasts."""
        self.trouble = (error.code, str(error))
        silent_s = (self._steady_ns() - self._good_ns) / NS
        if self.ending is None and silent_s > self.patience.picture_s:
            self.ending = Ending(Outcome.ABORTED, error.code, f"no usable picture for {silent_s:.1f} s: {error}")

    def end(self, outcome: Outcome, reason: str, detail: str) -> None:
        """Ends the goal from outside; the first ending stays."""
        self.ending = self.ending or Ending(outcome, reason, detail)

    def _timely(self, result: Result) -> Result:
        """A result of a picture that became too old meanwhile is none; one that is merely late says so."""
        late_s, age_s = 1e-3 * result.times.total_ms, (self._wall_ns() - result.stamp_ns) / NS
        if late_s > self.patience.budget_s:
            self.over_budget += 1
        if result.object is None:
            return result
        if age_s > self.patience.max_age_s:
            text = f"the picture was {age_s * 1e3:.0f} ms old when its result was there; at most {self.patience.max_age_s * 1e3:.0f} ms"
            return result.without_object("expired", text)
        if late_s > self.patience.budget_s:
            text = f"it took {late_s * 1e3:.0f} ms; the budget is {self.patience.budget_s * 1e3:.0f} ms"
            return replace(result, code="over_budget", detail=text)
        return result

    def _conclude(self, result: Result) -> None:
        if self.ending is not None:
            return
        if not self.request.continuous:
            good = result.object is not None
            self.ending = Ending(Outcome.SUCCEEDED if good else Outcome.NO_TARGET, result.code, result.detail)
            return
        if result.object is not None:
            return
        unseen_s = (self._steady_ns() - self._seen_ns) / NS
        patient = self._tracker is not None or self.request.kind == "text" or result.code == "expired"
        if not patient or unseen_s > self.patience.lost_s:
            self.ending = Ending(Outcome.NO_TARGET, result.code, f"not seen for {unseen_s:.1f} s: {result.detail}" if patient else result.detail)
