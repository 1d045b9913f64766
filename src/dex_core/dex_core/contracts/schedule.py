# SPDX-License-Identifier: Apache-2.0
"""What every Schedule must do, over random chunks that come early, late, often and seldom. Inherit the class in a test file and say which:

    class TestMySchedule(ScheduleContract):
        kind = MySchedule
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import numpy as np
import pytest

from dex_core.chunks import SCHEDULES, Accepted, BlendLimits, ChunkRefused, Schedule, ScheduleSettings, Spline
from dex_core.clock import NS
from dex_core.types import Array

JOINTS = 3
TICK_NS = 10_000_000
SETTINGS = ScheduleSettings(0.25, BlendLimits(np.full(JOINTS, 2.0), np.full(JOINTS, 20.0)), ensemble_decay=0.1, execution_horizon_s=0.4)
SEEDS = range(6)
START_NS = 7 * NS
LASTS_S = 2.0
"""Chunks of one policy are of about one length."""


class Event(NamedTuple):
    """One chunk that was accepted: by a schedule that followed ``before`` until then."""

    schedule: Schedule
    plan: Spline
    now_ns: int
    before: Array
    velocity_before: Array
    accepted: Accepted


class ScheduleContract:
    """What a subclass says of its schedule.

    Attributes:
        kind: the schedule.
        meets_position, meets_velocity: a new chunk takes over without a step in them.
        by_time: what is followed at a time is what chunks say for that time; otherwise a chunk begins when it comes, and never goes back.
        overshoot_rad: how far beyond everything that chunks asked for it may carry on, before it turns.
        exact_rad: how far from the newest chunk it may be where that alone is followed.
    """

    kind: ClassVar[type[Schedule]]
    meets_position: ClassVar[bool] = True
    meets_velocity: ClassVar[bool] = True
    by_time: ClassVar[bool] = True
    overshoot_rad: ClassVar[float] = 0.0
    exact_rad: ClassVar[float] = 1e-12

    def test_is_registered_under_its_name_with_its_source(self) -> None:
        assert SCHEDULES[self.kind.name] is self.kind and self.kind.source

    def test_a_new_one_is_empty_and_rests_for_ever(self) -> None:
        rest = np.array([0.1, -0.2, 0.3])
        schedule = self.kind(START_NS, rest, SETTINGS)
        assert schedule.chunks == 0
        for time_ns in (START_NS - NS, START_NS, START_NS + 100 * NS):
            point = schedule.at(time_ns)
            np.testing.assert_array_equal(point.position_rad, rest)
            assert not point.velocity_rad_s.any() and not point.acceleration_rad_s2.any()

    def test_two_goals_share_nothing(self) -> None:
        """A reset or another instruction makes a new schedule; what the old one was given never shows in it."""
        old = self.kind(START_NS, np.zeros(JOINTS), SETTINGS)
        old.accept(Spline(START_NS, 0.05, np.linspace(0.0, 1.0, 20)[:, None] * np.ones(JOINTS)), START_NS)
        self.test_a_new_one_is_empty_and_rests_for_ever()

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_chunk_takes_over_as_promised(self, seed: int) -> None:
        for event in self.events(seed):
            after = event.schedule.at(event.now_ns)
            seam = event.accepted.command_seam
            if self.meets_position:
                np.testing.assert_allclose(after.position_rad, event.before, atol=1e-9)
                assert seam.position_jump_rad < 1e-9
            if self.meets_velocity:
                np.testing.assert_allclose(after.velocity_rad_s, event.velocity_before, atol=1e-7)
                assert seam.velocity_step_rad_s < 1e-7
            assert all(math.isfinite(value) and value >= 0.0 for value in (*event.accepted.seam, *seam))

    @pytest.mark.parametrize("seed", SEEDS)
    def test_between_chunks_nothing_jumps(self, seed: int) -> None:
        for event, times in self.stretches(seed):
            way = np.array([event.schedule.at(t).position_rad for t in times])
            velocity = np.array([event.schedule.at(t).velocity_rad_s for t in times])
            fastest = np.abs(velocity).max(initial=0.0) + 20.0 * TICK_NS / NS
            assert np.abs(np.diff(way, axis=0)).max(initial=0.0) <= 2.0 * fastest * TICK_NS / NS + 1e-9

    @pytest.mark.parametrize("seed", SEEDS)
    def test_velocity_and_acceleration_are_the_derivatives(self, seed: int) -> None:
        h = 1000
        for event, times in self.stretches(seed):
            for t in times[1:-1:7]:
                before, here, after = (event.schedule.at(int(t) + d) for d in (-h, 0, h))
                difference = (after.position_rad - before.position_rad) / (2 * h / NS)
                np.testing.assert_allclose(difference, here.velocity_rad_s, atol=1e-2)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_it_is_a_function_of_time_whatever_was_asked_before(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for event, times in self.stretches(seed):
            forward = {int(t): event.schedule.at(int(t)).position_rad for t in times}
            for t in rng.permutation(times):
                np.testing.assert_array_equal(event.schedule.at(int(t)).position_rad, forward[int(t)])

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_chunk_whose_first_action_is_still_to_come_stops_nothing(self, seed: int) -> None:
        """All chunks say the same motion; they come before they begin."""
        rng, now_ns, way = np.random.default_rng(seed), START_NS, []
        schedule = self.kind(now_ns, np.zeros(JOINTS), SETTINGS)
        for _ in range(4):
            start_ns, steps = now_ns + round(rng.uniform(0.0, 0.08) * NS), 40
            knots = 0.4 * ((start_ns - START_NS) / NS + 0.05 * np.arange(steps))[:, None] * np.ones(JOINTS)
            if not self.kind.asks_standing or not schedule.chunks:
                schedule.accept(Spline(start_ns, 0.05, knots), now_ns)
            ahead = range(now_ns, now_ns + round(0.3 * NS), TICK_NS)
            way += [float(schedule.at(t).position_rad[0]) for t in ahead]
            now_ns = ahead[-1] + TICK_NS
        speed = np.diff(way)[60:] / (TICK_NS / NS)
        assert (speed >= 0.39).all() or self.kind.asks_standing

    @pytest.mark.parametrize("seed", SEEDS)
    def test_it_stays_within_what_was_asked_for(self, seed: int) -> None:
        low = high = np.zeros(JOINTS)
        for event, times in self.stretches(seed):
            knots = event.schedule.plan.knots_rad
            low, high = np.minimum(low, knots.min(axis=0)), np.maximum(high, knots.max(axis=0))
            for t in times:
                position = event.schedule.at(t).position_rad
                assert (position >= low - self.overshoot_rad - 1e-9).all() and (position <= high + self.overshoot_rad + 1e-9).all()

    @pytest.mark.parametrize("seed", SEEDS)
    def test_in_the_end_the_newest_chunk_alone_is_followed(self, seed: int) -> None:
        for event in self.events(seed):
            for ahead_s in (0.001, 0.2, 10.0):
                t = event.now_ns + round((event.accepted.blend_s + ahead_s) * NS)
                followed, planned = event.schedule.at(t).position_rad, event.schedule.plan.at(t).position_rad
                np.testing.assert_allclose(followed, planned, rtol=0.0, atol=self.exact_rad)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_what_is_past_is_skipped_and_never_replayed(self, seed: int) -> None:
        """All chunks say the same: be at ``rate * t`` at time t. Then what is followed tells which action it is."""
        rng, rate, latest = np.random.default_rng(seed), 0.5, -0.15
        schedule, now_ns = self.kind(START_NS, np.full(JOINTS, rate * latest), SETTINGS), START_NS
        for _ in range(6):
            dt_s, late_s = rng.uniform(0.02, 0.1), rng.uniform(0.0, 0.15)
            steps = math.ceil((late_s + rng.uniform(1.0, 2.0)) / dt_s)
            start_ns = now_ns - round(late_s * NS)
            knots = rate * ((start_ns - START_NS) / NS + dt_s * np.arange(steps))[:, None] * np.ones(JOINTS)
            try:
                accepted = schedule.accept(Spline(start_ns, dt_s, knots), now_ns)
            except ChunkRefused:
                now_ns += 100_000_000
                continue
            assert accepted.steps_skipped == (math.ceil(late_s / dt_s - 1e-6) if self.by_time else 0)
            for t in range(now_ns, now_ns + round(0.4 * NS), TICK_NS):
                told = float(schedule.at(t).position_rad[0]) / rate
                assert told >= latest - 1e-6, "time does not go back"
                if self.by_time and now_ns + round(accepted.blend_s * NS) <= t <= schedule.end_ns:
                    assert told == pytest.approx((t - START_NS) / NS, abs=1e-6 + self.exact_rad / rate), "nothing is executed late"
                latest = told
            now_ns += round(rng.uniform(0.1, 0.4) * NS)
            latest = float(schedule.at(now_ns).position_rad[0]) / rate

    @pytest.mark.parametrize("seed", SEEDS)
    def test_the_policy_is_to_be_asked_in_time(self, seed: int) -> None:
        for event in self.events(seed):
            ask_ns = event.schedule.ask_at_ns(0.2)
            if self.kind.asks_standing:
                assert event.schedule.end_ns < ask_ns < event.schedule.starved_ns
            else:
                assert ask_ns + round(0.2 * NS) == event.schedule.end_ns <= event.schedule.starved_ns

    def test_what_it_keeps_does_not_grow(self) -> None:
        sizes = []
        schedule = self.kind(START_NS, np.zeros(JOINTS), SETTINGS)
        for k in range(120):
            now_ns = max(START_NS + k * 30_000_000, schedule.ask_at_ns(0.0) if self.kind.asks_standing and k else 0)
            schedule.accept(Spline(now_ns, 0.05, 0.1 * np.sin(0.1 * np.arange(64) + k)[:, None] * np.ones(JOINTS)), now_ns)
            sizes.append(len(pickle.dumps(schedule)))
        assert max(sizes[60:]) <= max(sizes[:60]) * 1.05 + 1000

    def events(self, seed: int) -> Iterator[Event]:
        """Random chunks, each made from where the cell is when it is observed, each some time late."""
        rng = np.random.default_rng(seed)
        schedule, now_ns = self.kind(START_NS, np.zeros(JOINTS), SETTINGS), START_NS
        for _ in range(8):
            observed_ns = max(now_ns, schedule.ask_at_ns(0.0)) if self.kind.asks_standing and schedule.chunks else now_ns
            now_ns = observed_ns + int(rng.integers(0, 300)) * 1_000_000
            plan = self.chunk(rng, schedule.at(observed_ns).position_rad, observed_ns + round(rng.uniform(0.0, 0.08) * NS))
            point = schedule.at(now_ns)
            yield Event(schedule, plan, now_ns, point.position_rad, point.velocity_rad_s, schedule.accept(plan, now_ns))
            now_ns += int(rng.integers(1, 600)) * 1_000_000

    def stretches(self, seed: int) -> Iterator[tuple[Event, Array]]:
        """Each event with the ticks of half a second, from the chunk's first action on [ns]."""
        for event in self.events(seed):
            from_ns = max(event.now_ns, event.schedule.plan.start_ns)
            yield event, np.arange(from_ns, from_ns + round(0.5 * NS), TICK_NS)

    @staticmethod
    def chunk(rng: np.random.Generator, from_rad: Array, start_ns: int) -> Spline:
        """A smooth random way from about ``from_rad``: what a policy would say that saw the cell a little off."""
        dt_s = float(rng.uniform(0.03, 0.08))
        t = np.arange(math.ceil(LASTS_S / dt_s))[:, None] * dt_s
        wave = rng.uniform(0.05, 0.4, JOINTS) * (np.sin(rng.uniform(0.5, 3.0, JOINTS) * t + (phase := rng.uniform(-3, 3, JOINTS))) - np.sin(phase))
        return Spline(start_ns, dt_s, from_rad + rng.normal(0.0, 0.02, JOINTS) + wave)
