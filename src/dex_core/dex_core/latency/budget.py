# SPDX-License-Identifier: Apache-2.0
"""How long each stage of a chunk may take before it counts as over budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dex_core.errors import ConfigError
from dex_core.latency.stages import STAGES

DEFAULTS_MS: Mapping[str, float] = {
    "observation_ready": 20.0,
    "request_sent": 2.0,
    "queued": 10.0,
    "inference_started": 5.0,
    "inferred": 60.0,
    "received": 10.0,
    "published": 3.0,
    "decoded": 15.0,
    "accepted": 8.0,
    "first_command": 13.0,
    "first_motion": 60.0,
}
"""Milliseconds. ``first_command``: at worst a period of the gate at 100 Hz and the 3 ms before a tick in which it examines no chunk."""
LOW_MS, HIGH_MS = 0.01, 60_000.0


@dataclass(frozen=True)
class LatencyBudget:
    """Budgets in milliseconds.

    Attributes:
        total_ms: exposure to first command, the model included.
        stages_ms: stage -> budget, for all of them after the first.
    """

    total_ms: float = 100.0
    stages_ms: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULTS_MS))

    @property
    def overhead_ms(self) -> float:
        """What the total leaves beside the model."""
        return max(self.total_ms - self.stages_ms["inferred"], LOW_MS)

    @classmethod
    def of(cls, total_ms: float, changed_ms: Mapping[str, float]) -> LatencyBudget:
        """The default budgets with those in ``changed_ms`` instead. Raises ConfigError for an unknown stage or a number out of range."""
        check_stage_budgets(changed_ms)
        return cls(total_ms, {**DEFAULTS_MS, **changed_ms})


def check_stage_budgets(changed_ms: Mapping[str, float]) -> None:
    """Raises ConfigError naming the stage and what is allowed."""
    for stage, budget_ms in changed_ms.items():
        if stage not in DEFAULTS_MS:
            raise ConfigError(f"stage_budgets_ms: unknown stage {stage!r}; allowed: {list(STAGES[1:])}")
        if not LOW_MS <= budget_ms <= HIGH_MS:
            raise ConfigError(f"stage_budgets_ms: {stage} is {budget_ms} ms; allowed {LOW_MS} to {HIGH_MS}")
