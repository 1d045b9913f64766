# SPDX-License-Identifier: Apache-2.0
"""Goals in, results out: waits for pictures, pairs them, places them in the world, and lets each goal look until it has its ending."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from dex_core.clock import NS
from dex_core.clouds import Cloud
from dex_core.errors import DexError
from dex_perception.segment import codes
from dex_perception.segment.codes import PictureError
from dex_perception.segment.eye import Eye, asked
from dex_perception.segment.intake import Intake
from dex_perception.segment.job import Ending, Job, Outcome, Patience
from dex_perception.segment.owner import Ownership
from dex_perception.segment.pairing import Pair
from dex_perception.segment.request import Request
from dex_perception.segment.result import Result
from dex_perception.segment.transforms import TransformBuffer
from dex_perception.segment.view import Picture, Workspace, see

if TYPE_CHECKING:
    from dex_perception.complete import Completer

POLL_S = 0.02
TURN_S = 10.0
"""How long a goal that takes over waits for the one before it to leave; that one may be in the middle of an inference."""
FEEDBACK_S = 0.2


class Ports(Protocol):
    """What the server needs of the node around it; called in the goal's thread alone."""

    def wait(self, timeout_s: float) -> None:
        """Until a picture came, or the time is over."""
        ...

    def take(self, intake: Intake[Any], transforms: TransformBuffer) -> None:
        """Hands over everything that came since."""
        ...

    def picture(self, pair: Pair[Any, Any], intake: Intake[Any]) -> tuple[Picture, str]:
        """A pair as arrays, and the frame its depth names. Raises PictureError ``image_encoding`` or ``image_size``."""
        ...

    def publish(self, result: Result, max_age_s: float) -> None:
        """Says a result."""
        ...

    def publish_completed(self, result: Result, cloud: Cloud) -> None:
        """Says the whole object of a result that was published."""
        ...

    def tell(self, code: str, text: str, values: dict[str, object]) -> None:
        """The state for /diagnostics; an empty code is a good one."""
        ...


