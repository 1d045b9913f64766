# SPDX-License-Identifier: Apache-2.0
"""``dex bench chunking``: the gate in lockstep, what its figures mean, and that episodes repeat and are kept."""
from __future__ import annotations

import argparse
import dataclasses
import math

import numpy as np
import pytest

from dex_bringup.bench import chunking as bench
from dex_bringup.bench.chunking_cell import ChunkingCell, Episode, Setting
from dex_bringup.bench.chunking_figures import compared, draw, row_of, table
from dex_bringup.bench.chunking_gate import GateExecutor
from dex_core.chunks import SCHEDULES, Seam
from dex_core.config import load_cell
from dex_core.errors import DexError
from dex_sim.executor import INTERFACES
from dex_sim.lockstep import LockstepCell

CELL = load_cell("xarm_bimanual")
HOME = np.concatenate([np.array(CELL.interface(name).home) for name in INTERFACES])


def with_schedule(name: str, **control: float):
    return dataclasses.replace(CELL, control=dataclasses.replace(CELL.control, schedule=name, **control))


def ramp(speed: float, stamp_s: float, joint: int = 0) -> np.ndarray:
    """(64, 26) one joint moves at ``speed`` since time 0, whenever the chunk is from."""
    times = stamp_s + 0.05 * np.arange(1, 65)
    return HOME + speed * times[:, None] * (np.arange(26) == joint)


@pytest.fixture(scope="module")
def lockstep():
    executor = GateExecutor(CELL)
    return LockstepCell(CELL, render=False, executor=executor), executor


@pytest.mark.parametrize("schedule", ["asynchronous", "blending", "real_time", "ensemble"])
def test_the_gate_follows_chunks_by_time_and_chunks_that_agree_leave_no_seam(lockstep, schedule):
    cell, executor = lockstep
    executor.cell = with_schedule(schedule)
    cell.reset(0)
    for stamp_s, late_s in ((0.0, 0.04), (0.8, 0.1), (1.6, 0.1)):  # the first before its first action: one that is late begins there all the same
        cell.advance(late_s)
        cell.accept(ramp(0.2, stamp_s), stamp_s)
        cell.advance(0.8 - late_s)
    assert cell.world.targets("left_arm")[0] - HOME[0] == pytest.approx(0.2 * 2.39, abs=2e-3)
    assert len(executor.seams()) == 2 == len(executor.plan_seams) and not executor.refused and not executor.ended
    assert max(seam.velocity_step_rad_s for seam in executor.seams()) < 1e-9
    assert executor.rest_share() < 0.1


def test_a_cell_that_stands_between_chunks_has_two_seams_for_each(lockstep):
    cell, executor = lockstep
    executor.cell = with_schedule("synchronous", execution_horizon_s=0.5)
    cell.reset(0)
    cell.accept(ramp(0.2, 0.0), 0.0)
    cell.advance(1.0)
    cell.accept(ramp(0.2, 0.5), 0.8)  # observed while it stood; it goes on where it stands
    cell.advance(1.2)
    ran_out, went_on = executor.seams()
    assert min(ran_out.velocity_step_rad_s, went_on.velocity_step_rad_s) > 0.05
    assert 0.3 < executor.rest_share() < 0.9


def test_late_and_broken_chunks_are_counted_and_do_not_move_it(lockstep):
    cell, executor = lockstep
    executor.cell = with_schedule("blending")
    cell.reset(0)
    cell.accept(ramp(0.0, 0.0), 0.0)
    cell.advance(2.0)
    cell.accept(ramp(1.0, 0.0), 0.0)  # 2 s old
    cell.accept(ramp(0.0, 0.0) + 3.0, 2.0)
    cell.advance(0.5)
    assert dict(executor.refused) == {"late": 1, "limit": 1}
    assert executor.seams() == [] and np.allclose(cell.world.targets("left_arm"), HOME[:7])
    cell.advance(1.5)
    assert executor.ended.startswith("chunk_starved")


def episode(step: float, success: bool = True, **changes) -> Episode:
    seams = (Seam(0.01, step, 1.0, 10.0), Seam(0.03, 3.0 * step, 1.0, 30.0))
    return dataclasses.replace(Episode(success, 5.0, "", 6, {"late": 1, "limit": 2}, seams, seams[:1], 0.25, 12.0), **changes)


