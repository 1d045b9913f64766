# SPDX-License-Identifier: Apache-2.0
"""Client of LeRobot's asynchronous policy server: gRPC calls around pickles. It loads what the description names, and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dex_core.errors import ConfigError
from dex_policy.foreign.lerobot_wire import SERVICE, actions_message, blocks, pickled, read_actions, setup_message
from dex_policy.foreign.link import AnswerLate, LateAnswerCame, Reply, ServerError, ServerLost
from dex_policy.foreign.manifest import RemoteManifest

INSTALL = "pip install -c constraints.txt -r requirements-lerobot.txt"
STATE, IMAGES = "observation.state", "observation.images."


class LeRobotLink:
    """A connection to one server. Its protocol is for one client: another one that greets the server takes it over.

    Args:
        manifest: the description; its ``lerobot`` part allows the server's pickles.
        wall_clock_ns: wall-clock time [ns].

    Raises:
        ConfigError: the package grpcio is missing.
    """

    def __init__(self, manifest: RemoteManifest, wall_clock_ns: Callable[[], int] = time.time_ns) -> None:
        try:
            import grpc
        except ImportError as error:
            raise ConfigError(f"protocol 'lerobot' needs the package grpcio: {INSTALL}") from error
        assert manifest.lerobot is not None  # the protocol's manifest check
        self._grpc, self._manifest, self._wall_clock_ns = grpc, manifest, wall_clock_ns
        self._server = manifest.server
        self.address = manifest.server.url
        self._channel: Any = None
        self._calls: dict[str, Any] = {}
        self._timestep = 0
        self._gone = threading.Event()
        self._names = [f"{STATE}.{k}" for k in range(manifest.observation.states[0].width)]

    @property
    def is_open(self) -> bool:
        """See ``Link``."""
        return self._channel is not None

    def open(self) -> None:
        """Connects, greets, and has the server load the described checkpoint. Raises ServerLost, ServerError."""
        self.close()
        grpc = self._grpc
        options = [("grpc.max_receive_message_length", round(self._server.max_reply_mib * 2**20)), ("grpc.max_send_message_length", 8 << 20),
                   ("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0)]
        self._channel = grpc.insecure_channel(f"{self._server.host}:{self._server.port}", options)
        try:
            grpc.channel_ready_future(self._channel).result(timeout=self._server.connect_timeout_s)
        except grpc.FutureTimeoutError as error:
            raise ServerLost(f"{self.address} cannot be reached within {self._server.connect_timeout_s} s") from error
        self._calls = {
            "Ready": self._channel.unary_unary(SERVICE + "Ready"),
            "SendPolicyInstructions": self._channel.unary_unary(SERVICE + "SendPolicyInstructions"),
            "SendObservations": self._channel.stream_unary(SERVICE + "SendObservations"),
            "GetActions": self._channel.unary_unary(SERVICE + "GetActions"),
        }
        self._gone, self._timestep = self._watch(self._channel), 0
        self._call("Ready", b"", self._server.connect_timeout_s)
        self._call("SendPolicyInstructions", setup_message(self._instructions()), self._server.first_deadline_s)

    def ask(self, request: Mapping[str, Any], stamp_ns: int, timeout_s: float) -> Reply:
        """See ``Link``. Raises AnswerLate, ServerLost, ServerError, PickleRefused."""
        give_up = time.monotonic() + timeout_s
        self._timestep += 1
        raw = {name: float(value) for name, value in zip(self._names, request[STATE], strict=True)}
        raw |= {key.removeprefix(IMAGES): np.ascontiguousarray(value) for key, value in request.items() if key.startswith(IMAGES)}
        raw["task"] = request["task"]
        # must_go: else the server skips an observation that is like the one before
        data = pickled("TimedObservation", {"timestamp": stamp_ns * 1e-9, "timestep": self._timestep, "observation": raw, "must_go": True})
        sent_ns = self._wall_clock_ns()
        self._call("SendObservations", blocks(data), timeout_s)
        message = self._call("GetActions", b"", max(0.001, give_up - time.monotonic()))
        received_ns = self._wall_clock_ns()
        answer = actions_message(message)
        if not answer:
            raise ServerError(f"{self.address} gave no actions: its log says why; it holds {self._named()}")
        actions, first = read_actions(answer)
        if first != self._timestep:
            raise LateAnswerCame(f"{self.address}: the answer to observation {first} has only come now, {self._timestep} was asked; asking again")
        return Reply(actions, None, sent_ns, received_ns)

    def beat(self, timeout_s: float) -> None:
        """gRPC itself watches the connection; the protocol has no call that changes nothing."""
        if self._gone.is_set():
            raise ServerLost(f"{self.address} has gone")

    def close(self) -> None:
        """See ``Link``."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _instructions(self) -> bytes:
        """What is to be loaded, and how the vectors are made up; names of joints play no part, only their order."""
        asked, seen = self._manifest.lerobot, self._manifest.observation
        assert asked is not None
        features: dict[str, dict[str, Any]] = {STATE: {"dtype": "float32", "shape": (len(self._names),), "names": self._names}}
        for picture in seen.pictures:
            features[picture.key] = {"dtype": "image", "shape": (picture.height, picture.width, 3), "names": ["height", "width", "channels"]}
        return pickled("RemotePolicyConfig", {
            "policy_type": asked.policy_type, "pretrained_name_or_path": asked.checkpoint, "lerobot_features": features,
            "actions_per_chunk": self._manifest.action.chunk, "device": asked.device, "rename_map": dict(asked.rename_map),
        })

    def _call(self, name: str, argument: Any, timeout_s: float) -> bytes:
        try:
            return self._calls[name](argument, timeout=timeout_s)
        except self._grpc.RpcError as error:
            code = error.code()
            if code == self._grpc.StatusCode.DEADLINE_EXCEEDED:
                raise AnswerLate(f"{self.address} was silent for {timeout_s:.3g} s ({name})") from error
            self.close()
            told = " ".join(str(error.details()).split())[:300]
            if code == self._grpc.StatusCode.UNKNOWN:  # the server's own code raised
                raise ServerError(f"{self.address} failed in {name} with {self._named()}: {told}") from error
            raise ServerLost(f"{self.address}: {name}: {code.name.lower()}: {told}") from error
        except ValueError as error:  # the channel was closed by another thread
            raise ServerLost(f"{self.address}: closed") from error

    def _named(self) -> str:
        asked = self._manifest.lerobot
        return f"{asked.policy_type} {asked.checkpoint!r}" if asked else ""

    def _watch(self, channel: Any) -> threading.Event:
        """Set by gRPC's own thread once this connection is not there any more."""
        gone, state = threading.Event(), self._grpc.ChannelConnectivity
        channel.subscribe(lambda now: gone.set() if now in (state.IDLE, state.TRANSIENT_FAILURE, state.SHUTDOWN) else None)
        return gone
