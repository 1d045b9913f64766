# SPDX-License-Identifier: Apache-2.0
"""Episodes: labels of every visited state, deterministic by seed, going on after a stop, seeds; made-up states."""
from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.config import load_cell  # noqa: E402
from dex_core.errors import DexError  # noqa: E402
from dex_learn.policy import recipe  # noqa: E402
from dex_learn.policy.actors import TrunkActor  # noqa: E402
from dex_learn.policy.codes import make_codes  # noqa: E402
from dex_learn.policy.collect import Collector, Disturbance  # noqa: E402
from dex_learn.policy.compare import DEMONSTRATED  # noqa: E402
from dex_learn.policy.layout import DAGGER_SEEDS, DEMO_SEEDS, HAND_STEPS, OBJECTS, OF_TASK, PREVIOUS_STEPS, SIDES, STEPS, TASKS  # noqa: E402
from dex_learn.policy.records import COLUMNS, Records  # noqa: E402
from dex_learn.policy.stills import make_stills  # noqa: E402
from dex_learn.policy.train import Sentences, States, fit_basis  # noqa: E402
from dex_learn.policy.trunk import Trunk  # noqa: E402
from dex_learn.policy.workshop import Workshop  # noqa: E402
from dex_sim.lockstep import LockstepCell, Observation, ToolChunk  # noqa: E402

QUICK = Disturbance(length_s=(1.0, 1.4), stray=0.5)


def hold(seen: Observation, task: str) -> ToolChunk:
    """A teacher that keeps everything where it is, a little higher for the rest pose."""
    up = np.array([0.0, 0.0, 0.01 if task == "rest" else 0.0, 0.0])
    return ToolChunk(np.tile(seen.tool_poses + up, (STEPS, 1, 1)), {s: np.tile(seen.joints[f"{s}_hand"], (STEPS, 1)) for s in SIDES})


@pytest.fixture(scope="module")
def lockstep() -> LockstepCell:
    return LockstepCell(load_cell("xarm_bimanual", left_hand="leap", right_hand="leap"), render=False)


@pytest.mark.parametrize("task", list(OF_TASK))
def test_an_episode_is_its_seed(lockstep: LockstepCell, task: str) -> None:
    records, _ = Collector(lockstep, hold, QUICK).episode(3, task)
    again, _ = Collector(lockstep, hold, QUICK).episode(3, task)
    assert all(np.array_equal(getattr(records, name), getattr(again, name)) for name in COLUMNS)
    n = len(records)
    assert n >= 5 and records.hand == "leap" and set(records.group) == {3}
    assert records.paths.shape == (n, STEPS, 2, 4) and records.hands.shape == (n, len(HAND_STEPS), 2, 16)
    assert records.previous.shape == (n, len(PREVIOUS_STEPS), 2, 16)
    shown = [name in OF_TASK[task] for name in OBJECTS]
    assert records.there.tolist() == [shown] * n and not records.objects[:, ~np.array(shown)].any()
    assert {TASKS[t] for t in records.task} <= {task, "rest"}
    labels = records.paths[:, 0] - records.tools
    assert np.allclose(labels[..., 2], np.where(records.task == TASKS.index("rest"), 0.01, 0.0)[:, None], atol=1e-5)


def test_the_actor_is_told_what_was_done_before(lockstep: LockstepCell) -> None:
    seen: list[np.ndarray] = []

    def actor(observation: Observation, task: str, previous: np.ndarray) -> ToolChunk:
        seen.append(previous)
        chunk = hold(observation, task)
        return dataclasses.replace(chunk, hands={s: chunk.hands[s] + 0.01 * len(seen) for s in SIDES})

    records, _ = Collector(lockstep, hold, dataclasses.replace(QUICK, stray=0.0, length_s=(2.0, 2.1))).episode(4, "push_cans", actor)
    assert len(seen) >= 2 and np.ptp(seen[0], axis=0).max() == 0.0 and not np.allclose(seen[0], seen[1])
    assert np.allclose(records.previous[-1], seen[-1][list(PREVIOUS_STEPS)], atol=1e-5) or not np.allclose(
        records.previous[-1], seen[0][0], atol=1e-5
    )


