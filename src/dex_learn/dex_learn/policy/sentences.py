# SPDX-License-Identifier: Apache-2.0
"""The sentences the policy is trained on, per task, in the order of ``layout.TASKS``."""

from __future__ import annotations

from dex_core.config import load_task
from dex_learn.policy.layout import TASKS

OURS = {
    "push_cans": (
        "Push the cans together", "Push both cans together until they touch", "Put the two cans next to each other", "Bring the cans together",
        "Push the two tomato cans towards each other",
    ),
    "reorganize_lemons": (
        "Put the lemon and lime in the bowl", "Place the lemon and the lime in the bowl",
        "Pick up the lemon and the lime and put them into the bowl", "Re-organize the lemons",
        "Tidy the fruits into the bowl", "Put both fruits into the bowl",
    ),
    "rest": (
        "Return to the rest pose", "Go back to the rest pose", "Return to rest", "Move both arms back to rest", "Go to the rest position",
        "Return home", "Go home", "Move the arms to the home pose", "Let go and return to the rest pose", "Back to the start pose",
    ),
}


def sentences() -> tuple[tuple[str, ...], ...]:
    """One group per task: of those in ``config/tasks`` their instruction first and its paraphrases, then ours, none twice."""
    groups = []
    for name in TASKS:
        own: tuple[str, ...] = ()
        if name != "rest":
            task = load_task(name)
            own = (task.instruction, *task.paraphrases)
        said = {sentence.lower() for sentence in own}
        groups.append((*own, *(sentence for sentence in OURS[name] if sentence.lower() not in said)))
    return tuple(groups)
