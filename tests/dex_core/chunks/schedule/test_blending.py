# SPDX-License-Identifier: Apache-2.0
"""Blends, seams and the track: nothing that is followed ever jumps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.chunks import BlendLimits, Schedule, ScheduleSettings, Spline, blend_duration, seam_between
from dex_core.chunks.schedule import Blending

NS = 1_000_000_000
DT_S = 0.05
LIMITS = BlendLimits(np.full(2, 2.0), np.full(2, 20.0))
SETTINGS = ScheduleSettings(0.25, LIMITS)


def wave(start_ns: int, phase: float, steps: int = 64) -> Spline:
    t = np.arange(steps) * DT_S
    return Spline(start_ns, DT_S, np.stack([0.3 * np.sin(t + phase), 0.3 * np.cos(1.3 * t + phase)], axis=1))


def follow(track: Schedule, first_ns: int, last_ns: int) -> np.ndarray:
    return np.stack([track.at(t).position_rad for t in range(first_ns, last_ns, 10_000_000)])


@given(
    arrivals=st.lists(st.integers(5, 900), min_size=1, max_size=6), phases=st.lists(st.floats(-3, 3), min_size=6, max_size=6),
    blend_s=st.floats(0.05, 0.5),
)
def test_what_is_followed_has_no_jump_and_no_step_of_speed(arrivals, phases, blend_s):
    track = Blending(0, np.array([0.1, -0.1]), ScheduleSettings(blend_s, LIMITS))
    now = 0
    way = []
    for wait_ms, phase in zip(arrivals, phases, strict=False):
        accepted = track.accept(wave(now - 200_000_000, phase), now)
        assert accepted.command_seam.position_jump_rad < 1e-9
        assert accepted.command_seam.velocity_step_rad_s < 1e-9
        assert accepted.command_seam.acceleration_step_rad_s2 < 1e-6
        last = now + wait_ms * 1_000_000
        way.append(follow(track, now, last))
        now += len(way[-1]) * 10_000_000
    steps = np.abs(np.diff(np.concatenate(way), axis=0))
    assert steps.size == 0 or steps.max() <= (2.0 + 1.0) * 0.01 + 1e-3  # the blend's share twice over, and the wave


def test_after_the_blend_it_is_the_new_chunk_exactly():
    track = Blending(0, np.zeros(2), SETTINGS)
    plan = wave(0, 0.0)
    accepted = track.accept(plan, 0)
    after = round((accepted.blend_s + 0.001) * NS)
    np.testing.assert_array_equal(track.at(after).position_rad, plan.at(after).position_rad)
    assert track.end_ns == plan.end_ns and track.plan is plan


def test_the_part_already_past_is_skipped():
    track = Blending(0, np.zeros(2), SETTINGS)
    accepted = track.accept(wave(-NS, 0.0), 0)
    assert accepted.steps_skipped == 20


def test_the_seam_is_that_of_the_plans_not_of_the_blend():
    track = Blending(0, np.array([0.0, 0.0]), SETTINGS)
    track.accept(Spline(0, DT_S, np.linspace([0.0, 0.0], [1.0, 0.0], 21)), 0)
    accepted = track.accept(Spline(0, DT_S, np.linspace([0.1, 0.0], [1.1, 0.4], 21)), NS // 2)
    assert accepted.seam.position_jump_rad == pytest.approx(0.2)
    assert accepted.seam.velocity_step_rad_s == pytest.approx(0.4)
    assert seam_between(wave(0, 0.0), wave(0, 0.0), 3).position_jump_rad == 0.0


def test_chunks_that_come_in_quick_succession_do_not_nest_for_ever():
    track = Blending(0, np.zeros(2), SETTINGS)
    for k in range(200):
        track.accept(wave(k * 10_000_000, 0.01 * k), k * 10_000_000)
    depth, followed = 0, track._followed
    while hasattr(followed, "old"):
        depth, followed = depth + 1, followed.old
    assert depth <= 2


def test_a_wider_gap_is_blended_for_longer():
    assert blend_duration(np.zeros(2), 0.25, LIMITS) == 0.25
    long = blend_duration(np.array([0.5, 0.0]), 0.25, LIMITS)
    assert long == pytest.approx(0.5 * 1.875 / 1.0)
