# SPDX-License-Identifier: Apache-2.0
"""Pauses between tries, and a link whose wire is a fake: nobody hammers a dead server, nobody waits behind another."""
from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.dex_policy.remote.conftest import wait_for

from dex_core.config import PolicyServerConfig
from dex_core.errors import ConfigError, DeadlineError
from dex_policy.remote.link import FIRST_PAUSE_S, LONGEST_PAUSE_S, Link, pause_s
from dex_policy.remote.wire import RemoteError

CONFIG = PolicyServerConfig('http://127.0.0.1:1', deadline_s=0.2, connect_s=0.5, heartbeat_s=0.05)


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_pauses_grow_to_a_limit_and_differ(failed, pick):
    longest = pause_s(failed, 1.0)
    assert FIRST_PAUSE_S / 2 <= pause_s(failed, pick) <= longest <= LONGEST_PAUSE_S
    assert pause_s(failed, 0.0) == longest / 2 and pause_s(failed + 1, pick) >= pause_s(failed, pick)


def test_the_first_try_is_at_once():
    assert pause_s(0, 0.9) == 0.0 and pause_s(100, 0.999) > 0.99 * LONGEST_PAUSE_S


class FakeWire:
    def __init__(self):
        self.closed = False

    def open(self, deadline_ns):
        pass

    def close(self):
        self.closed = True


@pytest.fixture
def made():
    """(link, wires made, what examining raises)"""
    wires, faults = [], []

    def make():
        wires.append(FakeWire())
        return wires[-1]

    def examine(wire, deadline_ns):
        if faults:
            raise faults[-1]

    link = Link('policy server x', CONFIG, make, examine, examine, pick=lambda: 0.0)
    yield link, wires, faults
    link.close()
    assert all(wire.closed for wire in wires)


def test_every_connection_is_closed_in_the_end(made):
    link, wires, _ = made
    link.start()
    assert link.use(lambda wire, deadline_ns: wire) is wires[0]
    with pytest.raises(RemoteError):
        link.use(lambda wire, deadline_ns: (_ for _ in ()).throw(RemoteError('broken')))
    wait_for(lambda: link.health() is None and int(link.facts()['connections']) == 2, 'connected anew')
    assert wires[0].closed


@pytest.mark.parametrize(('fault', 'code'), [
    (RemoteError('other', code='remote_mismatch'), 'remote_mismatch'),
    (DeadlineError('x', 1.0), 'policy_lost'),
    (ConfigError('no token'), 'config_invalid'),
])
def test_a_start_that_fails_says_why_and_goes_on_trying(made, fault, code):
    link, _, faults = made
    faults.append(fault)
    with pytest.raises(RemoteError, match=str(fault)) as refused:
        link.start()
    assert refused.value.code == code and link.health().startswith(f'{code}: ')
    faults.clear()
    wait_for(lambda: link.health() is None, 'found')


def test_a_second_request_waits_no_longer_than_its_deadline(made):
    link, _, _ = made
    link.start()
    inside, leave = threading.Event(), threading.Event()

    def hold(wire, deadline_ns):
        inside.set()
        leave.wait(10.0)

    first = threading.Thread(target=link.use, args=(hold,))
    first.start()
    assert inside.wait(10.0)
    with pytest.raises(DeadlineError, match='in use'):
        link.use(hold)
    leave.set()
    first.join(10.0)
    assert link.health() is None


def test_requests_are_signs_of_life():
    beats = []
    link = Link('policy server x', CONFIG, FakeWire, lambda *_: None, lambda *_: beats.append(1))
    link.start()
    wait_for(lambda: beats, 'an idle link is asked')
    link.close()
