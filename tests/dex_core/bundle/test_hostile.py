# SPDX-License-Identifier: Apache-2.0
"""Files made to hurt (F32, F33): small ones that ask for terabytes, endless nesting, endless loops. Each is refused soon, and no room made for it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dex_core.bundle import checks, memory, opening
from dex_core.bundle.probes import unpack_cases
from dex_core.config.bundles import BundleRules
from dex_core.config.strict import plain_yaml
from dex_core.errors import BundleError, ConfigError

from .conftest import LATENT, edit, edit_model, refusal, reseal

DECODER = "graphs/left_inspire_decoder.onnx"
ALLOWED_MB = 200


@pytest.fixture(autouse=True)
def modest() -> Iterator[None]:
    """Whatever a test feeds in, the process stays as it was."""
    before = memory.resident_bytes()
    yield
    assert memory.resident_bytes() - before < ALLOWED_MB << 20


def insert(model: onnx.ModelProto, op: str, given: dict[str, np.ndarray], *, first: str = "", **attributes: object) -> None:
    """Puts an operator's output, summed up, onto what the decoder reads: it runs before anything else."""
    for name, value in given.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    nodes = [
        helper.make_node(op, [*([first] if first else []), *given], ["bulk"], **attributes),
        helper.make_node("Cast", ["bulk"], ["bulk_f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["bulk_f"], ["mean"], keepdims=0),
        helper.make_node("Add", ["z", "mean"], ["z_sum"]),
    ]
    rest = list(model.graph.node)
    for node in rest:
        node.input[:] = ["z_sum" if name == "z" else name for name in node.input]
    del model.graph.node[:]
    model.graph.node.extend(nodes + rest)


def _dims(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [10**12]


def _empty_list(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.float_data[:] = [1.0]
    tensor.dims[:] = [10**12]


def _overflow(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [2**32, 2**32, 2**32]


def _sparse(model: onnx.ModelProto) -> None:
    values, indices = numpy_helper.from_array(np.ones(1, np.float32), "bulk"), numpy_helper.from_array(np.zeros(1, np.int64), "at")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [10**12]))


def _sparse_attribute(model: onnx.ModelProto) -> None:
    values, indices = numpy_helper.from_array(np.ones(1, np.float32), "v"), numpy_helper.from_array(np.zeros(1, np.int64), "i")
    node = helper.make_node("Constant", [], ["bulk"], sparse_value=helper.make_sparse_tensor(values, indices, [10**12]))
    model.graph.node.insert(0, node)


def _external(key: str, value: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="left_inspire_decoder.onnx")
        for entry in list(tensor.external_data):
            if entry.key == key:
                tensor.external_data.remove(entry)
        tensor.external_data.add(key=key, value=value)

    return change


def _constant(model: onnx.ModelProto) -> None:
    insert(model, "ConstantOfShape", {"s": np.array([10**6, 10**6], np.int64)})


def _expand(model: onnx.ModelProto) -> None:
    insert(model, "Expand", {"s": np.array([10**8, 1, 32], np.int64)}, first="z")


def _tile(model: onnx.ModelProto) -> None:
    insert(model, "Tile", {"s": np.array([10**5, 10**5], np.int64)}, first="z")


def _range(model: onnx.ModelProto) -> None:
    insert(model, "Range", {"a": np.array(0, np.int64), "b": np.array(10**12, np.int64), "c": np.array(1, np.int64)})


def _random(model: onnx.ModelProto) -> None:
    insert(model, "RandomNormal", {}, shape=[10**6, 10**6])


def _products(model: onnx.ModelProto) -> None:
    """The shape is computed from small numbers."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([10**6], np.int64), "million"))
    for node in (helper.make_node("ConstantOfShape", ["s"], ["bulk"]), helper.make_node("Mul", ["million", "million"], ["s"])):
        model.graph.node.insert(0, node)


def _constant_nodes(model: onnx.ModelProto) -> None:
    """As exporters write it: the shape is put together from constants inside the graph."""
    pair = [helper.make_node("Constant", [], [name], value_ints=[10**6]) for name in ("p", "q")]
    for node in (helper.make_node("ConstantOfShape", ["s"], ["bulk"]), helper.make_node("Concat", ["p", "q"], ["s"], axis=0), *pair):
        model.graph.node.insert(0, node)


def _of_its_own_shape(model: onnx.ModelProto) -> None:
    """The shape is computed from the shape of a constant."""
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 1024), np.float32), "row"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([4], np.int64), "four"))
    for node in (
        helper.make_node("ConstantOfShape", ["s"], ["bulk"]), helper.make_node("Pow", ["d", "four"], ["s"]), helper.make_node("Shape", ["row"], ["d"])
    ):
        model.graph.node.insert(0, node)


GRAPHS: dict[str, Callable[[onnx.ModelProto], None]] = {
    "1e12 numbers, none there": _dims,
    "1e12 numbers in a list of one": _empty_list,
    "dims beyond 64 bit": _overflow,
    "sparse weights": _sparse,
    "sparse constant": _sparse_attribute,
    "outside: no file": _external("location", ""),
    "outside: absolute": _external("location", "/etc/passwd"),
    "outside: upwards": _external("location", "../../../etc/passwd"),
    "outside: the manifest": _external("location", "../manifest.yaml"),
    "outside: offset is no number": _external("offset", "0x10"),
    "outside: offset of 5000 digits": _external("offset", "9" * 5000),
    "outside: offset below zero": _external("offset", "-8"),
    "outside: longer than its file": _external("length", str(1 << 50)),
    "constant of terabytes": _constant,
    "expanded to terabytes": _expand,
    "tiled to terabytes": _tile,
    "range of terabytes": _range,
    "noise of terabytes": _random,
    "computed shape of terabytes": _products,
    "constants put together to terabytes": _constant_nodes,
    "shape of a shape": _of_its_own_shape,
}


@pytest.mark.parametrize("case", GRAPHS)
def test_graphs_that_ask_for_too_much(root: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "open_sessions", None)
    edit_model(root / LATENT, DECODER, GRAPHS[case])
    error = refusal(root / LATENT)
    assert error.code == "graph_refused", str(error)
    assert len(str(error)) < 20_000


def test_graphs_nested_without_end(root: Path) -> None:
    """A graph in an attribute of a node of a graph, and so on: bytes as protobuf writes them."""

    def field(number: int, inner: bytes) -> bytes:
        length, out = len(inner), bytearray([number << 3 | 2])
        while length >= 0x80:
            out.append(length & 0x7F | 0x80)
            length >>= 7
        return bytes(out) + bytes([length]) + inner

    graph = b""
    for _ in range(2000):
        graph = field(1, field(5, field(6, graph)))  # graph.node, node.attribute, attribute.g
    (root / LATENT / DECODER).write_bytes(b"\x08\x08" + field(7, graph))
    reseal(root / LATENT)
    assert refusal(root / LATENT).code == "graph_refused"


def test_a_loop_without_end_is_stopped(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "RUN_LIMIT_S", 0.5)

    def endless(model: onnx.ModelProto) -> None:
        body = helper.make_graph(
            [helper.make_node("Identity", ["go_in"], ["go"]), helper.make_node("Sin", ["v_in"], ["v"])], "body",
            [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
             helper.make_tensor_value_info("v_in", TensorProto.FLOAT, ["B", 32])],
            [helper.make_tensor_value_info("go", TensorProto.BOOL, []), helper.make_tensor_value_info("v", TensorProto.FLOAT, ["B", 32])],
        )
        for name, value in (("rounds", np.array(2**60, np.int64)), ("yes", np.array(True))):
            model.graph.initializer.append(numpy_helper.from_array(value, name))
        rest = list(model.graph.node)
        for node in rest:
            node.input[:] = ["turned" if name == "z" else name for name in node.input]
        del model.graph.node[:]
        model.graph.node.extend([helper.make_node("Loop", ["rounds", "yes", "z"], ["turned"], body=body), *rest])

    edit_model(root / LATENT, DECODER, endless)
    for tune in (True, False):
        assert refusal(root / LATENT, rules=BundleRules(tune=tune)).code == "too_slow"


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, levels)]
    return "\n".join(lines)


YAML = {
    "a billion laughs": laughs(12),
    "merged for ever": "a0: &a0 {x0: 1}\n" + "\n".join(f"a{k}: &a{k}\n  <<: [*a{k - 1}, *a{k - 1}]\n  x{k}: 1" for k in range(1, 40)),
    "itself inside": "a: &a [*a]",
    "nested lists": "a: " + "[" * 100_000,
    "nested mappings": "{a: " * 50_000,
    "indented": "\n".join(" " * k + "a:" for k in range(600)),
    "a number of 100000 digits": "schema: " + "9" * 100_000,
    "a tag that runs": "a: !!python/object/apply:os.system ['true']",
    "not UTF-8": b"a: \xff\xfe",
    "keys that are lists": "? [a, b]\n: c",
    "a timestamp that is none": "created: 2026-99-99",
}


@pytest.mark.parametrize("case", YAML)
def test_descriptions_that_never_end(root: Path, case: str) -> None:
    text = YAML[case] if isinstance(YAML[case], bytes) else YAML[case].encode()
    with pytest.raises(ConfigError) as caught:
        found = plain_yaml(text, "x.yaml")
        raise ConfigError(f"x.yaml: read as {type(found).__name__}")  # what is harmless to read is refused by its type, below
    assert "x.yaml" in str(caught.value) and len(str(caught.value)) < 20_000
    (root / LATENT / "embodiments/left_inspire.yaml").write_bytes(text)
    reseal(root / LATENT)
    assert refusal(root / LATENT).code == "embodiment_mismatch"
    (root / LATENT / "manifest.yaml").write_bytes(text)
    assert refusal(root / LATENT).code == "manifest_invalid"


def npz(header: bytes, body: bytes = b"", entry_size: int | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("0/in/z.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body)
    return out.getvalue()


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for k in range(6):
            made.writestr(f"{k}/in/z.npy", b"\x00" * (60 << 20))
    return out.getvalue()


ARRAYS = {
    "1e12 numbers, none there": npz(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }\n", b"\x00" * 16),
    "numbers beyond 64 bit": npz(b"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4294967296), }\n"),
    "below zero": npz(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-5,), }\n"),
    "objects": npz(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", b"\x80\x04N."),
    "a header that is code": npz(b"__import__('os').system('true')\n"),
    "a header without end": npz(b"(" * 60_000),
    "an element of 2 GiB": npz(b"{'descr': '|V2147483647', 'fortran_order': False, 'shape': (4,), }\n"),
    "a zip bomb": bomb(),
    "no zip": b"PK\x03\x04" + b"\x00" * 40,
}


@pytest.mark.parametrize("case", ARRAYS)
def test_golden_cases_that_ask_for_too_much(root: Path, case: str) -> None:
    with pytest.raises(BundleError) as caught:
        unpack_cases(ARRAYS[case], "a.npz")
    assert caught.value.code == "parity_failed"


STATISTICS = ("[" * 100_000, '{"a":' * 50_000, '{"a": ' + "9" * 100_000 + "}", "nul", '"text"', '{"chunk/left_arm": {"count": 1e400}}')


@pytest.mark.parametrize("text", STATISTICS, ids=range(len(STATISTICS)))
def test_statistics_that_never_end(root: Path, text: str) -> None:
    from dex_core.bundle.stats import parse_stats

    with pytest.raises(BundleError) as caught:
        parse_stats(text.encode(), "stats.json")
    assert caught.value.code == "stats_invalid" and len(str(caught.value)) < 2_000_000


def test_a_file_that_only_claims_to_be_huge_is_not_waited_for(root: Path) -> None:
    edit(root / LATENT, lambda d: d["files"][DECODER].update(bytes=1 << 40))
    error = refusal(root / LATENT)
    assert error.code == "hash_mismatch" and str(1 << 40) in str(error)


def test_a_huge_file_is_refused_before_it_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terabyte of nothing, which takes no room on disk, listed with its true size."""
    place = root / LATENT / "graphs/left_inspire_decoder.onnx.data"
    with place.open("wb") as file:
        file.truncate(1 << 40)
    edit(root / LATENT, lambda d: d["files"].update({"graphs/left_inspire_decoder.onnx.data": {"bytes": 1 << 40, "sha256": "0" * 64}}))
    error = refusal(root / LATENT)
    assert error.code == "no_memory" and f"{(1 << 40) // memory.MIB} MiB" in str(error)
