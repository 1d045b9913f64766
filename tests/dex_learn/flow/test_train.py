# SPDX-License-Identifier: Apache-2.0
"""A small flow learns two ways around an obstacle, and with simulated delays continues the one it is given."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dex_core.policy.flow import sample
from dex_core.policy.flow_guidance import Before
from dex_core.policy.flow_testing import Mixture, around_an_obstacle
from dex_learn.flow.net import Encoder, FlowHead
from dex_learn.flow.train import FlowTraining, flow_loss, train_flow

HORIZON = 8


class Learnt:
    """A trained step as a Flow."""

    guides = False

    def __init__(self, step: FlowHead, features: torch.Tensor) -> None:
        self.conditioned, self._step, self._features = step.row_times, step, features

    def velocity(self, x, times):
        time = torch.from_numpy(times)[None] if self.conditioned else torch.from_numpy(times[:1])
        with torch.no_grad():
            return self._step(torch.from_numpy(x)[None], time, self._features)[0].numpy()


def trained(longest_delay: int) -> tuple[Learnt, list[float]]:
    torch.manual_seed(0)
    modes = torch.from_numpy(around_an_obstacle(HORIZON).astype(np.float32))
    chunks = modes.repeat(200, 1, 1) + 0.02 * torch.randn(400, HORIZON, 2)
    seen = torch.zeros(400, 1)
    prefix, step = Encoder(1, 32), FlowHead(HORIZON, 2, 32, 1, row_times=longest_delay > 0)
    curve = train_flow(prefix, step, seen, chunks, FlowTraining(500, 64, 4e-3, longest_delay))
    return Learnt(step, prefix(seen[:1]).detach()), curve


def test_delays_leave_what_is_given_alone_and_are_not_judged():
    class Spy(torch.nn.Module):
        def forward(self, x, time, features):
            self.x, self.time = x, time
            return torch.zeros_like(x)

    spy, chunk = Spy(), torch.randn(200, HORIZON, 2)
    loss = flow_loss(spy, torch.zeros(200, 1), chunk, torch.Generator().manual_seed(0), 3)
    given = spy.time == 1.0
    counts = given.sum(dim=1)
    assert set(counts.tolist()) == {0, 1, 2, 3} and all((row[:-1] >= row[1:]).all() for row in given.int())
    torch.testing.assert_close(spy.x[given], chunk[given])
    assert float(loss) == pytest.approx(2.0, abs=0.4)  # of chunk less noise, each of variance 1, over the other rows alone


@pytest.fixture(scope="module")
def learnt() -> dict[int, tuple[Learnt, list[float]]]:
    return {delay: trained(delay) for delay in (0, 3)}


@pytest.mark.parametrize("delay", [0, 3])
def test_both_ways_are_learnt(learnt, delay):
    flow, curve = learnt[delay]
    modes = Mixture(around_an_obstacle(HORIZON))
    chunks = [sample(flow, np.random.default_rng(s).standard_normal((HORIZON, 2)).astype(np.float32), 10).actions for s in range(40)]
    ways = [modes.mode_of(chunk) for chunk in chunks]
    assert curve[-1] < 0.6 * curve[0] and 8 <= sum(ways) <= 32
    assert np.median([np.abs(chunk - modes.modes[way]).max() for chunk, way in zip(chunks, ways, strict=True)]) < 0.25


@pytest.mark.parametrize("mode", [0, 1])
def test_a_flow_trained_with_delays_goes_on_the_way_it_is_given(learnt, mode):
    flow, modes = learnt[3][0], Mixture(around_an_obstacle(HORIZON))
    before = Before(modes.modes[mode], 3, 5)
    noises = [np.random.default_rng(s).standard_normal((HORIZON, 2)).astype(np.float32) for s in range(40)]
    ways = [modes.mode_of(sample(flow, noise, 10, before).actions) for noise in noises]
    assert sum(way != mode for way in ways) <= 2
