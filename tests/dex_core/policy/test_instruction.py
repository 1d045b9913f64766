# SPDX-License-Identifier: Apache-2.0
"""Which task a sentence means: every task of the cell by its own sentences and by freely worded ones, rest and nonsense by none."""

from __future__ import annotations

import pytest

from dex_core.config import load_cell, load_task
from dex_core.policy.instruction import meant_task

TASKS = [load_task(name) for name in load_cell("xarm_bimanual").sim.every_task]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_is_meant_by_each_of_its_sentences(task) -> None:
    for sentence in (task.instruction, *task.paraphrases):
        assert {meant_task(said, TASKS) for said in (sentence, sentence.upper(), f" {sentence}! ")} == {task.name}


@pytest.mark.parametrize(("sentence", "task"), [
    ("please put both lemons into the bowl", "reorganize_lemons"),
    ("could you put the two fruits in the bowl?", "reorganize_lemons"),
    ("Tidy the fruits into the bowl", "reorganize_lemons"),
    ("Re-organize the lemons", "reorganize_lemons"),
    ("push both cans together please", "push_cans"),
    ("Put the two cans next to each other", "push_cans"),
    ("slide the two cans towards each other", "push_cans"),
])
def test_free_words_mean_the_task_they_speak_of_whatever_the_order_of_tasks(sentence: str, task: str) -> None:
    assert meant_task(sentence, TASKS) == meant_task(sentence, TASKS[::-1]) == task


@pytest.mark.parametrize("sentence", ["Return to the rest pose", "Move the arms to the home pose", "Go home", "make some coffee", "", "?!"])
def test_a_sentence_like_neither_means_no_task(sentence: str) -> None:
    assert meant_task(sentence, TASKS) == ""


def test_where_there_are_no_tasks_none_is_meant() -> None:
    assert meant_task("Push the two tomato cans together", []) == ""