def test_a_trunk_acts_with_the_hand_it_is_given(lockstep: LockstepCell) -> None:
    torch.manual_seed(0)
    records, _ = Collector(lockstep, hold, QUICK).episode(5, "push_cans")
    codes = make_codes("joints", ["leap"], SIDES)
    states = States.of([records], codes)
    actor = TrunkActor(Trunk(fit_basis([records], states)), {s: codes[f"{s}_leap"] for s in SIDES}, Sentences.of([["push"], ["lemons"], ["rest"]]))
    lockstep.reset(7, "push_cans")
    observation = lockstep.observe(image=False)
    chunk = actor(observation, "push_cans", np.tile(np.stack([observation.joints[f"{s}_hand"] for s in SIDES]), (STEPS, 1, 1)))
    assert chunk.tool_poses.shape == (STEPS, 2, 4) and chunk.hands["left"].shape == (STEPS, 16)
    low = [m.lower_rad for m in lockstep.cell.interface("left_hand").limits]
    assert (chunk.hands["left"] >= np.array(low) - 1e-9).all()


def test_stopped_demonstrations_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "Teacher", lambda cell: hold)
    monkeypatch.setattr(recipe, "PER_FILE", 2)
    shop = Workshop(tmp_path, space=tmp_path)
    short = Disturbance(length_s=(0.4, 0.5), stray=0.0)
    added = recipe.collect(shop, "demos", "push_cans", "inspire", range(0, 4), short)
    files = shop.files([("push_cans", "inspire")])
    assert added > 0 and [f.name for f in files] == ["episodes_000000.npz", "episodes_000002.npz"] and shop.files([("push_cans", "leap")]) == []
    before = files[0].stat().st_mtime_ns
    files[1].unlink()
    assert 0 < recipe.collect(shop, "demos", "push_cans", "inspire", range(0, 4), short) < added
    assert files[0].stat().st_mtime_ns == before and recipe.collect(shop, "demos", "push_cans", "inspire", range(0, 4), short) == 0
    assert {int(g) for f in files for g in Records.load(f).group} == {0, 1, 2, 3}


def test_seeds_of_demonstrations_and_rounds_stay_in_their_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, range]] = []
    monkeypatch.setattr(recipe, "collect", lambda shop, source, task, hand, seeds, *a, **k: asked.append((task, hand, seeds)))
    shop = Workshop(tmp_path, space=tmp_path)
    recipe.make_demos(shop, 160)
    for task in OF_TASK:
        seeds = [s for t, _, r in asked if t == task for s in r]
        assert len(seeds) == len(set(seeds)) == 480 and min(seeds) >= DEMO_SEEDS[0] and max(seeds) < DEMO_SEEDS[1]
    assert [(t, h) for t, h, _ in asked] == list(DEMONSTRATED)
    with pytest.raises(DexError, match="kept for scores"):
        recipe.make_demos(shop, 400)
    with pytest.raises(DexError, match="no trained latents policy"):
        recipe.play_round(shop, "latents", 1, 20, eyes=False)
    assert DAGGER_SEEDS[0] + recipe.SEEDS_PER_ROUND <= DAGGER_SEEDS[1]


def test_made_up_states_show_each_task_with_its_objects_on_the_table_or_held(lockstep: LockstepCell) -> None:
    stills = make_stills(lockstep, 24, 5)
    again = make_stills(lockstep, 3, 5)
    assert np.array_equal(stills.qpos[:3], again.qpos)
    assert stills.there[0].tolist() == [True, True, False, False, False] and stills.there[1].tolist() == [False, False, True, True, True]
    cans, fruits = stills.objects[::2], stills.objects[1::2]
    assert np.allclose(cans[:, :2, 2], 0.0505) and (cans[:, 0, 1] > cans[:, 1, 1]).all() and not cans[:, 2:].any()
    assert (fruits[:, 4, 2] == 0.03).all() and (fruits[:, 2:4, 2] > 0.06).any() and (fruits[:, 2:4, 2] < 0.03).any()


def test_an_empty_workshop_says_what_to_run(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, space=tmp_path)
    with pytest.raises(DexError, match="dex learn policy demos"):
        shop.pictures()
    with pytest.raises(DexError, match="dex learn policy demos"):
        shop.records()
    with pytest.raises(DexError, match="dex learn policy train"):
        recipe.policy_of(shop, "latents")


def test_steps_are_counted_over_restarts() -> None:
    assert recipe._steps([{"step": 100}, {"step": 150}, {"step": 50}, {"step": 60}]) == 210
