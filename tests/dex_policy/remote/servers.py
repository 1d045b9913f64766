# SPDX-License-Identifier: Apache-2.0
"""A small model behind plain sockets or grpcio, well-behaved unless a test says otherwise: what a hostile server can do, it can."""
from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent import futures
from dataclasses import replace

import numpy as np

from dex_core.config import CellConfig, PolicyServerConfig
from dex_policy.remote.wire import DATATYPES, STAMP_KEYS, declared

HASH = 'a' * 64
NAMES = {word: np.dtype(name) for name, word in DATATYPES.items()}


class Model:
    """``y = 2 x`` and ``n`` the sum, for (B, 3) inputs; counts what it is asked."""

    def __init__(self):
        self.ready, self.hash, self.version, self.extensions = True, HASH, HASH, []
        self.inputs = [{'name': 'x', 'datatype': 'FP32', 'shape': [-1, 3]}, {'name': 'k', 'datatype': 'INT64', 'shape': [-1, 2]}]
        self.outputs = [{'name': 'y', 'datatype': 'FP32', 'shape': [-1, 3]}]
        self.asked = 0
        self.headers: dict[str, str] = {}
        self.parameters: dict[str, object] = {}
        self.gate = threading.Event()  # open: answers at once
        self.gate.set()
        self.entered = threading.Event()

    def infer(self, inputs):
        self.asked += 1
        self.entered.set()
        self.gate.wait(30.0)
        return {'y': 2 * inputs['x'] + inputs['k'].sum(axis=1, keepdims=True).astype(np.float32)}


class BundleModel(Model):
    """The graph of a real bundle."""

    def __init__(self, bundle):
        super().__init__()
        self.session = bundle.sessions['policy']
        self.inputs, self.outputs = ([{**declared(t)._asdict(), 'shape': list(declared(t).shape)} for t in side]
                                     for side in (self.session.spec.inputs, self.session.spec.outputs))
        self.hash = self.version = bundle.hash

    def infer(self, inputs):
        self.asked += 1
        now = time.time_ns()
        self.parameters = dict(zip(STAMP_KEYS, (now,) * 4, strict=True))
        return self.session.run(inputs)


def on(cell: CellConfig, server: HttpServer, **options) -> CellConfig:
    config = PolicyServerConfig(server.url, **{'deadline_s': 5.0, 'heartbeat_s': 0.05, **options})
    return replace(cell, policy=replace(cell.policy, server=config))


Hostile = Callable[[socket.socket, dict], None]


class HttpServer:
    """One thread a connection; ``rules``: end of a path (``infer``, ``ready``, ``config``, ``m.g``, ``v2``) -> what happens instead."""

    def __init__(self, model: Model, port: int = 0, tls=None):
        self.model, self.rules = model, dict[str, Hostile]()
        self.stopped = threading.Event()
        self._tls, self._open = tls, []
        self._listener = socket.create_server(('127.0.0.1', port))
        self.port = self._listener.getsockname()[1]
        self.url = f'{"https" if tls else "http"}://{"localhost" if tls else "127.0.0.1"}:{self.port}'
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        self.stopped.set()
        self.model.gate.set()
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self.drop()

    def drop(self):
        """Every connection ends."""
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()
        self._open = []

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True)
            except OSError:
                if self.stopped.is_set():
                    return
                continue
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            with connection.makefile('rb') as reader:
                while (request := self._read(reader)) is not None:
                    rule = self.rules.get(request['path'].rpartition('/')[2])
                    if rule is not None:
                        rule(connection, request)
                        return connection.close()
                    connection.sendall(self._answer(request))
        except (OSError, UnicodeDecodeError):
            pass  # the client has gone, or speaks TLS

    @staticmethod
    def _read(reader):
        line = reader.readline().decode()
        if not line:
            return None
        headers = {}
        while (entry := reader.readline().decode().strip()):
            key, _, value = entry.partition(':')
            headers[key.lower()] = value.strip()
        return {'path': line.split()[1], 'headers': headers, 'body': reader.read(int(headers.get('content-length', 0)))}

    def _answer(self, request) -> bytes:
        model, last = self.model, request['path'].rpartition('/')[2]
        model.headers = request['headers']
        if last == 'infer':
            return self.reply(request)
        if last == 'ready':
            return response(b'', 200 if model.ready else 400)
        if last == 'v2':
            return response({'name': 'fake', 'version': '1', 'extensions': model.extensions})
        if last == 'config':
            return response({'error': 'no such call'}, 404)
        told = {'parameters': {'bundle_hash': model.hash}} if model.hash else {}
        return response({'name': last, 'versions': [], 'platform': 'fake', 'inputs': model.inputs, 'outputs': model.outputs, **told})

    def reply(self, request, **changes) -> bytes:
        """The right answer to an inference, with entries exchanged."""
        length = request['headers'].get('inference-header-content-length')
        body = request['body']
        data, rest = json.loads(body[:int(length)] if length else body), body[int(length):] if length else b''
        inputs = {}
        for entry in data['inputs']:
            dtype, size = NAMES[entry['datatype']], entry.get('parameters', {}).get('binary_data_size')
            if size is None:
                inputs[entry['name']] = np.array(entry['data'], dtype).reshape(entry['shape'])
            else:
                inputs[entry['name']], rest = np.frombuffer(rest[:size], dtype).reshape(entry['shape']), rest[size:]
        found = self.model.infer(inputs)
        blob, outputs = b'', []
        for name, value in found.items():
            entry = {'name': name, 'shape': list(value.shape), 'datatype': DATATYPES[value.dtype.name]}
            if length:
                entry['parameters'] = {'binary_data_size': value.nbytes}
                blob += value.tobytes()
            else:
                entry['data'] = value.ravel().tolist()
            outputs.append(entry)
        head = {'model_name': 'm', 'model_version': self.model.version, 'id': data['id'], 'outputs': outputs,
                'parameters': self.model.parameters, **changes}
        if not length:
            return response(head)
        text = json.dumps(head).encode()
        return response(text + blob, extra={'Inference-Header-Content-Length': str(len(text))})


