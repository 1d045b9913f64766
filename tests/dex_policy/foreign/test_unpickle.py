# SPDX-License-Identifier: Apache-2.0
"""Pickles of LeRobot's server are read without running them; whatever else a pickle can say is refused before it has an effect."""

from __future__ import annotations

import builtins
import collections
import io
import os
import pickle
import pickletools
import resource
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dex_policy.foreign.lerobot_wire import HELPERS, read_actions
from dex_policy.foreign.unpickle import PickleRefused

REAL = (Path(__file__).parent / "lerobot_0_4_4_actions.pkl").read_bytes()
"""Three timed actions of four numbers, 0 to 11, from step 7 on, pickled by lerobot 0.4.4 with torch 2.13."""
ACTION = f"c{HELPERS}\nTimedAction\n".encode()


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.told = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self) -> tuple:
        return self.told


def test_what_the_real_package_pickled_is_read() -> None:
    actions, first = read_actions(REAL)
    assert first == 7 and actions.dtype == np.float32 and np.array_equal(actions, np.arange(12, dtype=np.float32).reshape(3, 4))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int64", "uint8"])
def test_tensors_of_torch_are_read_without_it(dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install -r requirements-learn.txt")
    tensor = (torch.arange(12).reshape(3, 4) * 0.5).to(getattr(torch, dtype))
    for rows in (list(tensor), list(tensor.T[:, ::2]), [tensor[0].clone()] * 2):
        found, _ = read_actions(_stepped(rows))
        assert np.array_equal(found.astype(float), np.array([row.to(torch.float64).tolist() for row in rows]))


@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4", "<i8", "|u1"])
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_of_numpy_are_read(dtype: str, protocol: int) -> None:
    rows = [np.arange(4).astype(dtype), np.arange(4, 8).astype(dtype)]
    if protocol == 2:  # its bytes are a text and a call that encodes it
        with pytest.raises(PickleRefused, match="_codecs"):
            read_actions(_stepped(rows, protocol))
    else:
        assert np.array_equal(read_actions(_stepped(rows, protocol))[0], np.array(rows))


def _stepped(rows: list, protocol: int = 4) -> bytes:
    """Timed actions as the server pickles them, by the standard library."""
    module = type(sys)(HELPERS)
    module.TimedAction = type("TimedAction", (), {"__module__": HELPERS, "__qualname__": "TimedAction"})
    out = []
    for k, row in enumerate(rows):
        action = module.TimedAction()
        action.__dict__.update(timestamp=1.5 + k, timestep=3 + k, action=row)
        out.append(action)
    parents = [HELPERS.rsplit(".", n)[0] for n in (2, 1)]
    with pytest.MonkeyPatch.context() as patch:
        for name in parents:
            patch.setitem(sys.modules, name, type(sys)(name))
        patch.setitem(sys.modules, HELPERS, module)
        return pickle.dumps(out, protocol=protocol)


EFFECT = "/tmp/dex_test_pickle_effect"
CALLS = [
    Call(os.system, f"touch {EFFECT}"),
    Call(eval, f"open({EFFECT!r}, 'w')"),
    Call(exec, f"open({EFFECT!r}, 'w')"),
    Call(builtins.open, EFFECT, "w"),
    Call(builtins.getattr, Call(builtins.__import__, "os"), "system"),
    Call(builtins.__import__, "os"),
    Call(subprocess.Popen, ["touch", EFFECT]),
    Call(map, Call(getattr, Call(builtins.__import__, "os"), "system"), [f"touch {EFFECT}"]),
    Call(collections.OrderedDict, Call(os.system, f"touch {EFFECT}")),
    Call(bytearray, 10**12),
    Call(bytes, 10**12),
    Call(list, Call(range, 10**9)),
    Call(pickle.loads, pickle.dumps(Call(os.system, f"touch {EFFECT}"))),
    Call(io.FileIO, EFFECT, "w"),
    Call(object.__new__, object),
    Call(type, "X", (), {}),
    Call(collections.deque, [1], state={"__setstate__": 1}),
    Call(threading.Thread),
]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("call", CALLS, ids=lambda c: f"{getattr(c.told[0], '__module__', '')}.{getattr(c.told[0], '__qualname__', c.told[0])}")
def test_no_call_is_made(call: Call, protocol: int) -> None:
    data = pickle.dumps([call], protocol=protocol)
    with pytest.raises(PickleRefused):
        read_actions(data)
    assert not os.path.exists(EFFECT)


@pytest.mark.parametrize("hidden", [
    b"\x80\x04]" + ACTION + b")\x81}\x8c\x06actioncos\nsystem\n\x8c\x02ls\x85Rsba.",
    b"\x80\x04]" + ACTION + b")\x81}\x8c\x0c__setstate__cos\nsystem\nsb\x8c\x02lsba.",
    b"\x80\x04]" + ACTION + b"(\x8c\x02lstRa.",
    b"\x80\x04]" + ACTION + b"\x8c\x02ls\x85\x81a.",
    b"\x80\x04]" + ACTION + b")}\x92a.",
    b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.",
    b"\x80\x04\x8c\x00\x8c\x06system\x93\x8c\x02ls\x85R.",
    b"\x80\x04\x8c\x05torch\x8c\x16storage.os.system.load\x93.",
    b"\x80\x04\x8c" + bytes([len(HELPERS)]) + HELPERS.encode() + b"\x8c\x14TimedAction.__init__\x93)R.",
    b"(ios\nsystem\n.", b"(cos\nsystem\nS'ls'\no.", b"cos\nsystem\n(S'ls'\ntR.", b"\x82\x01.", b"\x83\x01\x00.", b"\x84\x01\x00\x00\x00.",
    b"\x80\x02cbuiltins\ngetattr\n(cos\nsystem\nX\x04\x00\x00\x00nametR.",
    b"\x80\x05\x97.", b"\x80\x05\x96\x01\x00\x00\x00\x00\x00\x00\x00a\x98.", b"\x80\x04X\x02\x00\x00\x00idQ.", b"Pid\n.",
    b"\x80\x02ctorch.storage\n_load_from_bytes\nC\x10cos\nsystem\n(S'l'R.\x85R.",
    b"\x80\x02ctorch\nload\nC\x01.\x85R.", b"\x80\x02cnumpy\nload\nC\x01.\x85R.", b"\x80\x02cnumpy.core.multiarray\nfromfile\nC\x01.\x85R.",
])
def test_no_call_is_hidden_elsewhere(hidden: bytes) -> None:
    with pytest.raises(PickleRefused):
        read_actions(hidden)


def _billion_laughs() -> bytes:
    """A tuple of two tuples of two tuples..., as the key of a dict: to hash it would take for ever."""
    return b"\x80\x04}N" + b"2\x86" * 60 + b"Ns."


def _twice(levels: int) -> bytes:
    """The same with memo instead of DUP, in a place where its text would be written."""
    out = b"\x80\x04N"
    for level in range(levels):
        out += b"q" + bytes([level]) + b"h" + bytes([level]) + b"\x86"
    return out + b"\x8c\x01x\x93."


BOMBS = {
    "bytes of 8 EiB": b"\x80\x04\x8e" + struct.pack("<Q", 2**63 - 1) + b".", "bytes of 2 GiB": b"\x80\x04B\xff\xff\xff\x7f.",
    "text of 4 GiB": b"\x80\x04X\xff\xff\xff\xff.", "long text": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b".",
    "array of bytes": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".", "memo at 4 billion": b"\x80\x04]r\xff\xff\xff\xff.",
    "frame of 16 EiB": b"\x80\x04\x95" + b"\xff" * 8 + b"].", "number of 2 GiB": b"\x80\x04\x8b\xff\xff\xff\x7f.", "tuples as key": _billion_laughs(),
    "tuples as text": _twice(60), "nested lists": b"\x80\x04" + b"]" * 90_000 + b"a" * 89_999 + b".", "no end": b"\x80\x04" + b"]" * 1_000_000,
    "list in itself": b"\x80\x04]q\x00h\x00a.",
    "states again and again":
        b"\x80\x04" + ACTION + b")\x81}(" + b"".join(b"\x8c\x02" + b"%02d" % k + b"N" for k in range(90)) + b"uq\x00" + b"h\x00b" * 30_000,
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_costs_neither_memory_nor_time(bomb: bytes) -> None:
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(PickleRefused):
        read_actions(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # [KiB]
    assert time.process_time() - started < 5.0


FOUR, MAGIC = struct.pack("<4f", 0, 1, 2, 3), b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def _storage(numbers: bytes = FOUR, told: int = 4, kind: bytes = b"FloatStorage", magic: bytes = MAGIC, count: int | None = None) -> bytes:
    system = b"\x80\x02}X\x0d\x00\x00\x00little_endian\x88s."
    root = b"\x80\x02(X\x07\x00\x00\x00storagectorch\n" + kind + b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ" + struct.pack("<i", told) + b"NtQ."
    keys = b"\x80\x02]X\x01\x00\x00\x000a."
    return b"\x80\x02" + magic + b"\x80\x02M\xe9\x03." + system + root + keys + struct.pack("<q", told if count is None else count) + numbers


def _tensor(storage: bytes, view: bytes = b"K\x00K\x04\x85K\x01\x85") -> bytes:
    """One timed action around a storage; ``view`` pushes offset, size and stride."""
    load = b"ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(storage)) + storage + b"\x85R"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + load + view + b"\x89ccollections\nOrderedDict\n)RtR"
    fields = b"(\x8c\x09timestampG?\xf0\x00\x00\x00\x00\x00\x00\x8c\x08timestepK\x03\x8c\x06action" + tensor + b"u"
    return b"\x80\x04]" + ACTION + b")\x81}" + fields + b"ba."


def test_a_made_tensor_is_read() -> None:
    assert read_actions(_tensor(_storage()))[0].tolist() == [[0, 1, 2, 3]]
    assert read_actions(_tensor(_storage(), b"K\x01K\x02\x85K\x02\x85"))[0].tolist() == [[1, 3]]


@pytest.mark.parametrize("data", [
    _tensor(_storage(told=5)), _tensor(_storage(told=-1)), _tensor(_storage(count=3)), _tensor(_storage(magic=b"K\x01.")), _tensor(_storage()[:-1]),
    _tensor(_storage() + b"\0"), _tensor(_storage(kind=b"UntypedStorage")), _tensor(_storage(kind=b"load")), _tensor(b""),
    _tensor(_storage(), b"K\x01K\x04\x85K\x01\x85"), _tensor(_storage(), b"K\x00K\x05\x85K\x01\x85"), _tensor(_storage(), b"K\x00K\x04\x85K\x02\x85"),
    _tensor(_storage(), b"K\x00J\xff\xff\xff\x7f\x85K\x00\x85"), _tensor(_storage(), b"K\x00K\x04\x85J\xff\xff\xff\xff\x85"),
    _tensor(_storage(), b"J\xff\xff\xff\xffK\x04\x85K\x01\x85"), _tensor(_storage(), b"K\x00K\x02K\x02\x86K\x02K\x01\x86"),
    _tensor(_storage(), b"K\x00K\x04\x85K\x01K\x01\x86"), _tensor(_storage(), b"NK\x04\x85K\x01\x85"), _tensor(_storage(), b"K\x00NN"),
])
def test_a_tensor_that_lies_about_itself_is_refused(data: bytes) -> None:
    with pytest.raises(PickleRefused):
        read_actions(data)


def test_one_storage_seen_a_thousand_times_is_refused() -> None:
    """Rows that are views of one another are small in the pickle and large together."""
    numbers = 100_000
    storage = _storage(bytes(4 * numbers), numbers)
    load = b"ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(storage)) + storage + b"\x85Rq\x00"
    rows = b""
    for step in range(200):
        view = (load if step == 0 else b"h\x00") + b"K\x00J" + struct.pack("<i", numbers) + b"\x85K\x01\x85"
        tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + view + b"\x89ccollections\nOrderedDict\n)RtR"
        rows += ACTION + b")\x81}(\x8c\x09timestampK\x01\x8c\x08timestepK" + bytes([step]) + b"\x8c\x06action" + tensor + b"uba"
    with pytest.raises(PickleRefused, match="claim to hold"):
        read_actions(b"\x80\x04]" + rows + b".")


def test_one_storage_read_again_and_again_is_refused() -> None:
    storage = _storage(bytes(400_000), 100_000)
    kept = b"B" + struct.pack("<I", len(storage)) + storage + b"q\x01"
    again = b"ctorch.storage\n_load_from_bytes\nh\x01\x85R"
    with pytest.raises(PickleRefused, match="honest"):
        read_actions(b"\x80\x04](" + kept + again * 1000 + b"e.")


@pytest.mark.parametrize("data", [
    b"", b".", b"\x80\x04N.", b"\x80\x04].", b"\x80\x04]" + ACTION + b")\x81a.", REAL[:-1], REAL + b"N.", b"\x80\x04]N]a.", b"\x80\x63N.",
])
def test_what_is_no_chunk_is_refused(data: bytes) -> None:
    with pytest.raises(PickleRefused):
        read_actions(data)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, len(REAL) - 1), st.integers(0, 255), st.integers(0, len(REAL)))
def test_any_bytes_are_read_or_refused(place: int, byte: int, length: int) -> None:
    for data in (REAL[:place] + bytes([byte]) + REAL[place + 1 :], REAL[:length], REAL[length:]):
        try:
            read_actions(data)
        except PickleRefused:
            pass


def test_the_table_holds_no_instruction_that_calls() -> None:
    """Whoever adds an instruction sees here which ones must stay out."""
    from dex_policy.foreign.unpickle import _INSTRUCTIONS

    forbidden = {"INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER", "READONLY_BUFFER", "BYTEARRAY8", "DUP", "STRING"}
    codes = {op.name: ord(op.code) for op in pickletools.opcodes}
    assert not {name for name in forbidden if codes[name] in _INSTRUCTIONS}