class Server:
    """Runs goals, one at a time.

    Args:
        eye: the models.
        ports: the node.
        owner: who may run.
        intake, transforms: filled by the ports.
        workspace: where objects may be.
        patience: the cell's.
        world_frame: where clouds are.
        rate_hz: pictures looked at, at most.
        wall_ns: the clock that stamps are made with [ns].
        completer: makes whole objects of seen ones; None: nobody does.
    """

    def __init__(
        self, eye: Eye, ports: Ports, owner: Ownership, intake: Intake[Any], transforms: TransformBuffer, *, workspace: Workspace, patience: Patience,
        world_frame: str, rate_hz: float, wall_ns: Callable[[], int], completer: Completer | None = None,
    ) -> None:
        self._eye, self._ports, self._owner = eye, ports, owner
        self._intake, self._transforms, self._workspace = intake, transforms, workspace
        self._patience, self._world, self._period_ns, self._wall_ns = patience, world_frame, round(NS / rate_hz), wall_ns
        self._completer = completer
        self._kept: tuple[Picture, int] | None = None

    def run(
        self, goal_id: str, request: Request, cancelled: Callable[[], bool], feedback: Callable[[Job], None] = lambda _job: None,
    ) -> tuple[Job | None, Ending]:
        """One goal, from its claim to its ending; always comes to one. The job is None for a goal that never had its turn."""
        if why := self._owner.claim(goal_id, preempt=request.preempt):
            return None, Ending(Outcome.REFUSED, "busy", why)
        try:
            if not self._owner.wait_turn(goal_id, TURN_S):
                if self._owner.refusal(preempt=True):
                    return None, Ending(Outcome.ABORTED, "inactive", codes.ENDINGS["inactive"])
                return None, Ending(Outcome.PREEMPTED, "preempted", f"another goal took over, or the one before did not leave within {TURN_S:g} s")
            job = Job(self._eye, request, goal_id, self._patience, time.monotonic_ns, self._wall_ns)
            self._begin(job)
            self._follow(job, cancelled, feedback)
            return job, job.ending or Ending(Outcome.ABORTED, "internal_error", "the goal stopped without an ending")
        finally:
            self._owner.leave(goal_id)

    def _begin(self, job: Job) -> None:
        self._intake.restart(time.monotonic_ns(), job.patience.max_age_s)
        self._kept = None

    def _follow(self, job: Job, cancelled: Callable[[], bool], feedback: Callable[[Job], None]) -> None:
        due_ns = told_ns = 0
        while not self._must_end(job, cancelled):
            now_ns = time.monotonic_ns()
            if now_ns < due_ns:
                time.sleep(min(POLL_S, (due_ns - now_ns) / NS))
            elif self._step(job):
                due_ns = now_ns + self._period_ns
            if now_ns - told_ns > FEEDBACK_S * NS:
                told_ns = now_ns
                feedback(job)

    def _must_end(self, job: Job, cancelled: Callable[[], bool]) -> bool:
        if cancelled():
            job.end(Outcome.CANCELLED, "cancelled", codes.ENDINGS["cancelled"])
        elif why := self._owner.must_leave(job.goal_id):
            job.end(Outcome.PREEMPTED if why == "preempted" else Outcome.ABORTED, why, codes.ENDINGS[why])
        return job.ending is not None

    def _step(self, job: Job) -> bool:
        """Looks at the next picture, if there is one; True when it did."""
        self._ports.wait(POLL_S)
        self._ports.take(self._intake, self._transforms)
        try:
            result = self._look(job)
        except PictureError as error:
            job.on_trouble(error)
            self._ports.tell(error.code, codes.PICTURE[error.code], {"detail": error, "goal_id": job.goal_id})
            return False
        if result is None:
            return False
        self._ports.publish(result, job.patience.max_age_s)
        completion = self._complete(result, job)
        text = codes.TARGET.get(result.code) or codes.NOTES.get(result.code) or job.stage
        self._ports.tell(result.code, text, {
            "detail": result.detail, "goal_id": job.goal_id, "target": result.target, "stage": job.stage, "pictures": job.pictures,
            **completion, "over_budget": job.over_budget, "confidence": f"{result.confidence:.2f}", "total_ms": f"{result.times.total_ms:.0f}",
        })
        return True

    def _complete(self, result: Result, job: Job) -> dict[str, object]:
        """Completes an object that came in time, and says how that went; what became too old meanwhile is not published."""
        found = result.object
        if self._completer is None or found is None or result.code:
            return {}
        start_ns = time.monotonic_ns()
        try:
            completer = self._completer
            whole = asked(lambda: completer.complete(found.cloud, found.camera_m, found.support_m))
        except DexError as error:
            return {"completion": f"failed [{error.code}]: {error}"}
        taken_ms = 1e-6 * (time.monotonic_ns() - start_ns)
        if self._wall_ns() - result.stamp_ns > job.patience.max_age_s * NS:
            return {"completion": f"dropped: it took {taken_ms:.0f} ms and the picture is too old"}
        self._ports.publish_completed(result, whole.cloud)
        return {"completion": f"{len(whole.cloud)} points, {whole.invented_share:.0%} invented, {taken_ms:.0f} ms"}

    def _look(self, job: Job) -> Result | None:
        if self._kept is None:
            pair = self._intake.newest(time.monotonic_ns())
            if pair is None:
                return None
            arrived_ns = time.monotonic_ns()
            picture, depth_frame = self._ports.picture(pair, self._intake)
            self._intake.judge(picture, depth_frame, self._wall_ns())
            self._kept = picture, arrived_ns
        (picture, arrived_ns), self._kept = self._kept, None
        try:
            pose = self._transforms.pose(self._world, picture.frame_id, picture.stamp_ns)
            pose_points = None
            if job.request.points_frame:
                pose_points = self._transforms.pose(self._world, job.request.points_frame, picture.stamp_ns)
        except PictureError as error:
            if error.code == "tf_future" and self._wall_ns() - picture.stamp_ns < job.patience.max_age_s * NS:
                self._kept = picture, arrived_ns  # the transforms of a frame that moves come a little after the picture
            raise
        return job.on_view(see(picture, pose, self._workspace), arrived_ns, pose_points)
