# SPDX-License-Identifier: Apache-2.0
"""A graph of a local bundle that runs on a server: the same session as a local one, held against the local manifest both ways."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dex_core.bundle.manifest import Graph, Manifest
from dex_core.clock import NS
from dex_core.config import PolicyServerConfig
from dex_core.errors import BundleError, DexError
from dex_core.latency import ClockOffset, HostClock
from dex_core.runtime.base import Described, check_inputs, check_outputs
from dex_policy.remote.link import Link
from dex_policy.remote.wire import (
    HASH_KEY,
    NUMBER_BYTES,
    REPLY_HEAD_BYTES,
    STAMP_KEYS,
    ModelMetadata,
    RemoteError,
    Reply,
    Request,
    TensorMetadata,
    Wire,
    declared,
    expected_outputs,
    model_name,
)

_ORT_TYPES = {"FP32": "tensor(float)", "UINT8": "tensor(uint8)", "INT64": "tensor(int64)"}


class _Exchange(NamedTuple):
    """Stamps of one request and its answer [ns]: first and last on our clock, the others on the server's."""

    sent_ns: int
    arrived_ns: int
    left_ns: int
    received_ns: int

    @property
    def on_the_wire_ns(self) -> int:
        return self.received_ns - self.sent_ns - (self.left_ns - self.arrived_ns)


