# SPDX-License-Identifier: Apache-2.0
"""The Open Inference Protocol over HTTP: one connection kept open, a deadline and a size limit over each answer, no redirect followed."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Sequence
from urllib.parse import quote

from dex_core.clock import NS
from dex_core.config import PolicyServerConfig
from dex_core.errors import DeadlineError
from dex_policy.credentials import read_token, tls_context
from dex_policy.remote import http_body
from dex_policy.remote.deadline_socket import DeadlinePassed, DeadlineSocket
from dex_policy.remote.wire import MAX_METADATA_BYTES, ModelMetadata, RemoteError, Reply, Request


class HttpWire:
    """One server over HTTP/1.1. One thread at a time.

    Args:
        config: where the server is.
        addresses: (host, port) as resolved beforehand, so that no later connection waits for a name server; the first that answers is taken.
    """

    def __init__(self, config: PolicyServerConfig, addresses: Sequence[tuple[str, int]]) -> None:
        self._config, self._endpoint = config, config.endpoint
        self._addresses = tuple(addresses)
        self._who = f"policy server {self._endpoint}"
        self._socket: DeadlineSocket | None = None
        self._http: http.client.HTTPConnection | None = None
        self._headers: dict[str, str] = {}
        self._binary = False

    def open(self, deadline_ns: int) -> None:
        """Connects anew and asks whether raw tensors are taken. Raises RemoteError, DeadlineError or ConfigError (files of secrets)."""
        self._connect(deadline_ns)
        status, body, _ = self._call("GET", "/v2", deadline_ns, MAX_METADATA_BYTES)
        extensions = http_body.parse(self._who, body).get("extensions") if status == 200 else None
        self._binary = isinstance(extensions, list) and http_body.EXTENSION in extensions

    def ready(self, model: str, version: str, deadline_ns: int) -> bool:
        """Whether the model can be asked. Raises RemoteError or DeadlineError."""
        status, _, _ = self._call("GET", f"{_place(model, version)}/ready", deadline_ns, MAX_METADATA_BYTES)
        return status == 200

    def metadata(self, model: str, version: str, deadline_ns: int) -> ModelMetadata:
        """What the server says of the model, with Triton's model configuration where the metadata tell no hash. Raises as ``infer``."""
        place = _place(model, version)
        found = http_body.unpack_metadata(self._who, self._good("GET", place, deadline_ns, MAX_METADATA_BYTES)[0])
        if found.bundle_hash:
            return found
        status, body, _ = self._call("GET", f"{place}/config", deadline_ns, MAX_METADATA_BYTES)
        told = http_body.hash_in_configuration(self._who, body) if status == 200 else ""
        return ModelMetadata(found.name, found.versions, found.inputs, found.outputs, told)

    def infer(self, request: Request, deadline_ns: int) -> Reply:
        """One inference. Raises RemoteError or DeadlineError."""
        body, headers = http_body.pack(request, binary=self._binary)
        answer, length = self._good("POST", f"{_place(request.model, request.version)}/infer", deadline_ns, request.max_reply_bytes, body, headers)
        return http_body.unpack(self._who, answer, length, request)

    def close(self) -> None:
        """Lets the connection go; twice is once."""
        if self._socket is not None:
            self._socket.close()
        self._socket = self._http = None

    def _connect(self, deadline_ns: int) -> None:
        self.close()
        token = read_token(self._config.token_file, "policy.server.token_file")
        context = tls_context(self._config.ca_file, "policy.server.ca_file") if self._config.endpoint.encrypted else None
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._socket = self._first_that_answers(deadline_ns, (context, self._endpoint.host) if context else None)
        except (DeadlinePassed, TimeoutError) as error:
            raise DeadlineError(self._who, self._config.connect_s, "no connection") from error
        except (OSError, ssl.CertificateError) as error:
            raise RemoteError(f"{self._who}: no connection: {error}") from error
        self._http = http.client.HTTPConnection(self._endpoint.host, self._endpoint.port)
        self._http.auto_open = 0  # a lost connection is told, never mended behind one's back
        self._http.sock = self._socket  # type: ignore[assignment]

    def _first_that_answers(self, deadline_ns: int, tls: tuple[ssl.SSLContext, str] | None) -> DeadlineSocket:
        *others, last = self._addresses
        for address in others:
            try:
                return DeadlineSocket(address, deadline_ns, tls)
            except OSError:
                continue  # e.g. a server that listens on IPv4 alone
        return DeadlineSocket(last, deadline_ns, tls)

    def _good(
        self, method: str, path: str, deadline_ns: int, limit: int, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[bytes, str | None]:
        """Body of an answer with status 200, and how much of it is JSON."""
        status, answer, length = self._call(method, path, deadline_ns, limit, body, headers)
        if status != 200:
            text = answer[:200].decode("utf-8", "replace")
            raise RemoteError(f"{self._who}: {method} {path}: status {status}: {text!r}", code="policy_lost" if status >= 500 else "remote_refused")
        return answer, length

    def _call(
        self, method: str, path: str, deadline_ns: int, limit: int, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, str | None]:
        """(status, body, JSON length) of one exchange; the connection is closed whenever anything is wrong with it."""
        started_ns = time.monotonic_ns()
        try:
            if self._socket is None or self._socket.stale:
                self._connect(deadline_ns)  # servers close idle connections
            assert self._socket is not None and self._http is not None
            self._socket.deadline_ns = deadline_ns
            self._http.request(method, self._endpoint.path + path, body or None, {**self._headers, **(headers or {})})
            response = self._http.getresponse()
            return self._read(response, f"{method} {path}", limit)
        except (DeadlinePassed, TimeoutError) as error:
            self.close()
            raise DeadlineError(self._who, (deadline_ns - started_ns) / NS, f"{method} {path}; a later answer is dropped") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise RemoteError(f"{self._who}: {method} {path}: {type(error).__name__}: {str(error)[:200]}") from error
        except BaseException:
            self.close()
            raise

    def _read(self, response: http.client.HTTPResponse, what: str, limit: int) -> tuple[int, bytes, str | None]:
        """The body, of which no more is read than an honest one can have."""
        if 300 <= response.status < 400:
            where = response.getheader("Location", "nowhere")[:200]
            raise RemoteError(f"{self._who}: {what}: redirects to {where!r}, which is not followed", code="remote_invalid")
        coding = response.getheader("Content-Encoding", "identity")
        if coding != "identity":
            raise RemoteError(f"{self._who}: {what}: the answer is packed as {coding[:40]!r}, which nobody asked for", code="remote_invalid")
        if response.length is not None and response.length > limit:
            raise RemoteError(f"{self._who}: {what}: announces {response.length} bytes; at most {limit} are expected", code="remote_invalid")
        expected = response.length
        body = response.read(limit + 1)
        if len(body) > limit:
            raise RemoteError(f"{self._who}: {what}: sends more than the {limit} bytes expected", code="remote_invalid")
        if expected is not None and len(body) != expected:
            raise RemoteError(f"{self._who}: {what}: the connection ended after {len(body)} of {expected} bytes")
        if response.will_close:
            self.close()
        return response.status, body, response.getheader(http_body.JSON_LENGTH)


def _place(model: str, version: str) -> str:
    return f"/v2/models/{quote(model, safe='')}" + (f"/versions/{quote(version, safe='')}" if version else "")
