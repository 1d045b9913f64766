# SPDX-License-Identifier: Apache-2.0
"""What became of one chunk, with the times of its stages."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dex_core.chunks import Accepted, Seam
from dex_core.types import ActionChunk

SEAM_FIELDS = ("position_jump", "velocity_step", "acceleration_step", "jerk")
"""Of a ChunkReport, in the order of a Seam."""


@dataclass(frozen=True)
class ChunkOutcome:
    """The fate of one chunk.

    Attributes:
        accepted: scheduled, or refused for ``reason``.
        reason, detail: code and sentence when refused; a sentence alone where something about an accepted one is worth telling.
        timing_ns: stage -> wall-clock time [ns].
        seam: to the plan followed before; None when refused.
        command_seam: what the schedule left of it in the commands; None when refused.
        steps_skipped: actions already past on arrival.
    """

    goal_id: str
    sequence: int
    accepted: bool
    reason: str = ""
    detail: str = ""
    timing_ns: dict[str, int] = field(default_factory=dict)
    seam: Seam | None = None
    command_seam: Seam | None = None
    steps_skipped: int = 0

    @classmethod
    def scheduled(cls, chunk: ActionChunk, accepted: Accepted, wall_ns: int, detail: str = "") -> ChunkOutcome:
        """Of a whole chunk that was accepted at ``wall_ns`` [ns]."""
        timing = {**chunk.timing_ns, "accepted": wall_ns}
        return cls(chunk.goal_id, chunk.sequence, True, "", detail, timing, accepted.seam, accepted.command_seam, accepted.steps_skipped)

    def first_command_at(self, wall_ns: int) -> ChunkOutcome:
        """The same with the time of the first command that used the chunk [ns]."""
        return replace(self, timing_ns={**self.timing_ns, "first_command": wall_ns})

    @property
    def seams(self) -> dict[str, float]:
        """Seam fields of a ChunkReport -> [rad], [rad/s], [rad/s^2], [rad/s^3]; empty when refused."""
        named = (("", self.seam), ("command_", self.command_seam))
        return {prefix + field: value for prefix, seam in named if seam is not None for field, value in zip(SEAM_FIELDS, seam, strict=True)}

    @property
    def inference_ms(self) -> float:
        """Time in the model [ms]; 0 where it is not known."""
        return self._between_ms("inference_started", "inferred")

    @property
    def overhead_ms(self) -> float:
        """From the camera's stamp to the first command, less the time in the model [ms]; 0 where it is not known."""
        total = self._between_ms("observed", "first_command")
        return total - self.inference_ms if total else 0.0

    def _between_ms(self, first: str, last: str) -> float:
        if first not in self.timing_ns or last not in self.timing_ns:
            return 0.0
        return (self.timing_ns[last] - self.timing_ns[first]) * 1e-6