class RemoteSession:
    """Runs one graph on a server of the Open Inference Protocol. ``run`` is for one thread; nothing is asked before ``handshake``.

    Attributes:
        name, spec: as in the local bundle, which is the authority.
        provider: the server.
        model: what the graph's model is called there.
    """

    def __init__(
        self, name: str, spec: Graph, manifest: Manifest, config: PolicyServerConfig, wall_clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.name, self.spec, self.provider = name, spec, f"oip {config.endpoint}"
        self.model = model_name(config.model or manifest.name, name)
        self._config, self._wall_clock_ns = config, wall_clock_ns
        self._hash, self._version, self._told = "", "", False
        self._metadata: ModelMetadata | None = None
        self._prefix, self._number = uuid.uuid4().hex[:12], 0
        self._clock = HostClock()
        self._offset: ClockOffset | None = None
        self._fastest: _Exchange | None = None
        self._stamps: dict[str, int] = {}
        self._probe_ms = 0.0
        self._link = Link(f"policy server {config.endpoint}", config, self._make_wire, self._examine, self._alive, self._tick)

    def handshake(self, bundle_hash: str) -> str:
        """Connects; the server must serve this very bundle and answer one request in time.

        Returns:
            What was found, for the report.

        Raises:
            BundleError: ``policy_lost``, ``remote_mismatch``, ``remote_invalid`` or ``remote_refused``.
        """
        self._hash = bundle_hash
        try:
            self._link.start()
        except DexError as error:
            self.close()
            code = error.code if isinstance(error, RemoteError) else "policy_lost"
            raise BundleError(f"graph {self.name!r}: {error}", code=code) from error
        return f"{self.model} on {self._config.endpoint}: bundle hash {'equal' if self._told else 'untold'}, one request {self._probe_ms:.1f} ms"

    def described_inputs(self) -> Described:
        """What the server declares."""
        return _described(self._metadata.inputs if self._metadata else ())

    def described_outputs(self) -> Described:
        """What the server declares."""
        return _described(self._metadata.outputs if self._metadata else ())

    def run(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """One inference over the wire.

        Raises:
            ShapeError, NonFiniteError: as of a local session.
            RemoteError, DeadlineError: no answer, none in time, or one that is not what was asked for.
        """
        check_inputs(self.name, self.spec, inputs)
        request = self._request(inputs)
        reply = self._link.use(lambda wire, deadline_ns: self._ask(wire, request, deadline_ns))
        outputs = dict(reply.outputs)
        check_outputs(self.name, self.spec, outputs)
        return outputs

    def stamps_ns(self) -> Mapping[str, int]:
        """Stages of the last call in this machine's clock [ns]: ``request_sent``, ``received``, and what the server told of itself."""
        return dict(self._stamps)

    def health(self) -> str | None:
        """None while the server can be asked; else code and reason. Returns at once."""
        return self._link.health()

    def facts(self) -> dict[str, str]:
        """State of the connection, and how well the server's clock is known, for diagnostics."""
        offset = self._offset
        known = {} if offset is None else {"clock_offset_ms": f"{offset.offset_ns * 1e-6:.3f}", "clock_error_ms": f"{offset.error_ns * 1e-6:.3f}"}
        return {"model": self.model, **self._link.facts(), **known}

    def close(self) -> None:
        """Ends the connection."""
        self._link.close()

    def _make_wire(self) -> Wire:
        endpoint = self._config.endpoint
        if endpoint.scheme.startswith("grpc"):
            try:
                from dex_policy.remote.grpc_wire import GrpcWire
            except ModuleNotFoundError as error:
                raise RemoteError(f"{endpoint} needs {error.name}:  .venv/bin/pip install -r requirements-remote.txt -c constraints.txt") from error
            return GrpcWire(self._config, self._max_reply_bytes())
        from dex_policy.remote.http_wire import HttpWire

        try:
            found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise RemoteError(f"policy server {endpoint}: its name is not known: {error}") from error
        return HttpWire(self._config, [(str(address[0]), int(address[1])) for *_, address in found])

    def _max_reply_bytes(self) -> int:
        """Of a reply to the largest batch the manifest allows."""
        longest = {axis: high for axis, (_, high) in (self.spec.dynamic or {}).items()}
        sizes = (int(np.prod([a if isinstance(a, int) else longest[a] for a in t.shape], dtype=np.int64)) for t in self.spec.outputs)
        return min(REPLY_HEAD_BYTES + NUMBER_BYTES * sum(sizes), (1 << 31) - 1)

    def _request(self, inputs: Mapping[str, NDArray]) -> Request:
        self._number += 1
        ordered = {t.name: inputs[t.name] for t in self.spec.inputs}
        outputs = expected_outputs(self.name, self.spec, ordered)
        return Request(self.model, self._config.version, f"{self._prefix}-{self._number}", ordered, outputs)

    def _ask(self, wire: Wire, request: Request, deadline_ns: int) -> Reply:
        sent_ns = self._wall_clock_ns()
        reply = wire.infer(request, deadline_ns)
        received_ns = self._wall_clock_ns()
        if reply.id != request.id:
            text = f"{self.provider}: the answer is to request {reply.id[:60]!r}, asked was {request.id!r}; dropped"
            raise RemoteError(text, code="remote_invalid")
        told = reply.parameters.get(HASH_KEY)
        if told is not None:
            self._same_hash(str(told))
        if self._version and reply.model_version != self._version:
            raise RemoteError(
                f"{self.provider}: {self.model} is version {reply.model_version[:80]!r} now, it was {self._version!r}", code="remote_mismatch"
            )
        self._version = reply.model_version
        self._stamps = {"request_sent": sent_ns, "received": received_ns, **self._server_stamps(reply, sent_ns, received_ns)}
        return reply

    def _server_stamps(self, reply: Reply, sent_ns: int, received_ns: int) -> dict[str, int]:
        told = [reply.parameters.get(key) for key in STAMP_KEYS]
        if not all(isinstance(value, int) and not isinstance(value, bool) for value in told):
            return {}
        arrived_ns, started_ns, inferred_ns, left_ns = (int(value) for value in told)  # type: ignore[arg-type]
        if not 0 < arrived_ns <= started_ns <= inferred_ns <= left_ns < 1 << 62:
            return {}
        exchange = _Exchange(sent_ns, arrived_ns, left_ns, received_ns)
        if self._fastest is None or exchange.on_the_wire_ns < self._fastest.on_the_wire_ns:
            self._fastest = exchange
        if self._offset is None:
            return {}
        ahead_ns = self._offset.offset_ns
        return {"queued": arrived_ns - ahead_ns, "inference_started": started_ns - ahead_ns, "inferred": inferred_ns - ahead_ns}

    def _tick(self) -> None:
        """Learns the server's clock from the fastest exchange since the last time; on the link's thread, as it takes milliseconds."""
        exchange, self._fastest = self._fastest, None
        if exchange is None:
            return
        try:
            self._clock.add(*exchange)
        except DexError:
            return  # a clock that was set while the request was under way
        self._offset = self._clock.offset(exchange.received_ns)

    def _examine(self, wire: Wire, deadline_ns: int) -> None:
        """Ready, the same interface, the same bundle, one answer in time; the first may take longer, as a server that has just begun does."""
        self._version = ""
        self._alive(wire, deadline_ns)
        allowed_ns = round(self._config.deadline_s * NS)
        reply, took_ns = self._probe(wire, deadline_ns)
        if took_ns > allowed_ns:
            reply, took_ns = self._probe(wire, time.monotonic_ns() + allowed_ns)
        self._probe_ms = took_ns * 1e-6
        self._tick()
        assert self._metadata is not None  # told by _alive
        self._told = bool(self._metadata.bundle_hash) or HASH_KEY in reply.parameters or self._version == self._hash
        if not (self._told or self._config.accept_untold_hash):
            raise RemoteError(
                f"{self.provider}: {self.model} does not tell which bundle it is (version {self._version!r}); expected hash {self._hash}. "
                "Serve it by dex serve, or write accept_untold_hash: true",
                code="remote_mismatch",
            )

    def _probe(self, wire: Wire, deadline_ns: int) -> tuple[Reply, int]:
        """One inference of numbers without meaning, and how long it took [ns]."""
        request = self._request({t.name: self._plain(t.dtype, t.shape) for t in self.spec.inputs})
        started_ns = time.monotonic_ns()
        reply = self._ask(wire, request, deadline_ns)
        check_outputs(self.name, self.spec, reply.outputs)
        return reply, time.monotonic_ns() - started_ns

    def _alive(self, wire: Wire, deadline_ns: int) -> None:
        """Ready, and what it declares equals the manifest."""
        if not wire.ready(self.model, self._config.version, deadline_ns):
            raise RemoteError(f"{self.provider}: model {self.model!r} is not ready; is it there, and not refused? See the server's log")
        found = wire.metadata(self.model, self._config.version, deadline_ns)
        for side, mine, theirs in (("input", self.spec.inputs, found.inputs), ("output", self.spec.outputs, found.outputs)):
            wanted, told = {t.name: declared(t) for t in mine}, {t.name: t for t in theirs}
            if wanted != told or len(told) != len(theirs):
                raise RemoteError(f"{self.provider}: {self.model} has {side}s {_words(theirs)}; the manifest says {_words(wanted.values())}",
                                  code="remote_mismatch")
        if found.bundle_hash:
            self._same_hash(found.bundle_hash)
        self._metadata = ModelMetadata(  # in the manifest's order: by names, order means nothing
            found.name, found.versions, tuple(declared(t) for t in self.spec.inputs), tuple(declared(t) for t in self.spec.outputs), found.bundle_hash
        )

    def _same_hash(self, told: str) -> None:
        if told != self._hash:
            raise RemoteError(f"{self.provider}: {self.model} is of bundle {told[:80]}, the local one is {self._hash}", code="remote_mismatch")

    def _plain(self, dtype: str, shape: tuple[int | str, ...]) -> NDArray:
        """A well-formed input without meaning: half of everything, the smallest batch."""
        lengths = tuple(a if isinstance(a, int) else self.spec.dynamic[a][0] for a in shape)
        return np.full(lengths, {"float32": 0.5, "uint8": 128, "int64": 1}[dtype], dtype)


def _described(tensors: tuple[TensorMetadata, ...]) -> Described:
    return [(t.name, _ORT_TYPES.get(t.datatype, t.datatype), [a if a >= 0 else None for a in t.shape]) for t in tensors]


def _words(tensors: object) -> str:
    text = ", ".join(f"{t.name!r} {t.datatype} {list(t.shape)}" for t in tensors)  # type: ignore[attr-defined]
    return text if len(text) <= 400 else text[:399] + "…"


