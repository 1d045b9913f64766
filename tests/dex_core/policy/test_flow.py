# SPDX-License-Identifier: Apache-2.0
"""Sampling flows: real-time chunking keeps the mode that is committed, and is nothing at all where nothing binds."""

from __future__ import annotations

import numpy as np
import pytest

from dex_core.errors import ShapeError
from dex_core.policy.flow import sample
from dex_core.policy.flow_guidance import DECAYS, Before, Guidance, guidance_weight, prefix_weights
from dex_core.policy.flow_testing import Mixture, around_an_obstacle

HORIZON, STEPS = 16, 10


def noise_of(seed, shape=(HORIZON, 2)):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def before_of(mode=0, frozen=4, known=10):
    return Before(around_an_obstacle(HORIZON)[mode], frozen, known)


def test_closed_form_product_is_that_of_finite_differences():
    flow, x, before = Mixture(around_an_obstacle(6), 0.3), noise_of(1, (6, 2)), around_an_obstacle(6)[0]
    weights, times, h = np.linspace(1.0, 0.0, 6, dtype=np.float32), np.full(6, 0.6, np.float32), 1e-3

    def denoised(place):
        return place + 0.4 * flow._at(place, 0.6000000238418579)[3]

    error = weights[:, None] * (before - denoised(x.astype(np.float64)))
    product = np.zeros_like(error)
    for i in np.ndindex(error.shape):
        step = np.zeros_like(error)
        step[i] = h
        product[i] = ((denoised(x + step) - denoised(x - step)) / (2.0 * h) * error).sum()
    got = flow.guided(x, times, before.astype(np.float32), weights) - flow.velocity(x, times)
    np.testing.assert_allclose(got, product, atol=2e-4)


def test_plain_sampling_gives_either_mode_and_lands_on_it():
    flow, found = Mixture(around_an_obstacle(HORIZON)), []
    for seed in range(40):
        chunk = sample(flow, noise_of(seed), STEPS).actions
        found.append(flow.mode_of(chunk))
        assert np.abs(chunk - flow.modes[found[-1]]).max() < 0.3
    assert 10 <= sum(found) <= 30


def switched(flow, mode, before=None, guidance=None):
    """How many of a hundred chunks are another trajectory than ``mode``."""
    return sum(flow.mode_of(sample(flow, noise_of(seed), STEPS, before, guidance or Guidance()).actions) != mode for seed in range(100))


@pytest.mark.parametrize("mode", [0, 1])
def test_real_time_chunking_keeps_the_committed_mode_where_plain_sampling_switches(mode):
    flow = Mixture(around_an_obstacle(HORIZON))
    assert switched(flow, mode) >= 40
    assert switched(flow, mode, before_of(mode), Guidance("ones")) == 0
    assert switched(flow, mode, before_of(mode), Guidance("linear")) <= 2
    assert switched(flow, mode, before_of(mode), Guidance("exponential")) <= 5


def test_the_soft_mask_is_what_keeps_it_frozen_steps_alone_say_too_little():
    flow = Mixture(around_an_obstacle(HORIZON))
    assert switched(flow, 0, before_of(0), Guidance("zeros")) >= 10


@pytest.mark.parametrize(("steps", "within"), [(10, 0.12), (20, 0.02)])
def test_frozen_steps_are_met_by_the_guidance_and_put_exactly(steps, within):
    flow = Mixture(around_an_obstacle(HORIZON), 0.2)
    before = Before(around_an_obstacle(HORIZON)[0] + 0.1, 5, 10)  # half a standard deviation beside the mode
    near, far = [], []
    for seed in range(20):
        sampled = sample(flow, noise_of(seed), steps, before, Guidance(cap=steps))
        np.testing.assert_array_equal(sampled.actions[:5], before.actions[:5].astype(np.float32))
        near.append(sampled.missed)
        far.append(np.abs(sample(flow, noise_of(seed), steps).actions[:5] - before.actions[:5]).max())
    assert max(near) < within
    assert np.median(far) > 0.4


@pytest.mark.parametrize("before", [Before(around_an_obstacle(HORIZON)[0], 0, 0), before_of(frozen=0, known=9)])
def test_weights_of_zero_are_the_plain_sampler_bit_for_bit(before):
    flow = Mixture(around_an_obstacle(HORIZON))
    guidance = Guidance("zeros")
    assert not prefix_weights(before, "zeros").any()
    got = sample(flow, noise_of(3), STEPS, before, guidance)
    assert got.actions.tobytes() == sample(flow, noise_of(3), STEPS).actions.tobytes()


def test_a_pull_of_zero_is_the_plain_sampler_bit_for_bit_too():
    flow, before = Mixture(around_an_obstacle(HORIZON)), before_of()
    got = sample(flow, noise_of(3), STEPS, before, Guidance(cap=0.0)).actions
    assert got[before.frozen :].tobytes() == sample(flow, noise_of(3), STEPS).actions[before.frozen :].tobytes()


