# SPDX-License-Identifier: Apache-2.0
"""A policy behind LeRobot's protocol: against a server of raw gRPC, and against the real one where the lerobot package is installed."""

from __future__ import annotations

import io
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.dex_policy.foreign.made import COLUMNS, STAMP_NS, STEPS, changed, lerobot_description, observation_of, opened

from dex_core.config import CellConfig
from dex_core.errors import BundleError, DexError
from dex_policy.foreign import open_foreign
from dex_policy.foreign.lerobot_wire import BLOCK_BYTES, actions_message, blocks, pickled, read_actions, setup_message
from dex_ros.testing import wait_for

grpc = pytest.importorskip("grpc", reason="grpcio is not installed: pip install -c constraints.txt -r requirements-lerobot.txt")
Write = Callable[[dict[str, Any]], Path]
WAIT_S = 20.0


class _Plain(pickle.Unpickler):
    """Reads what we pickle: LeRobot's classes become plain objects, NumPy's arrays are themselves."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "lerobot.async_inference.helpers":
            return type(name, (SimpleNamespace,), {})
        return super().find_class(module, name)


def plain(data: bytes) -> Any:
    """An object as the server would see it."""
    return _Plain(io.BytesIO(data)).load()


def chunk_of(timestep: int, rows: np.ndarray) -> bytes:
    """Timed actions as a server could pickle them, numbers as NumPy arrays."""
    one = [pickled("TimedAction", {"timestamp": 1.5 + k, "timestep": timestep + k, "action": row})[2:-1] for k, row in enumerate(rows)]
    return b"\x80\x04](" + b"".join(one) + b"e."


class FakeLeRobot:
    """Answers as LeRobot's server does: observations one way, actions the other, none when it failed.

    Args:
        answer: observation -> pickled actions, or None when it failed.

    Attributes:
        setups: what it was asked to load. observations: what it was sent.
    """

    def __init__(self, answer: Callable[[Any], bytes | None], port: int = 0) -> None:
        self._answer = answer
        self.setups: list[Any] = []
        self.observations: list[Any] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), options=[("grpc.so_reuseport", 0)])
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_unary_rpc_method_handler
        handlers = {"Ready": unary(lambda r, c: b""), "SendPolicyInstructions": unary(self._setup), "SendObservations": stream(self._observe),
                    "GetActions": unary(self._actions)}
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("transport.AsyncInference", handlers)])
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"grpc://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Goes away at once."""
        self._server.stop(0).wait(5.0)

    def _setup(self, message: bytes, _context: Any) -> bytes:
        asked = plain(actions_message(message))
        if asked.pretrained_name_or_path == "/missing":
            raise FileNotFoundError("/missing: no such checkpoint")
        self.setups.append(asked)
        return b""

    def _observe(self, messages: Iterator[bytes], _context: Any) -> bytes:
        whole = b"".join(actions_message(b"\x0a" + message[3:]) for message in messages)  # less the state, the field is the one of Actions
        self.observations.append(plain(whole))
        return b""

    def _actions(self, _message: bytes, _context: Any) -> bytes:
        answer = self._answer(self.observations[-1])
        return setup_message(answer) if answer else b""


def standing(observation: Any) -> bytes:
    """Stays where it is."""
    state = np.array([observation.observation[f"observation.state.{k}"] for k in range(COLUMNS)], dtype=np.float32)
    return chunk_of(observation.timestep, np.tile(state, (STEPS, 1)))


@contextmanager
def running(answer: Callable[[Any], bytes | None] = standing, port: int = 0) -> Iterator[FakeLeRobot]:
    """A fake server for a while."""
    server = FakeLeRobot(answer, port)
    try:
        yield server
    finally:
        server.stop()


def test_a_server_that_repeats_the_state_makes_the_robot_stand(cell: CellConfig, written: Write) -> None:
    with running() as server, opened(written(lerobot_description(server.url)), cell) as policy:
        assert policy.health() is None
        chunk = policy.infer(observation_of(cell), "g", 1).chunk
        for side in ("left", "right"):
            np.testing.assert_allclose(chunk.slice_of(f"{side}_arm").data, np.tile(cell.interface(f"{side}_arm").home, (STEPS, 1)), atol=1e-6)


def test_the_server_is_asked_for_the_described_checkpoint_and_shown_what_is_described(cell: CellConfig, written: Write) -> None:
    with running() as server, opened(written(lerobot_description(server.url)), cell) as policy:
        seen = observation_of(cell)
        policy.infer(seen)
    (setup,) = server.setups
    assert (setup.policy_type, setup.pretrained_name_or_path, setup.device, setup.actions_per_chunk) == ("act", "/models/act_tabletop", "cpu", STEPS)
    assert setup.lerobot_features["observation.images.front"]["shape"] == (240, 320, 3) and setup.rename_map == {}
    assert setup.lerobot_features["observation.state"]["shape"] == (COLUMNS,)
    shown = server.observations[-1]
    assert shown.must_go is True and shown.timestep == 2 and shown.timestamp == pytest.approx(STAMP_NS * 1e-9)
    assert shown.observation["task"] == "push the cans together" and np.array_equal(shown.observation["front"], seen.images["front"])
    assert set(shown.observation) == {"task", "front", *setup.lerobot_features["observation.state"]["names"]}


