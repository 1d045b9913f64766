# SPDX-License-Identifier: Apache-2.0
"""Servers that end with their test, and sessions on them."""
from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.dex_policy.remote.servers import HASH, GrpcServer, HttpServer, Model

from dex_core.bundle.manifest import Graph
from dex_core.bundle.testing import write_fixture_pair
from dex_core.config import CellConfig, PolicyServerConfig, load_cell
from dex_core.config.strict import build
from dex_policy.loading import open_policy
from dex_policy.remote.session import RemoteSession


@pytest.fixture(scope='module')
def cell(tmp_path_factory) -> CellConfig:
    base = load_cell('xarm_bimanual')
    latent, policy = write_fixture_pair(Path(tmp_path_factory.mktemp('models')), base)
    return replace(base, policy=replace(base.policy, bundle=str(policy), latent_bundle=str(latent), provider='cpu'))


@pytest.fixture(scope='module')
def local(cell):
    return open_policy(cell)


@pytest.fixture
def graph() -> Graph:
    """What the fake model is, in a manifest's words."""
    return build(Graph, {
        'file': 'graphs/g.onnx',
        'inputs': [{'name': 'x', 'dtype': 'float32', 'shape': ['B', 3]}, {'name': 'k', 'dtype': 'int64', 'shape': ['B', 2]}],
        'outputs': [{'name': 'y', 'dtype': 'float32', 'shape': ['B', 3]}],
        'dynamic': {'B': [1, 8]},
        'golden': {'file': 'golden/g.npz'},
    }, 'fixture')


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is pushed here ends with the test, last first."""
    with ExitStack() as held:
        yield held


@pytest.fixture(params=['http', 'binary', 'grpc'])
def server(request: pytest.FixtureRequest, stack: ExitStack) -> HttpServer | GrpcServer:
    """The fake model behind each wire: JSON, JSON with raw tensors, gRPC."""
    model = Model()
    if request.param == 'grpc':
        pytest.importorskip('grpc', reason='grpcio is not installed: pip install -r requirements-remote.txt')
        made = GrpcServer(model)
    else:
        model.extensions = ['binary_tensor_data'] if request.param == 'binary' else []
        made = HttpServer(model)
    stack.callback(made.stop)
    return made


@pytest.fixture
def http(stack: ExitStack) -> HttpServer:
    """The fake model over HTTP alone."""
    made = HttpServer(Model())
    stack.callback(made.stop)
    return made


@pytest.fixture
def connect(graph: Graph, stack: ExitStack):
    """A session on a server, hands shaken; options as in the cell's configuration."""

    def open_one(url: str, *, shake: str = HASH, **options) -> RemoteSession:
        config = PolicyServerConfig(url, **{'deadline_s': 0.5, 'connect_s': 5.0, 'heartbeat_s': 0.05, **options})
        session = RemoteSession('g', graph, SimpleNamespace(name='m'), config)
        stack.callback(session.close)
        session.handshake(shake)
        return session

    return open_one


def wait_for(met, what: str, timeout_s: float = 15.0) -> None:
    """Until a condition holds; fails naming it."""
    end = time.monotonic() + timeout_s
    while not met():
        if time.monotonic() > end:
            raise AssertionError(f'{what}: not within {timeout_s} s')
        time.sleep(0.005)
