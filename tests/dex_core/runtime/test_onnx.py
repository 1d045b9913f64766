# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import TensorProto, helper

from dex_core.bundle.testing import onnx_model
from dex_core.errors import BundleError, NonFiniteError, ShapeError
from dex_core.runtime import OnnxSession, Session, Settings

from .conftest import INPUTS, OUTPUTS, SPEC

Opened = Callable[..., OnnxSession]


def rows(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)}


def test_a_session_is_what_the_protocol_says(opened: Opened) -> None:
    session = opened()
    assert isinstance(session, Session)
    assert (session.provider, session.described_inputs(), dict(session.stamps_ns())) == ("cpu", [("x", "tensor(float)", ["B", 8])], {})
    session.close()
    session.close()


@pytest.mark.parametrize("settings", [{"bound": True}, {"threads": 2}, {"optimisation": "none"}, {"bound": True, "threads": 2}])
def test_every_way_gives_the_same_bits(opened: Opened, settings: dict) -> None:
    plain, other = opened(), opened(**settings)
    for count in (1, 5, 1, 64, 5):
        given = rows(count, count)
        assert other.run(given)["y"].tobytes() == plain.run(given)["y"].tobytes()


def test_what_bound_memory_gives_belongs_to_the_caller(opened: Opened) -> None:
    session = opened(bound=True)
    kept = [session.run(rows(3, seed))["y"] for seed in range(6)]
    again = [opened().run(rows(3, seed))["y"] for seed in range(6)]
    assert all(np.array_equal(a, b) for a, b in zip(kept, again, strict=True))
    kept[0][:] = 7.0
    assert not np.any(session.run(rows(3, 1))["y"] == 7.0)


def test_bound_memory_in_many_threads_and_more_shapes_than_are_kept(opened: Opened) -> None:
    session, plain = opened(bound=True), opened()
    jobs = [rows(1 + k % 12, k) for k in range(120)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda given: session.run(given)["y"], jobs))
    assert all(np.array_equal(value, plain.run(given)["y"]) for value, given in zip(found, jobs, strict=True))


def test_inputs_are_checked_in_every_way(opened: Opened) -> None:
    for session in (opened(), opened(bound=True)):
        for wrong in ({"x": np.zeros((1, 9), np.float32)}, {"x": np.zeros((0, 8), np.float32)}, {"z": np.zeros((1, 8), np.float32)}):
            with pytest.raises(ShapeError):
                session.run(wrong)
        with pytest.raises(NonFiniteError):
            session.run({"x": np.full((1, 8), np.nan, np.float32)})


def endless(rounds: int) -> bytes:
    """y = x[:, :4] after ``rounds`` turns of a loop that a compiler cannot leave out."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_in"], ["go"]), helper.make_node("Sin", ["v_in"], ["v"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_in", TensorProto.FLOAT, ["B", 4]),
        ],
        [helper.make_tensor_value_info("go", TensorProto.BOOL, []), helper.make_tensor_value_info("v", TensorProto.FLOAT, ["B", 4])],
    )
    loop = helper.make_node("Loop", ["rounds", "yes", "start"], ["y"], body=body)
    nodes = [helper.make_node("Slice", ["x", "from", "to", "axes"], ["start"]), loop]
    numbers = {"from": np.array([0], np.int64), "to": np.array([4], np.int64), "axes": np.array([1], np.int64)}
    return onnx_model(nodes, INPUTS, OUTPUTS, {**numbers, "rounds": np.array(rounds, np.int64), "yes": np.array(True)})


def test_a_graph_that_never_ends_is_stopped() -> None:
    session = OnnxSession("a", SPEC, endless(1 << 60))
    with pytest.raises(BundleError, match="took too long") as caught, session.limited(0.3):
        session.run(rows(1))
    assert caught.value.code == "too_slow"
    short = OnnxSession("a", SPEC, endless(3))
    with short.limited(60.0):
        assert short.run(rows(2))["y"].shape == (2, 4)
    assert short.run(rows(2))["y"].shape == (2, 4)


def test_outputs_other_than_declared_are_no_answer(model: bytes) -> None:
    from dex_core.runtime import check_outputs

    good = np.zeros((2, 4), np.float32)
    check_outputs("a", SPEC, {"y": good})
    for wrong in ({}, {"y": good, "z": good}, {"y": good.astype(np.float64)}, {"y": good[:, :3]}, {"y": good[0]}):
        with pytest.raises(ShapeError, match="output"):
            check_outputs("a", SPEC, wrong)
    with pytest.raises(NonFiniteError):
        check_outputs("a", SPEC, {"y": good + np.inf})


def test_no_model_is_refused() -> None:
    with pytest.raises(BundleError) as caught:
        OnnxSession("a", SPEC, b"nothing", Settings())
    assert caught.value.code == "graph_refused"
