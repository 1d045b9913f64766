# SPDX-License-Identifier: Apache-2.0
"""The Open Inference Protocol over gRPC: tensors raw, a deadline over each call, messages no larger than an honest reply."""

from __future__ import annotations

import queue
import time
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np

from dex_core.clock import NS
from dex_core.config import PolicyServerConfig
from dex_core.errors import DeadlineError
from dex_policy.credentials import read_authorities, read_token
from dex_policy.remote.grpc_messages import CALLS, SERVICE, message, value_of
from dex_policy.remote.wire import (
    DATATYPES,
    HASH_KEY,
    MAX_METADATA_BYTES,
    ModelMetadata,
    RemoteError,
    Reply,
    Request,
    TensorMetadata,
    as_array,
    check_tensors,
    from_bytes,
)

_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.ABORTED)
_CONTENTS = {"FP32": "fp32_contents", "UINT8": "uint_contents", "INT64": "int64_contents"}


class GrpcWire:
    """One server over gRPC. One thread at a time.

    Args:
        config: where the server is.
        max_reply_bytes: longer messages are refused by gRPC before they are put together.
    """

    def __init__(self, config: PolicyServerConfig, max_reply_bytes: int) -> None:
        self._config, self._endpoint = config, config.endpoint
        self._who = f"policy server {self._endpoint}"
        self._limit = max(max_reply_bytes, MAX_METADATA_BYTES)
        self._channel: grpc.Channel | None = None
        self._calls: dict[str, Any] = {}
        self._metadata: tuple[tuple[str, str], ...] = ()

    def open(self, deadline_ns: int) -> None:
        """Connects anew. Raises RemoteError, DeadlineError or ConfigError (files of secrets)."""
        self.close()
        token = read_token(self._config.token_file, "policy.server.token_file")
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        host = f"[{self._endpoint.host}]" if ":" in self._endpoint.host else self._endpoint.host
        options = [
            ("grpc.max_receive_message_length", self._limit),
            ("grpc.enable_http_proxy", 0),
            ("grpc.enable_retries", 0),  # a retry would come after its observation is stale
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if self._endpoint.encrypted:
            secrets = grpc.ssl_channel_credentials(read_authorities(self._config.ca_file, "policy.server.ca_file"))
            self._channel = grpc.secure_channel(f"{host}:{self._endpoint.port}", secrets, options)
        else:
            self._channel = grpc.insecure_channel(f"{host}:{self._endpoint.port}", options)
        for call, (asked, answered) in CALLS.items():
            self._calls[call] = self._channel.unary_unary(
                SERVICE + call, request_serializer=message(asked).SerializeToString, response_deserializer=message(answered).FromString
            )
        self._await_connection(self._channel, deadline_ns)

    def ready(self, model: str, version: str, deadline_ns: int) -> bool:
        """Whether the model can be asked. Raises RemoteError or DeadlineError."""
        return bool(self._call("ModelReady", message("ModelReadyRequest")(name=model, version=version), deadline_ns).ready)

    def metadata(self, model: str, version: str, deadline_ns: int) -> ModelMetadata:
        """What the server says of the model, with Triton's model configuration where the metadata tell no hash. Raises as ``infer``."""
        found = self._call("ModelMetadata", message("ModelMetadataRequest")(name=model, version=version), deadline_ns)
        told = value_of(found.parameters[HASH_KEY]) if HASH_KEY in found.parameters else self._configured_hash(model, version, deadline_ns)
        sides = (tuple(TensorMetadata(t.name, t.datatype, tuple(t.shape)) for t in side) for side in (found.inputs, found.outputs))
        return ModelMetadata(found.name, tuple(found.versions), *sides, told if isinstance(told, str) else "")

    def infer(self, request: Request, deadline_ns: int) -> Reply:
        """One inference. Raises RemoteError or DeadlineError."""
        asked = message("ModelInferRequest")(model_name=request.model, model_version=request.version, id=request.id)
        for name, value in request.inputs.items():
            asked.inputs.add(name=name, datatype=DATATYPES[value.dtype.name], shape=value.shape)
            asked.raw_input_contents.append(np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes())
        for name in request.outputs:
            asked.outputs.add(name=name)
        return self._reply(self._call("ModelInfer", asked, deadline_ns), request)

    def close(self) -> None:
        """Lets the connection go; twice is once."""
        if self._channel is not None:
            self._channel.close()
        self._channel, self._calls = None, {}

    def _await_connection(self, channel: grpc.Channel, deadline_ns: int) -> None:
        """Until it stands; a first failure is told at once, as trying again is the caller's matter."""
        seen: queue.SimpleQueue[grpc.ChannelConnectivity] = queue.SimpleQueue()
        follow = seen.put
        channel.subscribe(follow, try_to_connect=True)
        try:
            while (state := seen.get(timeout=_left_s(deadline_ns))) is not grpc.ChannelConnectivity.READY:
                if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
                    hint = "is it there, and its certificate known?" if self._endpoint.encrypted else "is it there?"
                    raise RemoteError(f"{self._who}: no connection; {hint}")
        except queue.Empty as error:
            self.close()
            raise DeadlineError(self._who, self._config.connect_s, "no connection") from error
        except RemoteError:
            self.close()
            raise
        finally:
            channel.unsubscribe(follow)

    def _reply(self, found: Any, request: Request) -> Reply:
        names = [t.name for t in found.outputs]
        if len(set(names)) != len(names):
            raise RemoteError(f"{self._who}: the reply gives an output twice: {names}", code="remote_invalid")
        check_tensors(self._who, {t.name: (t.datatype, tuple(t.shape)) for t in found.outputs}, request.outputs)
        raw = found.raw_output_contents
        if raw and len(raw) != len(names):
            raise RemoteError(f"{self._who}: {len(raw)} raw tensors for {len(names)} outputs", code="remote_invalid")
        outputs = {}
        for index, tensor in enumerate(found.outputs):
            where, (dtype, shape) = f"{self._who}: output {tensor.name!r}", request.outputs[tensor.name]
            if raw:
                outputs[tensor.name] = from_bytes(where, raw[index], dtype, shape)
            else:
                outputs[tensor.name] = as_array(where, list(getattr(tensor.contents, _CONTENTS[tensor.datatype])), dtype, shape)
        told: Mapping[str, Any] = {k: value for k, v in found.parameters.items() if (value := value_of(v)) is not None}
        return Reply(found.id, found.model_version, outputs, told)

    def _configured_hash(self, model: str, version: str, deadline_ns: int) -> str:
        try:
            found = self._call("ModelConfig", message("ModelConfigRequest")(name=model, version=version), deadline_ns)
        except RemoteError:
            return ""  # Triton's own call; others do not know it
        return str(found.config.parameters[HASH_KEY].string_value) if HASH_KEY in found.config.parameters else ""

    def _call(self, name: str, request: Any, deadline_ns: int) -> Any:
        if self._channel is None:
            self.open(deadline_ns)
        timeout_s = _left_s(deadline_ns)
        try:
            return self._calls[name](request, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            code, details = error.code(), str(error.details())[:200]  # type: ignore[attr-defined]
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise DeadlineError(self._who, timeout_s, f"{name}; a later answer is dropped") from error
            if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise RemoteError(f"{self._who}: {name}: {details}", code="remote_invalid") from error
            raise RemoteError(f"{self._who}: {name}: {code.name}: {details}", code="policy_lost" if code in _LOST else "remote_refused") from error


def _left_s(deadline_ns: int) -> float:
    return max(0.001, (deadline_ns - time.monotonic_ns()) / NS)
