# SPDX-License-Identifier: Apache-2.0
"""A session over each wire: the same numbers as local, the local manifest against what the server says, faults and their return."""
from __future__ import annotations

import socket
import threading
import time

import numpy as np
import pytest
from tests.dex_policy.remote.conftest import wait_for
from tests.dex_policy.remote.servers import HASH, HttpServer

from dex_core.errors import BundleError, DeadlineError, DexError, NonFiniteError, ShapeError
from dex_core.runtime import Session
from dex_policy.remote.wire import STAMP_KEYS, RemoteError

X = np.array([[0.1, -2.5e-30, 3e30], [1.0, 2.0, np.float32(1 / 3)]], np.float32)
K = np.array([[1, 2], [-7, 2**40]], np.int64)
INPUTS = {'x': X, 'k': K}
EXPECTED = 2 * X + K.sum(axis=1, keepdims=True).astype(np.float32)


def test_the_numbers_are_the_models_to_the_bit(server, connect):
    session = connect(server.url)
    assert isinstance(session, Session)
    for rows in (2, 1):
        found = session.run({k: v[:rows] for k, v in INPUTS.items()})
        assert found['y'].tobytes() == EXPECTED[:rows].tobytes() and found['y'].dtype == np.float32
    assert session.health() is None
    assert session.described_inputs() == [('x', 'tensor(float)', [None, 3]), ('k', 'tensor(int64)', [None, 2])]
    assert session.described_outputs() == [('y', 'tensor(float)', [None, 3])]


def test_a_wrong_input_never_leaves_this_machine(server, connect):
    session = connect(server.url)
    asked = server.model.asked
    with pytest.raises(ShapeError):
        session.run({'x': X})
    with pytest.raises(NonFiniteError):
        session.run({'x': np.full((1, 3), np.nan, np.float32), 'k': K[:1]})
    assert server.model.asked == asked and session.health() is None


@pytest.mark.parametrize(('change', 'both'), [
    (lambda m: m.inputs.__setitem__(0, {**m.inputs[0], 'name': 'z'}), ("'z'", "'x'")),
    (lambda m: m.inputs.__setitem__(0, {**m.inputs[0], 'datatype': 'FP64'}), ('FP64', 'FP32')),
    (lambda m: m.inputs.__setitem__(0, {**m.inputs[0], 'shape': [-1, 4]}), ('[-1, 4]', '[-1, 3]')),
    (lambda m: m.inputs.append({'name': 'more', 'datatype': 'FP32', 'shape': [1]}), ("'more'", "'k'")),
    (lambda m: m.inputs.pop(), ("inputs 'x' FP32 [-1, 3];", "'k' INT64")),
    (lambda m: m.outputs.append(m.outputs[0]), ("'y' FP32 [-1, 3], 'y'", "says 'y'")),
    (lambda m: setattr(m, 'hash', 'b' * 64), ('b' * 64, HASH)),
    (lambda m: m.parameters.update(bundle_hash='c' * 64), ('c' * 64, HASH)),
], ids=['name', 'type', 'shape', 'one more', 'one less', 'twice', 'hash', 'hash of replies'])
def test_another_model_is_refused_with_both_values(server, connect, change, both):
    change(server.model)
    with pytest.raises(BundleError) as refused:
        connect(server.url)
    assert refused.value.code == 'remote_mismatch' and all(word in str(refused.value) for word in both), refused.value


def test_a_server_that_cannot_tell_its_bundle_must_be_accepted_by_name(server, connect):
    server.model.hash, server.model.version = '', '1'
    with pytest.raises(BundleError, match='accept_untold_hash') as refused:
        connect(server.url)
    assert refused.value.code == 'remote_mismatch'
    assert connect(server.url, accept_untold_hash=True).run(INPUTS)['y'].tobytes() == EXPECTED.tobytes()


def test_the_version_may_be_the_hash(server, connect):
    server.model.hash = ''
    assert connect(server.url).health() is None


def test_an_unready_model_is_refused_and_named(server, connect):
    server.model.ready = False
    with pytest.raises(BundleError, match="model 'm.g' is not ready") as refused:
        connect(server.url)
    assert refused.value.code == 'policy_lost'


def test_nobody_there(connect, http):
    http.stop()
    with pytest.raises(BundleError, match=http.url) as refused:
        connect(http.url, connect_s=0.5)
    assert refused.value.code == 'policy_lost'


def test_a_late_answer_is_dropped_and_the_next_request_has_its_own(server, connect):
    session = connect(server.url, deadline_s=0.3)
    server.model.gate.clear()
    with pytest.raises(DeadlineError, match=server.url):
        session.run({'x': X + 1, 'k': K})
    server.model.gate.set()
    wait_for(lambda: _runs(session), 'the session is back')
    assert session.run(INPUTS)['y'].tobytes() == EXPECTED.tobytes()


def test_one_late_answer_is_no_loss_of_the_server(server, connect):
    session = connect(server.url, deadline_s=2.0)
    server.model.gate.clear()
    server.model.entered.clear()
    server.rules['infer' if isinstance(server, HttpServer) else 'ModelInfer'] = lambda *_: None if isinstance(server, HttpServer) else b''
    with pytest.raises(DexError):
        session.run(INPUTS)
    server.rules.clear()
    server.model.gate.set()
    assert session.health() is None  # suspect, not down
    wait_for(lambda: _runs(session), 'the session is back')


