# SPDX-License-Identifier: Apache-2.0
"""openpi's messages: what its own package packs is read here and the reverse, and no byte of a hostile one is believed."""

from __future__ import annotations

import resource
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dex_policy.foreign.pictures import resize_with_pad
from dex_policy.foreign.wire import WireError, decode, encode

DTYPES = ("|u1", "|b1", "|i1", "<i2", "<i4", "<i8", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8")
MESSAGE = {
    "observation/image": np.arange(24, dtype=np.uint8).reshape(2, 4, 3), "state": np.linspace(0, 1, 8, dtype=np.float32), "prompt": "push the cans",
    "n": 3, "nested": {"pose": [0.5, None, True], "scalar": np.float64(2.5)},
}


def same(a: Any, b: Any) -> bool:
    """Equal to the type and the bit."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (np.ndarray, np.generic)):
        return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b


def test_a_message_comes_back_as_it_was() -> None:
    assert same(decode(encode(MESSAGE)), MESSAGE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4)])
def test_every_kind_of_array_comes_back(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(shape)), dtype=np.int64).astype(dtype).reshape(shape)
    assert same(decode(encode({"a": array}))["a"], array)


def test_an_array_that_lies_otherwise_in_memory_is_sent_in_order() -> None:
    array = np.arange(24).reshape(2, 3, 4)[:, ::-1].T
    assert np.array_equal(decode(encode({"a": array}))["a"], array)


def test_the_package_of_openpi_reads_ours_and_we_read_its() -> None:
    theirs = pytest.importorskip("openpi_client.msgpack_numpy", reason="openpi-client is not installed: pip install --no-deps openpi-client==0.1.2")
    assert same(decode(theirs.packb(MESSAGE)), MESSAGE)
    assert same(theirs.unpackb(encode(MESSAGE)), MESSAGE)
    assert theirs.packb(MESSAGE) == encode(MESSAGE)  # to the byte


@pytest.mark.parametrize(("width", "height"), [(320, 240), (240, 320), (640, 480), (224, 224), (1280, 720), (100, 50), (31, 97)])
def test_pictures_are_padded_as_the_package_of_openpi_does(width: int, height: int) -> None:
    theirs = pytest.importorskip("openpi_client.image_tools", reason="openpi-client is not installed: pip install --no-deps openpi-client==0.1.2")
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert np.array_equal(resize_with_pad(image, 224, 224), theirs.resize_with_pad(image, 224, 224))


@pytest.mark.parametrize("value", [np.array([object()]), np.array([1j]), np.zeros(2, dtype=[("a", "f4")]), object(), {1, 2}, 2**70])
def test_what_has_no_place_is_not_sent(value: Any) -> None:
    with pytest.raises(WireError):
        encode({"a": value})


def _array(**changes: Any) -> bytes:
    whole = {b"__ndarray__": True, b"data": b"\0" * 24, b"dtype": "<f8", b"shape": [3]}
    return msgpack.packb({"a": {k: v for k, v in {**whole, **{k.encode(): v for k, v in changes.items()}}.items() if v is not ...}})


@pytest.mark.parametrize("changes", [
    {"dtype": "|O"}, {"dtype": "O"}, {"dtype": "V8"}, {"dtype": "<c16"}, {"dtype": "<U1"}, {"dtype": "f8,f8"}, {"dtype": b"<f8"}, {"dtype": 3},
    {"dtype": ...}, {"dtype": "<f8" * 10_000}, {"dtype": [["a", "<f8"]]}, {"shape": [4]}, {"shape": [-3]}, {"shape": [-1, -3]}, {"shape": [3.0]},
    {"shape": [True, 3]}, {"shape": [2**62, 2**62, 0]}, {"shape": [3] + [1] * 8}, {"shape": "3"}, {"shape": ...}, {"data": "0" * 24}, {"data": ...},
    {"data": [0.0] * 3},
    {"more": 1},
])
def test_an_array_that_lies_about_itself_is_refused(changes: dict) -> None:
    if changes == {"shape": [2**62, 2**62, 0]}:
        changes["data"] = b"\1"  # an empty array claims a byte
    with pytest.raises(WireError):
        decode(_array(**changes))


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x81", b"\xc6\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc7\x10\x01" + b"\0" * 16, b"\x01\x02",
                                  b"\xdd\x00\x00\xff\xff" * 2000, b"\x91" * 10_000 + b"\x00", b"\x81\x01\x02", b"\xd9\x01\xff"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data)


def test_nested_claims_of_length_cost_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WireError):
        decode(b"\xdd\x00\x00\xff\xff" * 1000 + b"\0" * (8 << 20))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # [KiB]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.builds(lambda d, i, b: d[: i % len(d)] + bytes([b]) + d[i % len(d) + 1 :], st.just(encode(MESSAGE)),
                                           st.integers(0, 10_000), st.integers(0, 255)))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        decode(data)
    except WireError:
        pass