def test_a_row_says_what_its_episodes_were():
    row = row_of(Setting("blending", 0.2), [episode(0.1), episode(0.1, False, ended="chunk_starved: nothing came", time_s=20.0)])
    assert (row["successes"], row["success_rate"], row["time_p50_s"]) == (1, 0.5, 5.0)
    assert row["velocity_step_rad_s_mean"] == pytest.approx(0.2) and row["plan_velocity_step_rad_s_mean"] == pytest.approx(0.1)
    assert (row["seams"], row["plan_seams"], row["chunks"], row["chunks_late"]) == (4, 2, 12, 2)
    assert row["given_up"] == {"chunk_starved": 1} and row["chunks_refused"] == {"late": 2, "limit": 4}
    bare = row_of(Setting("blending", 0.0), [Episode(False, 20.0, "", 0)])
    assert math.isnan(bare["velocity_step_rad_s_mean"]) and math.isnan(bare["time_p50_s"])


def test_a_schedule_is_held_against_the_synchronous_one_at_the_same_latency(tmp_path):
    rows = [row_of(Setting(name, 0.2), [episode(step)]) for name, step in (("synchronous", 0.4), ("blending", 0.02))]
    rows += [row_of(Setting("blending", 0.2, True), [episode(9.0)]), row_of(Setting("synchronous", 0.4), [episode(9.0)])]
    found = compared(rows, "blending", 200)
    assert found == pytest.approx({"blending_velocity_step_ratio": 0.05, "blending_velocity_step_p95_ratio": 0.05, "blending_success_gain": 0.0})
    assert compared(rows, "real_time", 200) == {} == compared(rows[1:], "blending", 200)
    assert table(rows).count("\n") == 5 and "200 ms + spikes" in table(rows)
    draw(tmp_path / "seams.png", rows, "a title")
    assert (tmp_path / "seams.png").read_bytes().startswith(b"\x89PNG")


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cell", default="xarm_bimanual")
    bench.add_arguments(parser)
    parser.format_help()
    return parser.parse_args(list(words))


class FakeCell:
    """Plays at once; the blending one smoothly."""

    played: list = []

    def __init__(self, cell):
        pass

    def play(self, setting, seed, task, time_limit_s):
        self.played.append((str(setting), seed))
        return episode(0.4 if setting.schedule == "synchronous" else 0.02)

    def close(self):
        pass


def test_all_schedules_meet_all_latencies_and_what_was_played_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "ChunkingCell", FakeCell)
    monkeypatch.setattr(FakeCell, "played", [])
    words = ("--episodes", "2", "--work", str(tmp_path / "episodes.json"), "--plot", str(tmp_path / "seams.png"))
    report = bench.run(options(*words), lambda text: None)
    assert len(FakeCell.played) == 2 * len(SCHEDULES) * (6 + 5) == len(set(FakeCell.played))  # spikes of no latency are no latency
    assert report.missed == [] and report.figures["blending_velocity_step_ratio"] == pytest.approx(0.05)
    again = bench.run(options(*words), lambda text: None)
    assert len(FakeCell.played) == 2 * len(SCHEDULES) * 11
    assert again.figures == report.figures


def test_a_goal_is_missed_without_its_figures(monkeypatch):
    monkeypatch.setattr(bench, "ChunkingCell", FakeCell)
    report = bench.run(options("--episodes", "1", "--schedules", "blending", "--latencies", "100", "--steady"), lambda text: None)
    assert len(report.missed) == 3


@pytest.mark.parametrize("words", [
    ("--schedules", "blending,sideways"), ("--schedules", ""), ("--latencies", "fast"), ("--latencies", "-1"), ("--latencies", ""),
    ("--episodes", "0"), ("--first-seed", "10"), ("--first-seed", "1995"),
])
def test_bad_arguments_are_refused(words):
    with pytest.raises(DexError):
        bench.run(options(*words), lambda text: None)


@pytest.mark.render
def test_an_episode_with_the_shipped_policy_repeats_whatever_was_played_before():
    cell = ChunkingCell(CELL)
    try:
        first, other, again = (cell.play(Setting(name, 0.2, True), 1000, "push_cans", 1.3) for name in ("blending", "synchronous", "blending"))
    finally:
        cell.close()
    assert first == again != other
    assert first.chunks == 2 and len(first.seams) == 1 and not first.ended


def test_kept_episodes_are_not_taken_for_those_of_mixed_chunks(tmp_path, capsys):
    from dex_bringup.cli import main

    assert main(["bench", "chunking", "--quick", "--policy-ensemble", "0.01", "--work", str(tmp_path / "kept.json")]) != 0
    assert "--work" in capsys.readouterr().err and not (tmp_path / "kept.json").exists()
