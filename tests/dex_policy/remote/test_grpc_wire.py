# SPDX-License-Identifier: Apache-2.0
"""gRPC: what a hostile server does to its client, and messages that another implementation of the protocol reads."""
from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('grpc', reason='grpcio is not installed: pip install -r requirements-remote.txt')

import grpc  # noqa: E402
from tests.dex_policy.remote.conftest import wait_for  # noqa: E402
from tests.dex_policy.remote.servers import GrpcServer, Model  # noqa: E402

from dex_core.errors import DexError  # noqa: E402
from dex_policy.remote.grpc_messages import MESSAGES, message, value_of  # noqa: E402

INPUTS = {'x': np.ones((1, 3), np.float32), 'k': np.ones((1, 2), np.int64)}


@pytest.fixture
def server(stack):
    made = GrpcServer(Model())
    stack.callback(made.stop)
    return made


def _changed(server, change):
    def answer(request, context):
        reply = server.reply(request)
        change(reply)
        return reply
    return answer


def _aborted(code):
    return lambda server: lambda request, context: context.abort(code, 'because')


CASES = {
    'another id': (lambda s: _changed(s, lambda r: setattr(r, 'id', 'x')), 'remote_invalid'),
    'another version': (lambda s: _changed(s, lambda r: setattr(r, 'model_version', 'x')), 'remote_mismatch'),
    'another name': (lambda s: _changed(s, lambda r: setattr(r.outputs[0], 'name', 'z')), 'remote_invalid'),
    'another shape': (lambda s: _changed(s, lambda r: r.outputs[0].shape.append(1)), 'remote_invalid'),
    'a negative shape': (lambda s: _changed(s, lambda r: r.outputs[0].shape.__setitem__(0, -1)), 'remote_invalid'),
    'another type': (lambda s: _changed(s, lambda r: setattr(r.outputs[0], 'datatype', 'BYTES')), 'remote_invalid'),
    'an output twice': (lambda s: _changed(s, lambda r: r.outputs.append(r.outputs[0])), 'remote_invalid'),
    'short bytes': (lambda s: _changed(s, lambda r: r.raw_output_contents.__setitem__(0, b'1')), 'remote_invalid'),
    'one more tensor': (lambda s: _changed(s, lambda r: r.raw_output_contents.append(b'')), 'remote_invalid'),
    'no numbers': (lambda s: _changed(s, lambda r: r.ClearField('raw_output_contents')), 'remote_invalid'),
    'NaN': (lambda s: _changed(s, lambda r: r.raw_output_contents.__setitem__(0, np.full(3, np.nan, '<f4').tobytes())), 'non_finite'),
    'garbage': (lambda s: lambda request, context: b'\xff' * 100, 'policy_lost'),
    'an answer of 64 MB': (lambda s: lambda request, context: bytes(64 << 20), 'remote_invalid'),
    'out of memory': (_aborted(grpc.StatusCode.INTERNAL), 'policy_lost'),
    'no permission': (_aborted(grpc.StatusCode.UNAUTHENTICATED), 'remote_refused'),
    'bad input': (_aborted(grpc.StatusCode.INVALID_ARGUMENT), 'remote_refused'),
    'an exception': (lambda s: lambda request, context: 1 / 0, 'policy_lost'),
}


@pytest.mark.parametrize('case', CASES)
def test_one_answer_is_refused_and_the_next_is_taken(server, connect, case):
    rule, code = CASES[case]
    session = connect(server.url, heartbeat_s=60.0, deadline_s=2.0)
    expected = session.run(INPUTS)
    server.rules['ModelInfer'] = rule(server)
    with pytest.raises(DexError) as refused:
        session.run(INPUTS)
    assert refused.value.code == code and len(str(refused.value)) < 1000, refused.value
    server.rules.clear()

    def again():
        try:
            return session.run(INPUTS)['y'].tobytes() == expected['y'].tobytes()
        except DexError:
            return False

    wait_for(again, 'the session goes on')


def test_numbers_that_are_not_raw_are_read(server, connect):
    def listed(reply):
        values = np.frombuffer(reply.raw_output_contents[0], '<f4')
        reply.ClearField('raw_output_contents')
        reply.outputs[0].contents.fp32_contents.extend(values)

    server.rules['ModelInfer'] = _changed(server, listed)
    assert connect(server.url).run(INPUTS)['y'].tobytes() == np.full((1, 3), 4, np.float32).tobytes()


def test_the_table_of_messages_is_whole():
    for name, fields in MESSAGES.items():
        found = {f.name: f.number for f in message(name).DESCRIPTOR.fields}
        assert found == {field: number for field, (_, number) in fields.items()}
    parameter = message('InferParameter')(int64_param=5)
    assert value_of(parameter) == 5 and value_of(message('InferParameter')()) is None


def test_unknown_fields_are_skipped():
    """Field 99 of a later version of the protocol."""
    blob = message('ModelReadyResponse')(ready=True).SerializeToString() + bytes([0x9A, 0x06, 0x01, 0x41])
    assert message('ModelReadyResponse').FromString(blob).ready