@pytest.mark.parametrize("answer", [
    lambda o: chunk_of(o.timestep, np.zeros((STEPS, 7))), lambda o: chunk_of(o.timestep, np.zeros((3, COLUMNS))),
    lambda o: pickle.dumps(time.time), lambda o: b"cos\nsystem\n(S'true'\ntR.", lambda o: None, lambda o: b"\0",
    lambda o: chunk_of(o.timestep, np.full((STEPS, COLUMNS), np.nan)),
], ids=["columns", "steps", "a function", "os.system", "nothing", "no pickle", "nan"])
def test_answers_that_are_not_as_described_are_refused(cell: CellConfig, written: Write, answer: Callable) -> None:
    wrong = [False]
    with running(lambda o: answer(o) if wrong[0] else standing(o)) as server:
        with opened(written(lerobot_description(server.url)), cell) as policy:
            wrong[0] = True
            with pytest.raises(DexError) as refused:
                policy.infer(observation_of(cell))
            assert refused.value.code in ("remote_mismatch", "pickle_refused", "remote_error", "non_finite")
            wrong[0] = False
            assert policy.infer(observation_of(cell)).chunk.steps == STEPS


def test_an_answer_to_an_earlier_observation_is_not_taken(cell: CellConfig, written: Write) -> None:
    late = [False]

    def answer(observation: Any) -> bytes:
        state = standing(observation)
        return chunk_of(observation.timestep - 1, read_actions(state)[0] + 0.5) if late[0] else state

    with running(answer) as server, opened(written(lerobot_description(server.url)), cell) as policy:
        late[0] = True
        with pytest.raises(DexError, match="has only come now") as refused:
            policy.infer(observation_of(cell))
        assert refused.value.code == "policy_late"


def test_a_checkpoint_the_server_cannot_load_is_told(cell: CellConfig, written: Write) -> None:
    with running() as server:
        description = changed(lerobot_description(server.url), "lerobot.checkpoint", "/missing")
        with opened(written(changed(description, "server.connect_timeout_s", 1.0)), cell) as policy:
            assert "no such checkpoint" in policy.health() and policy.health().startswith("remote_error")


def test_a_silent_server_ends_in_time_and_one_that_goes_is_found_again(cell: CellConfig, written: Write) -> None:
    gate, stuck = threading.Event(), [False]

    def answer(observation: Any) -> bytes:
        if stuck[0]:
            gate.wait(WAIT_S)
        return standing(observation)

    with running(answer) as server:
        description = changed(lerobot_description(server.url), "server.deadline_s", 0.3)
        policy = open_foreign(written(description), cell)
        port, stuck[0] = server.port, True
        with pytest.raises(DexError) as late:
            policy.infer(observation_of(cell))
        assert late.value.code == "policy_late"
        gate.set()
    try:
        wait_for(lambda: policy.health() is not None, "the loss", WAIT_S)
        with pytest.raises(DexError) as lost:
            policy.infer(observation_of(cell))
        assert lost.value.code == "policy_lost"
        with running(port=port) as again:
            wait_for(lambda: policy.health() is None, "connected anew", WAIT_S)
            policy.infer(observation_of(cell))
            assert len(again.setups) == 1  # it has loaded the checkpoint anew
    finally:
        policy.close()


def test_a_wrong_shape_refuses_at_the_start(cell: CellConfig, written: Write) -> None:
    with running(lambda o: chunk_of(o.timestep, np.zeros((50, 6)))) as server:
        with pytest.raises(BundleError, match=r"\(50, 6\).*\(10, 16\)"):
            open_foreign(written(lerobot_description(server.url)), cell)


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES])
def test_observations_go_in_blocks_that_say_where_they_belong(size: int) -> None:
    data = np.random.default_rng(0).bytes(size)
    messages = list(blocks(data))
    assert b"".join(actions_message(b"\x0a" + m[3:]) for m in messages) == data
    states = [m[1] for m in messages]
    assert not states or (states[-1] == 3 and all(s == (1 if k == 0 else 2) for k, s in enumerate(states[:-1])))


@pytest.mark.parametrize("message", [b"\x0a\x05abc", b"\x12\x01a", b"\x0a", b"\x0a\xff\xff\xff\xff\xff\x01", b"\xff" * 20])
def test_a_message_that_is_none_is_refused(message: bytes) -> None:
    with pytest.raises(DexError):
        actions_message(message)


def test_the_real_package_reads_what_we_write_and_we_read_what_it_writes(cell: CellConfig) -> None:
    helpers = pytest.importorskip("lerobot.async_inference.helpers", reason="the package lerobot is not installed")
    torch = pytest.importorskip("torch")
    services = pytest.importorskip("lerobot.transport.services_pb2")
    image = observation_of(cell).images["front"]
    data = pickled("TimedObservation", {"timestamp": 1.5, "timestep": 3, "observation": {"front": image, "j": 0.5, "task": "x"}, "must_go": True})
    found = pickle.loads(data)
    assert type(found) is helpers.TimedObservation and found.must_go and np.array_equal(found.get_observation()["front"], image)
    messages = [services.Observation.FromString(m) for m in blocks(data)]
    assert b"".join(m.data for m in messages) == data and messages[-1].transfer_state == services.TransferState.TRANSFER_END
    rows = torch.rand(5, 4)
    chunk = [helpers.TimedAction(timestamp=1.0 + k, timestep=9 + k, action=row) for k, row in enumerate(list(rows))]
    message = services.Actions(data=pickle.dumps(chunk)).SerializeToString()
    actions, first = read_actions(actions_message(message))
    assert first == 9 and np.array_equal(actions, rows.numpy())