def test_a_server_that_hangs_is_lost_and_comes_back(server, connect):
    session = connect(server.url, deadline_s=0.2, connect_s=0.3)
    server.model.gate.clear()
    with pytest.raises(DeadlineError):
        session.run(INPUTS)
    wait_for(lambda: session.health() is not None, 'the loss shows')
    assert session.health().startswith('policy_lost: ') and server.url in session.health()
    with pytest.raises(RemoteError) as lost:  # not another DeadlineError: nothing is asked, the policy's thread waits for nobody
        session.run(INPUTS)
    assert lost.value.code == 'policy_lost' and session.facts()['link'] != 'up' and session.facts()['requests_failed'] == '1'
    server.model.gate.set()
    wait_for(lambda: session.health() is None, 'the server is found again')
    assert session.run(INPUTS)['y'].tobytes() == EXPECTED.tobytes() and int(session.facts()['connections']) >= 2


def test_an_idle_session_sees_a_server_go_and_another_model_come(server, connect):
    session = connect(server.url)
    server.model.ready = False
    wait_for(lambda: session.health() is not None, 'unready is seen without a request')
    server.model.ready, server.model.hash = True, 'b' * 64
    wait_for(lambda: (session.health() or '').startswith('remote_mismatch'), 'another bundle is not taken')
    with pytest.raises(RemoteError) as refused:
        session.run(INPUTS)
    assert refused.value.code == 'remote_mismatch'
    server.model.hash = HASH
    wait_for(lambda: session.health() is None, 'the right one is taken again')


def test_a_server_slower_than_its_deadline_is_refused_at_the_start(server, connect):
    server.model.entered.clear()
    server.model.gate.clear()
    slow = threading.Timer(0.4, server.model.gate.set)

    def one_at_a_time(inputs, answer=server.model.infer):
        found = answer(inputs)
        server.model.gate.clear()  # the next one waits again, for ever
        return found

    server.model.infer = one_at_a_time
    slow.start()
    with pytest.raises(BundleError, match=r'was silent for 0\.[01]') as refused:
        connect(server.url, deadline_s=0.1)
    assert refused.value.code == 'policy_lost'


def test_a_restarted_server_is_found(server, connect):
    session = connect(server.url)
    server.stop()
    wait_for(lambda: session.health() is not None, 'the loss shows')
    again = type(server)(server.model, server.port)
    try:
        wait_for(lambda: session.health() is None, 'the server is found again')
        assert session.run(INPUTS)['y'].tobytes() == EXPECTED.tobytes()
    finally:
        session.close()
        again.stop()


def test_another_version_in_a_reply_is_another_model(server, connect):
    session = connect(server.url, heartbeat_s=60.0)
    server.model.version = 'later'
    with pytest.raises(RemoteError, match="'later' now, it was"):
        session.run(INPUTS)


def test_the_servers_times_in_our_clock(server, connect):
    ahead_ns = 3_600 * 10**9
    def told():
        now = time.time_ns() + ahead_ns
        return dict(zip(STAMP_KEYS, (now, now, now, now), strict=True))
    server.model.parameters = told()
    session = connect(server.url)
    server.model.parameters = told()
    before = time.time_ns()
    session.run(INPUTS)
    stamps = session.stamps_ns()
    assert set(stamps) == {'request_sent', 'queued', 'inference_started', 'inferred', 'received'}
    assert before <= stamps['request_sent'] <= stamps['received'] <= time.time_ns()
    assert abs(stamps['inferred'] - before) < 5 * 10**9  # not an hour off


@pytest.mark.parametrize('values', [(1, 2), (4, 3, 2, 1), ('1', '2', '3', '4'), (-1, 0, 1, 2), (1, 2, 3, 1 << 62)])
def test_nonsense_stamps_are_left_out(http, connect, values):
    http.model.parameters = dict(zip(STAMP_KEYS, values, strict=False))
    session = connect(http.url)
    session.run(INPUTS)
    assert set(session.stamps_ns()) == {'request_sent', 'received'}


def test_closing_twice_and_under_way(server, connect):
    session = connect(server.url)
    session.close()
    session.close()
    with pytest.raises(RemoteError, match='closed'):
        session.run(INPUTS)


def _runs(session) -> bool:
    try:
        session.run(INPUTS)
    except DexError:
        return False
    return True


def test_a_name_of_several_addresses_is_the_first_that_answers(http, connect, monkeypatch):
    found = [(socket.AF_INET6, socket.SOCK_STREAM, 6, '', ('::1', http.port, 0, 0))]
    found += [(socket.AF_INET, socket.SOCK_STREAM, 6, '', ('127.0.0.1', http.port))]
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, 'getaddrinfo', lambda host, *rest, **more: found if host == 'localhost' else resolve(host, *rest, **more))
    assert connect(f'http://localhost:{http.port}').run(INPUTS)['y'].tobytes() == EXPECTED.tobytes()
