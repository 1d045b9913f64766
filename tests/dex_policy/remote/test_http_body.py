# SPDX-License-Identifier: Apache-2.0
"""HTTP bodies: every number comes through, whatever comes back is either the right arrays or a named refusal."""
from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dex_core.errors import ShapeError
from dex_policy.remote import http_body
from dex_policy.remote.wire import RemoteError, Request, as_array, expected_outputs, model_name

OUTPUT = (np.dtype('float32'), (1, 3))
REQUEST = Request('m', '', 'id-1', {}, {'y': OUTPUT})
SHAPES = arrays.array_shapes(max_dims=4, max_side=5)
TENSORS = st.one_of(
    arrays.arrays(np.float32, SHAPES, elements=st.floats(allow_nan=False, allow_infinity=False, width=32)),
    arrays.arrays(np.uint8, SHAPES), arrays.arrays(np.int64, SHAPES),
)


@given(TENSORS, st.booleans())
def test_every_number_comes_through(value, binary):
    body, headers = http_body.pack(Request('m', '', 'id', {'x': value, 'z': value}, {'y': OUTPUT}), binary=binary)
    length = int(headers.get(http_body.JSON_LENGTH, len(body)))
    data, rest = json.loads(body[:length]), body[length:]
    assert data['id'] == 'id' and [o['name'] for o in data['outputs']] == ['y']
    for entry in data['inputs']:
        assert entry['shape'] == list(value.shape)
        found = rest[:entry['parameters']['binary_data_size']] if binary else as_array('x', entry['data'], value.dtype, value.shape).tobytes()
        assert found == value.tobytes()
        rest = rest[len(found):] if binary else rest
    assert rest == b''


KEYS = st.sampled_from(['id', 'outputs', 'inputs', 'versions', 'name', 'shape', 'datatype', 'data', 'parameters', 'binary_data_size', 'y'])
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=20)
OUTPUTS = st.lists(st.fixed_dictionaries({'name': st.just('y'), 'datatype': st.just('FP32'), 'shape': st.just([1, 3]), 'data': JSON}), max_size=2)
BODIES = st.one_of(st.binary(max_size=200), JSON.map(lambda j: json.dumps(j).encode()), OUTPUTS.map(lambda o: json.dumps({'outputs': o}).encode()))


@given(BODIES, st.none() | st.text(max_size=4))
def test_any_reply_is_the_right_array_or_refused(body, length):
    try:
        reply = http_body.unpack('w', body, length, REQUEST)
    except RemoteError as error:
        assert error.code == 'remote_invalid'
        return
    assert set(reply.outputs) == {'y'} and reply.outputs['y'].shape == (1, 3) and reply.outputs['y'].dtype == np.float32


@given(JSON)
def test_any_metadata_is_read_or_refused(data):
    body = json.dumps(data).encode()
    for read in (http_body.unpack_metadata, http_body.hash_in_configuration):
        try:
            read('w', body)
        except RemoteError as error:
            assert error.code == 'remote_invalid'


@pytest.mark.parametrize(('values', 'dtype'), [
    ([256], 'uint8'), ([-1], 'uint8'), ([1.5], 'uint8'), (['1'], 'uint8'), ([1.0], 'int64'), ([2**63], 'int64'), ([[1], 2], 'float32'),
    ({}, 'float32'),
])
def test_numbers_that_the_type_does_not_hold(values, dtype):
    with pytest.raises(RemoteError):
        as_array('x', values, np.dtype(dtype), (1,))


def test_nested_numbers_are_as_good_as_flat_ones():
    assert as_array('x', [[1, 2], [3, 4]], np.dtype('uint8'), (2, 2)).tolist() == [[1, 2], [3, 4]]


def test_triton_tells_the_hash_in_its_configuration():
    told = {'name': 'm', 'parameters': {'bundle_hash': {'string_value': 'abc'}}}
    assert http_body.hash_in_configuration('w', json.dumps(told).encode()) == 'abc'


def test_an_output_of_unknown_size_cannot_run_remotely(graph):
    free = replace(graph, outputs=(replace(graph.outputs[0], shape=('N', 3)),), dynamic={**graph.dynamic, 'N': (1, 5)})
    with pytest.raises(ShapeError, match="axis 'N', which no input has"):
        expected_outputs('g', free, {'x': np.zeros((1, 3), np.float32), 'k': np.zeros((1, 2), np.int64)})


def test_graphs_become_names_that_urls_and_folders_hold():
    assert model_name('hand_latents', 'left_inspire/decoder') == 'hand_latents.left_inspire.decoder'