def response(body, status: int = 200, extra: dict[str, str] | None = None) -> bytes:
    """A whole HTTP response."""
    blob = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f'HTTP/1.1 {status} X', f'Content-Length: {len(blob)}', *(f'{k}: {v}' for k, v in (extra or {}).items())]
    return '\r\n'.join(lines).encode() + b'\r\n\r\n' + blob


class GrpcServer:
    """The same model by gRPC; ``rules``: call -> what answers instead, given the request and the context."""

    def __init__(self, model: Model, port: int = 0, tls: tuple[bytes, bytes] | None = None):
        import grpc

        from dex_policy.remote.grpc_messages import CALLS, message

        self.model, self.rules, self._message = model, {}, message
        calls = {call: grpc.unary_unary_rpc_method_handler(getattr(self, f'_{call}'), request_deserializer=message(asked).FromString,
                                                           response_serializer=lambda m: m if isinstance(m, bytes) else m.SerializeToString())
                 for call, (asked, _) in CALLS.items() if call != 'ModelConfig'}
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('inference.GRPCInferenceService', calls),))
        if tls is None:
            self.port = self._server.add_insecure_port(f'127.0.0.1:{port}')
        else:
            self.port = self._server.add_secure_port(f'127.0.0.1:{port}', grpc.ssl_server_credentials([tls]))
        self.url = f'grpcs://localhost:{self.port}' if tls else f'grpc://127.0.0.1:{self.port}'
        self._server.start()

    def stop(self):
        self.model.gate.set()
        self._server.stop(0).wait(5.0)

    def _ModelReady(self, request, context):
        return self._message('ModelReadyResponse')(ready=self.model.ready)

    def _ModelMetadata(self, request, context):
        tensor, found = self._message('TensorMetadata'), self._message('ModelMetadataResponse')(name=request.name)
        found.inputs.extend(tensor(**t) for t in self.model.inputs)
        found.outputs.extend(tensor(**t) for t in self.model.outputs)
        if self.model.hash:
            found.parameters['bundle_hash'].string_param = self.model.hash
        return found

    def _ModelInfer(self, request, context):
        if 'ModelInfer' in self.rules:
            return self.rules['ModelInfer'](request, context)
        return self.reply(request, context)

    def reply(self, request, context=None):
        """The right answer to an inference."""
        self.model.headers = dict(context.invocation_metadata()) if context else {}
        inputs = {t.name: np.frombuffer(raw, NAMES[t.datatype]).reshape(list(t.shape))
                  for t, raw in zip(request.inputs, request.raw_input_contents, strict=True)}
        found = self._message('ModelInferResponse')(model_name=request.model_name, model_version=self.model.version, id=request.id)
        for name, value in self.model.infer(inputs).items():
            found.outputs.add(name=name, datatype=DATATYPES[value.dtype.name], shape=value.shape)
            found.raw_output_contents.append(value.tobytes())
        for key, value in self.model.parameters.items():
            setattr(found.parameters[key], 'string_param' if isinstance(value, str) else 'int64_param', value)
        return found
