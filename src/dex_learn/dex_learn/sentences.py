# SPDX-License-Identifier: Apache-2.0
"""The sentences the policy is trained on, per task, in the order of ``records.TASKS``."""

from __future__ import annotations

from dex_core.config import TaskConfig

PUSH_TOO = (
    "Push the cans together", "Push both cans together until they touch", "Put the two cans next to each other", "Bring the cans together",
    "Push the two tomato cans towards each other",
)
REST = (
    "Return to the rest pose", "Go back to the rest pose", "Return to rest", "Move both arms back to rest", "Go to the rest position", "Return home",
    "Go home", "Move the arms to the home pose", "Let go and return to the rest pose", "Back to the start pose",
)


def sentences(task: TaskConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(push, rest): the task's own instruction first, its paraphrases, and ours."""
    return (task.instruction, *task.paraphrases, *PUSH_TOO), REST
