# SPDX-License-Identifier: Apache-2.0
"""A real Triton, where somebody has started one: ``dex serve xl_vla_tabletop --layout triton --out R; tritonserver --model-repository R``."""
from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from dex_core.bundle.probes import unpack_cases
from dex_core.config import PolicyServerConfig, load_cell
from dex_policy.loading import open_policy

URLS = [url for url in os.environ.get('DEX_TRITON', '').split(',') if url]


@pytest.mark.parametrize('url', URLS or [pytest.param('', marks=pytest.mark.skip(reason='DEX_TRITON=http://HOST:8000,grpc://HOST:8001 is not set'))])
def test_the_shipped_policy_passes_every_check_through_it(url):
    cell = load_cell('xarm_bimanual')
    server = PolicyServerConfig(url, deadline_s=10.0, insecure=True)
    policy, bundle = open_policy(replace(cell, policy=replace(cell.policy, server=server)))
    try:
        assert all(r.ok for r in bundle.report if r.name != 'speed'), bundle.report
        assert policy.health() is None and policy.facts()['link'] == 'up'
        inputs, expected = unpack_cases(bundle.golden('policy'), 'golden')[0]
        found = bundle.sessions['policy'].run(inputs)
        assert all(np.abs(found[name] - value).max() <= 1e-4 for name, value in expected.items())
    finally:
        policy.close()
