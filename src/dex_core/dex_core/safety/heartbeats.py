# SPDX-License-Identifier: Apache-2.0
"""Signs of life of the nodes a running goal needs, judged on the monotonic clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dex_core.safety.reasons import Trip

ACTIVE = 3
EXECUTOR_AGE_MAX_S = 1.0
"""A node whose heartbeat thread lives but whose executor did not run for this long hangs."""


class Watch(NamedTuple):
    """A node that must live while a goal runs, and the reason code when it does not.

    ``complaints_trip``: a beat that carries a reason counts as a loss (a driver that refuses the stream).
    """

    node: str
    reason: str
    complaints_trip: bool = False


class Beat(NamedTuple):
    """One heartbeat: lifecycle state (3 = active), time since the executor ran [s], code of what is wrong, process id.

    ``attended``: the kernel tells when that process ends, so its silence can only be a hang.
    """

    node: str
    state: int = ACTIVE
    executor_age_s: float = 0.0
    reason: str = ""
    pid: int = 0
    attended: bool = False


class HeartbeatBook:
    """Newest beat of each watched node. Times are monotonic times of arrival [ns]; stamps inside messages play no part.

    Args:
        watched: nodes in the order in which a loss is named.
        timeout_s: longest silence [s].
        hang_timeout_s: longest silence of an attended process [s]; None: the same.
    """

    def __init__(self, watched: Sequence[Watch], timeout_s: float, hang_timeout_s: float | None = None) -> None:
        self.watched = tuple(watched)
        self._timeout_ns = round(timeout_s * 1e9)
        self._hang_timeout_ns = self._timeout_ns if hang_timeout_s is None else round(hang_timeout_s * 1e9)
        self._nodes = {watch.node for watch in watched}
        self._beats: dict[str, tuple[int, Beat]] = {}
        self._dead: dict[str, int] = {}

    def beat(self, beat: Beat, now_ns: int) -> None:
        """Notes a beat; nodes nobody watches are ignored."""
        if beat.node not in self._nodes or (beat.node in self._dead and beat.pid == self._dead[beat.node]):
            return  # the last words of a dead process are no sign of life
        self._dead.pop(beat.node, None)
        self._beats[beat.node] = (now_ns, beat)

    def died(self, node: str, pid: int) -> None:
        """Notes that the kernel reported a node's process ended; only a beat of another process brings the node back."""
        if node in self._nodes:
            self._dead[node] = pid

    def lost(self, now_ns: int) -> list[Trip]:
        """One trip per watched node that is silent, not active or hangs."""
        trips = []
        for watch in self.watched:
            detail = self._complaint(watch, now_ns)
            if detail:
                trips.append(Trip(watch.reason, watch.node, detail))
        return trips

    def _complaint(self, watch: Watch, now_ns: int) -> str:
        node = watch.node
        if node in self._dead:
            return f"{node}: its process {self._dead[node]} has ended"
        if node not in self._beats:
            return f"{node} has not been heard yet"
        heard_ns, beat = self._beats[node]
        silence_ns = now_ns - heard_ns
        allowed_ns = self._hang_timeout_ns if beat.attended else self._timeout_ns
        if silence_ns > allowed_ns:
            return f"{node} is silent for {silence_ns / 1e9:.3f} s; at most {allowed_ns / 1e9} s is allowed"
        if beat.state != ACTIVE:
            return f"{node} is not active (lifecycle state {beat.state})" + (f": {beat.reason}" if beat.reason else "")
        if beat.executor_age_s > EXECUTOR_AGE_MAX_S:
            return f"{node} hangs: its executor did not run for {beat.executor_age_s:.2f} s"
        if watch.complaints_trip and beat.reason:
            return f"{node} does not follow: {beat.reason}"
        return ""
