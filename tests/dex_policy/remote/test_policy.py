# SPDX-License-Identifier: Apache-2.0
"""A cell's policy opened with its graphs on a server: the same chunks as without one, the server's health and times with them."""
from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from tests.dex_policy.remote.conftest import wait_for
from tests.dex_policy.remote.servers import BundleModel, HttpServer, on

from dex_core.errors import BundleError, ConfigError, DexError
from dex_core.policy import Observation, Policy
from dex_core.policy.runtime import mounted_hands
from dex_core.types import JointState
from dex_policy.loading import facts_of, open_policy
from dex_policy.serving import PolicyServer

TEXT = 'Push the two tomato cans together'
STAMP = 1_700_000_000_000_000_000


@pytest.fixture
def server(local, stack) -> HttpServer:
    made = HttpServer(BundleModel(local[1]))
    made.model.extensions = ['binary_tensor_data']
    stack.callback(made.stop)
    return made


@pytest.fixture
def opened(cell, server, stack):
    policy, bundle = open_policy(on(cell, server))
    stack.callback(policy.close)
    return policy, bundle


def observation(cell, bundle) -> Observation:
    joints = {n: JointState(i.names, np.array(i.home), np.zeros(len(i.names)), np.zeros(len(i.names)), STAMP) for n, i in cell.interfaces.items()}
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    return Observation(STAMP, {'front': image}, joints, TEXT, {}, mounted_hands(cell, bundle))


def test_the_same_chunk_with_the_servers_times(cell, local, opened):
    policy, bundle = opened
    assert isinstance(policy, Policy) and policy.spec.bundle_hash == local[1].hash and policy.spec.provider.startswith('oip http://')
    for one in (policy, local[0]):
        one.reset()
    there, here = (one.infer(observation(cell, local[1]), 'goal', 3) for one in (policy, local[0]))
    assert (there.chunk.goal_id, there.chunk.sequence) == ('goal', 3)
    for mine, theirs in zip(here.chunk.slices, there.chunk.slices, strict=True):
        np.testing.assert_array_equal(mine.data, theirs.data)
    timing = there.chunk.timing_ns
    stages = [timing[s] for s in ('request_sent', 'received')]
    assert stages == sorted(stages) and {'queued', 'inference_started', 'inferred'} <= set(timing) and set(there.stamps_ns) <= set(timing)
    assert facts_of(policy)['link'] == 'up' and facts_of(local[0]) == {}
    assert [r.ok for r in bundle.report if r.name != 'speed'] == [True] * (len(bundle.report) - 1)


def test_a_server_that_goes_takes_no_goal_with_it_and_none_after(cell, local, opened, server):
    serving = PolicyServer(opened[0], cell.policy)
    for hand in mounted_hands(cell, local[1]).values():
        serving.note_mounted(hand)
    serving.begin('g', TEXT)
    server.stop()
    with pytest.raises(DexError):
        opened[0].infer(observation(cell, local[1]))
    wait_for(lambda: serving.health(), 'the loss shows')
    serving.end('g')
    with pytest.raises(DexError, match='no connection') as refused:
        serving.begin('h', TEXT)
    assert refused.value.code == 'policy_lost' and serving.goal is None


def test_a_bundle_that_is_refused_leaves_no_connection_behind(cell, server, local):
    class Drifting(BundleModel):
        def infer(self, inputs):
            return {name: value + 0.01 for name, value in super().infer(inputs).items()}

    server.model = Drifting(local[1])
    before = threading.active_count()
    with pytest.raises(BundleError) as refused:
        open_policy(on(cell, server))
    assert refused.value.code == 'parity_failed'
    wait_for(lambda: not [t for t in threading.enumerate() if t.name == 'policy link'], f'threads end, {before} before')


def test_another_bundle_is_refused_before_its_answers_are_looked_at(cell, server, local):
    server.model.hash = server.model.version = '0' * 64
    with pytest.raises(BundleError, match=local[1].hash) as refused:
        open_policy(on(cell, server))
    assert refused.value.code == 'remote_mismatch'


def test_a_description_of_another_server_is_not_put_on_this_one(cell, server, tmp_path):
    (tmp_path / 'manifest.yaml').write_text('kind: remote_policy\n')
    mixed = on(cell, server)
    with pytest.raises(ConfigError, match='a server of its own'):
        open_policy(replace(mixed, policy=replace(mixed.policy, bundle=str(tmp_path))))
