# SPDX-License-Identifier: Apache-2.0
"""A running cell under measurement: reports collected while goals run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from dex_bringup.bench.report import percentile
from dex_bringup.client import CellClient, TaskResult
from dex_bringup.resolve import resolve
from dex_bringup.supervisor import Supervisor
from dex_msgs.msg import ChunkReport, CommandReport
from dex_ros import names, qos

START_TIMEOUT_S = 90.0
ACTIVE_AGAIN_S = 30.0


class LiveCell:
    """Starts a simulated cell and keeps every chunk and command report.

    Args:
        cell: name or YAML file. arguments: as for ``resolve``.
        notify: takes one sentence for people.
    """

    def __init__(self, cell: str, arguments: Mapping[str, str] | None = None, notify: Callable[[str], None] = lambda _text: None) -> None:
        self.resolution = resolve(cell, arguments)
        self.supervisor = Supervisor(self.resolution, notify=notify)
        self._notify = notify
        self.client: CellClient = None  # type: ignore[assignment]
        self.chunks: list[ChunkReport] = []
        self.commands: list[CommandReport] = []
        self.start_s = 0.0

    def __enter__(self) -> LiveCell:
        try:
            self.supervisor.start()
            self.start_s = self.supervisor.wait_active(START_TIMEOUT_S)
            self._notify(f"cell active after {self.start_s:.1f} s, run folder {self.resolution.run_folder}")
            self.client = CellClient(self.resolution.namespace)
            self.client.node.create_subscription(ChunkReport, names.CHUNK_REPORT, self.chunks.append, qos.REPORT)
            self.client.node.create_subscription(CommandReport, names.COMMAND_REPORT, self.commands.append, qos.REPORT)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.client is not None:
            self.client.close()
        self.supervisor.stop()

    def attempt(
        self, seed: int, instruction: str, deadline_s: float = 0.0, on_feedback: Callable[[Any], None] | None = None, task: str = "",
    ) -> TaskResult:
        """A new scene with the objects of ``task`` (the cell's own when empty), then one goal."""
        self.client.quiet_gate()
        self.supervisor.wait_active(ACTIVE_AGAIN_S)
        self.client.new_scene(seed, task=task)
        return self.client.run_task(instruction, deadline_s, on_feedback, self.supervisor.tick)

    def figures(self) -> dict[str, Any]:
        """Latency, seams and limits over everything so far."""
        accepted = [report for report in self.chunks if report.accepted]
        limits: Counter[str] = Counter()
        for report in self.commands:
            for event in report.limits:
                limits[event.limit] += int(event.count)
        rejected = Counter(report.reason for report in self.chunks if not report.accepted)
        return {
            "chunks_accepted": len(accepted),
            "chunks_rejected": dict(rejected),
            "inference_p50_ms": percentile([r.inference_ms for r in accepted], 50),
            "inference_p99_ms": percentile([r.inference_ms for r in accepted], 99),
            "overhead_p50_ms": percentile([r.overhead_ms for r in accepted], 50),
            "overhead_p99_ms": percentile([r.overhead_ms for r in accepted], 99),
            "seam_position_jump_p99_rad": percentile([r.position_jump for r in accepted], 99),
            "seam_velocity_step_p99_rad_s": percentile([r.velocity_step for r in accepted], 99),
            "limit_hits": dict(limits),
            "gate_ticks_missed": max((int(r.ticks_missed) for r in self.commands), default=0),
        }