def test_a_flow_that_cannot_be_guided_is_sampled_plainly():
    flow = Mixture(around_an_obstacle(HORIZON), guides=False)
    assert sample(flow, noise_of(3), STEPS, before_of()).actions.tobytes() == sample(flow, noise_of(3), STEPS).actions.tobytes()
    assert flow.calls == 2 * STEPS


class Held:
    """Conditioned on the frozen rows: everything else goes straight to where the last of them is."""

    guides, conditioned = False, True

    def __init__(self):
        self.seen = []

    def velocity(self, x, times):
        self.seen.append((x.copy(), times.copy()))
        frozen = int((times == 1.0).sum())
        goal = x[frozen - 1] if frozen else np.zeros(x.shape[1], np.float32)
        return np.where(times[:, None] == 1.0, 7.0, (goal - x) / np.maximum(1.0 - times, 1e-6)[:, None]).astype(np.float32)


def test_a_conditioned_flow_sees_the_frozen_rows_at_time_one_in_every_step():
    flow, before = Held(), before_of(frozen=4)
    chunk = sample(flow, noise_of(5), STEPS, before).actions
    held = before.actions[:4].astype(np.float32)
    np.testing.assert_array_equal(chunk[:4], held)
    np.testing.assert_allclose(chunk[4:], np.tile(held[-1], (12, 1)), atol=1e-5)
    for k, (x, times) in enumerate(flow.seen):
        np.testing.assert_array_equal(x[:4], held)
        assert (times[:4] == 1.0).all() and np.allclose(times[4:], k / STEPS)


def test_a_conditioned_flow_without_a_chunk_before_starts_from_noise_alone():
    flow = Held()
    sample(flow, noise_of(5), STEPS)
    assert all(np.ptp(times) == 0.0 for _, times in flow.seen)


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize(("frozen", "known"), [(0, 0), (0, 16), (1, 15), (4, 4), (4, 10), (8, 8)])
def test_weights_fall_from_the_frozen_steps_to_the_end_of_the_overlap(decay, frozen, known):
    weights = prefix_weights(before_of(frozen=frozen, known=known), decay)
    assert (weights[:frozen] == 1.0).all() and (weights[known:] == 0.0).all()
    assert (np.diff(weights) <= 0.0).all() and ((weights >= 0.0) & (weights <= 1.0)).all()
    if decay == "linear" and frozen == 4 and known == 10:
        np.testing.assert_allclose(weights[4:10], (10 - np.arange(4, 10)) / 7.0)
    if decay == "ones":
        assert (weights[:known] == 1.0).all()
    if decay == "zeros":
        assert not weights[frozen:].any()


def test_exponential_weights_are_the_papers():
    weights = prefix_weights(before_of(frozen=4, known=10), "exponential")
    share = (10 - 6) / 7.0
    assert weights[6] == pytest.approx(share * (np.e**share - 1.0) / (np.e - 1.0))


def test_the_guidance_weight_is_capped_at_both_ends_and_two_in_the_middle():
    assert all(guidance_weight(time, 5.0) == 5.0 for time in (0.0, 0.01, 0.99, 1.0))
    assert guidance_weight(0.5, 5.0) == pytest.approx(2.0)
    assert guidance_weight(0.3, 5.0) == pytest.approx((0.7 / 0.3) * (0.3**2 + 0.7**2) / 0.7**2)


@pytest.mark.parametrize(("frozen", "known"), [(-1, 3), (5, 4), (4, 13), (9, 9), (0, 17)])
def test_d_at_most_s_at_most_h_less_d(frozen, known):
    with pytest.raises(ShapeError, match="d <= s <= H - d"):
        before_of(frozen=frozen, known=known)


def test_the_chunk_before_is_shifted_by_time():
    rows = np.stack([np.arange(10.0), -np.arange(10.0)], axis=1)
    whole = Before.shifted(rows, 3, 2)
    assert (whole.frozen, whole.known) == (2, 7)
    np.testing.assert_allclose(whole.actions[:7], rows[3:])
    between = Before.shifted(rows, 3.25, 2)
    assert between.known == 6
    np.testing.assert_allclose(between.actions[:6, 0], np.arange(6) + 3.25)
    assert Before.shifted(rows, 1, 4).known == 6  # as many stay free as are frozen
    assert Before.shifted(rows, 0.0, 0).known == 10
    assert Before.shifted(rows, 40.0, 0).known == 0
    with pytest.raises(ShapeError):
        Before.shifted(rows, 8, 3)  # two rows are left, three are frozen
    with pytest.raises(ShapeError):
        Before.shifted(rows, -1.0, 0)


def test_wrong_shapes_are_refused():
    flow = Mixture(around_an_obstacle(HORIZON))
    with pytest.raises(ShapeError, match="0 Euler steps"):
        sample(flow, noise_of(0), 0)
    with pytest.raises(ShapeError, match="the noise"):
        sample(flow, noise_of(0, (8, 2)), STEPS, before_of())
    with pytest.raises(ShapeError, match="decay"):
        Guidance("quadratic")
    with pytest.raises(ShapeError, match="cap"):
        Guidance(cap=float("inf"))
