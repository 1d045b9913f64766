# SPDX-License-Identifier: Apache-2.0
"""Is a sentence one the policy was trained on, and which task does it mean? Words and neighbouring word pairs in common decide."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dex_core.config import TaskConfig
from dex_core.errors import DexError
from dex_core.text import tokenize

TASK_SIMILARITY = 0.3
"""As little as the policies themselves ask for: what is followed as a task has its objects on the table and its judge."""


class InstructionRefused(DexError):
    """The policy does not know this instruction; the text lists the ones it knows."""

    code = "instruction_unknown"


def features(sentence: str) -> frozenset[str]:
    """Lower-case words and neighbouring pairs."""
    words = re.findall(r"[a-z0-9]+", sentence.lower())
    return frozenset(words) | frozenset(f"{a} {b}" for a, b in zip(words, words[1:], strict=False))


def similarity(a: str, b: str) -> float:
    """Dice coefficient of the features, 0 to 1."""
    fa, fb = features(a), features(b)
    return 2.0 * len(fa & fb) / (len(fa) + len(fb)) if fa or fb else 0.0


def check_instruction(instruction: str, trained: Sequence[str], min_similarity: float) -> str:
    """The trained sentence nearest to ``instruction``.

    Raises:
        DexError: ``instruction_invalid``, empty or too long.
        InstructionRefused: nothing trained comes near; lists what is known.
    """
    tokenize(instruction)
    if not trained:
        return instruction
    nearest = max(trained, key=lambda known: similarity(instruction, known))
    score = similarity(instruction, nearest)
    if score < min_similarity:
        raise InstructionRefused(
            f"instruction {instruction!r} is unlike anything the policy was trained on (nearest {nearest!r}, similarity {score:.2f}, "
            f"{min_similarity:.2f} needed); it knows: {list(trained)}"
        )
    return nearest


def meant_task(instruction: str, tasks: Iterable[TaskConfig]) -> str:
    """Name of the task that an instruction means, whose objects it speaks of and whose judge decides; empty when it is none of them."""
    scores = {task.name: max(similarity(instruction, known) for known in (task.instruction, *task.paraphrases)) for task in tasks}
    nearest = max(scores, key=scores.__getitem__, default="")
    return nearest if scores.get(nearest, 0.0) >= TASK_SIMILARITY else ""
