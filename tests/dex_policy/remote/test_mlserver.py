# SPDX-License-Identifier: Apache-2.0
"""A real MLServer from PyPI, in its own environment: the shipped policy served, refused bundles, a model that fails, a server that dies."""
from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.dex_policy.remote.conftest import wait_for

from dex_core.bundle import LoadOptions, load_bundle
from dex_core.bundle.probes import unpack_cases
from dex_core.config import PolicyServerConfig, load_cell
from dex_core.errors import BundleError, ConfigError, DexError
from dex_policy.loading import open_policy
from dex_policy.remote.repository import RUNTIME, write_repository
from dex_policy.remote.serve import find_mlserver, serving_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
START_S = 120.0
SECOND = 'refused_copy'


class MlServer:
    """MLServer on a repository; ends with its test."""

    def __init__(self, command: Path, folder: Path, log: Path):
        self._command, self.folder, self._log = command, folder, log
        settings = json.loads((folder / 'settings.json').read_text())
        self.http, self.grpc = settings['http_port'], settings['grpc_port']
        self.process: subprocess.Popen | None = None

    def start(self, wait_for_model: str):
        environment = serving_environment()
        environment['PYTHONPATH'] += os.pathsep + str(Path(__file__).parent)
        with self._log.open('ab') as log:
            self.process = subprocess.Popen([self._command, 'start', self.folder], env=environment, stdout=log, stderr=log, cwd=self.folder)
        wait_for(lambda: self.status(f'models/{wait_for_model}/ready') == 200 or self.process.poll() is not None, f'MLServer, {self.log()}', START_S)
        assert self.process.poll() is None, self.log()

    def status(self, path: str) -> int:
        try:
            with urllib.request.urlopen(f'http://127.0.0.1:{self.http}/v2/{path}', timeout=5.0) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def log(self) -> str:
        return self._log.read_text()[-3000:]

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(20.0)


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(('127.0.0.1', 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


@pytest.fixture(scope='module')
def cell():
    return load_cell('xarm_bimanual')


@pytest.fixture(scope='module')
def local(cell):
    """The shipped policy as it runs here."""
    return load_bundle(cell.policy.bundle, LoadOptions(cell=cell))


@pytest.fixture(scope='module')
def server(local, tmp_path_factory) -> Iterator[MlServer]:
    """The shipped policy, made to fail on demand, and a copy whose weights were changed after it was written."""
    try:
        command = find_mlserver()
    except ConfigError as error:
        pytest.skip(str(error))
    root = tmp_path_factory.mktemp('mlserver')
    http, grpc = free_ports(2)
    (name,) = write_repository([local], root / 'r', http_port=http, grpc_port=grpc)
    settings = root / 'r' / name / 'model-settings.json'
    settings.write_text(settings.read_text().replace(RUNTIME, 'failing_runtime.FailingRuntime'))
    shutil.copytree(root / 'r' / 'bundles' / local.manifest.name, root / 'r' / 'bundles' / SECOND)
    graph = root / 'r' / 'bundles' / SECOND / local.manifest.graphs['policy'].file
    graph.write_bytes(graph.read_bytes()[:-1] + b'\1')
    shutil.copytree(settings.parent, root / 'r' / SECOND)
    copied = json.loads(settings.read_text())
    copied['name'], copied['parameters']['uri'] = SECOND, f'../bundles/{SECOND}'
    (root / 'r' / SECOND / 'model-settings.json').write_text(json.dumps(copied))
    made = MlServer(command, root / 'r', root / 'log')
    try:
        made.start(name)
        yield made
    finally:
        made.kill()


@pytest.fixture
def running(server, local) -> MlServer:
    if server.process.poll() is not None:
        server.start(f'{local.manifest.name}.policy')
    return server


@pytest.fixture(params=['http', 'grpc'])
def remote_cell(request, cell, running):
    """The cell, its policy on the server."""
    if request.param == 'grpc':
        pytest.importorskip('grpc', reason='grpcio is not installed: pip install -r requirements-remote.txt')
    url = f'{request.param}://127.0.0.1:{getattr(running, request.param)}'
    return replace(cell, policy=replace(cell.policy, server=PolicyServerConfig(url, deadline_s=10.0, connect_s=30.0, heartbeat_s=0.2)))


@pytest.fixture
def opened(remote_cell):
    policy, bundle = open_policy(remote_cell)
    yield policy, bundle
    policy.close()


def golden(bundle):
    return unpack_cases(bundle.golden('policy'), 'golden')


def test_the_shipped_policy_passes_every_check_through_the_server(opened, local):
    policy, bundle = opened
    assert all(r.ok for r in bundle.report if r.name != 'speed'), bundle.report
    assert bundle.hash == local.hash == policy.spec.bundle_hash and policy.spec.provider.startswith('oip ')
    for inputs, _ in golden(local):
        here, there = local.sessions['policy'].run(inputs), bundle.sessions['policy'].run(inputs)
        assert set(here) == set(there)
        for name, value in here.items():
            assert np.abs(value - there[name]).max() <= 1e-5
    assert {'request_sent', 'queued', 'inference_started', 'inferred', 'received'} <= set(bundle.sessions['policy'].stamps_ns())
    assert policy.health() is None and policy.facts()['link'] == 'up'


def test_a_bundle_that_changed_is_never_ready_and_the_others_serve(running, local):
    assert running.status(f'models/{SECOND}/ready') == 400
    assert running.status(f'models/{local.manifest.name}.policy/ready') == 200
    assert 'hash_mismatch' in running._log.read_text()


def test_a_bad_request_is_an_error_and_the_model_stays_ready(opened, running, local):
    url = f'http://127.0.0.1:{running.http}/v2/models/{local.manifest.name}.policy/infer'
    bodies = [b'{', b'{"inputs": []}', b'{"inputs": [{"name": "image", "shape": [1], "datatype": "UINT8", "data": [1]}]}',
              b'{"inputs": [{"name": "tokens", "shape": [1, 24], "datatype": "FP32", "data": [1]}]}']
    for body in bodies:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(url, body, {'Content-Type': 'application/json'}), timeout=10.0)
        assert 400 <= refused.value.code < 500
    assert opened[0].health() is None


def test_a_model_out_of_memory_holds_the_client_and_comes_back(opened, running, local):
    """F39: an error reply, the model unready, the service alive; ready again when its golden cases pass."""
    policy, bundle = opened
    inputs, _ = golden(local)[0]
    name = f'{local.manifest.name}.policy'
    broken = running.folder / name / 'broken'
    broken.touch()
    try:
        with pytest.raises(DexError, match='out of memory') as failed:
            bundle.sessions['policy'].run(inputs)
        assert failed.value.code == 'policy_lost'
        wait_for(lambda: policy.health() is not None, 'the loss shows')
        assert policy.health().startswith('policy_lost') and running.status(f'models/{name}/ready') == 400
        assert running.status('health/live') == 200 and running.process.poll() is None
    finally:
        broken.unlink()
    wait_for(lambda: policy.health() is None, f'the model is ready again, {running.log()}', 30.0)
    assert np.isfinite(bundle.sessions['policy'].run(inputs)['chunk']).all()


def test_a_frozen_server_is_lost_and_found(remote_cell, running, local):
    """F2: it accepts and never answers."""
    server = replace(remote_cell.policy.server, deadline_s=2.0, connect_s=10.0)
    policy, bundle = open_policy(replace(remote_cell, policy=replace(remote_cell.policy, server=server)))
    inputs, _ = golden(local)[0]
    try:
        running.process.send_signal(signal.SIGSTOP)
        with pytest.raises(DexError):
            bundle.sessions['policy'].run(inputs)
        wait_for(lambda: policy.health() is not None, 'the loss shows', 30.0)
        running.process.send_signal(signal.SIGCONT)
        wait_for(lambda: policy.health() is None, 'the server is found again', 60.0)
        assert np.isfinite(bundle.sessions['policy'].run(inputs)['chunk']).all()
    finally:
        running.process.send_signal(signal.SIGCONT)
        policy.close()


def test_a_killed_server_is_lost_and_its_successor_found(opened, running, local):
    """F1."""
    policy, bundle = opened
    inputs, _ = golden(local)[0]
    running.kill()
    wait_for(lambda: policy.health() is not None, 'the loss shows without a request')
    with pytest.raises(DexError):
        bundle.sessions['policy'].run(inputs)
    running.start(f'{local.manifest.name}.policy')
    wait_for(lambda: policy.health() is None, 'the successor is found', 30.0)
    assert np.isfinite(bundle.sessions['policy'].run(inputs)['chunk']).all()


def test_another_bundle_there_is_refused(remote_cell, running, local, tmp_path):
    """F3: here a bundle that differs in one byte of its licence, and says so in its manifest."""
    folder = tmp_path / local.manifest.name
    shutil.copytree(local.folder, folder)
    shutil.copytree(local.space.folder, tmp_path / local.space.manifest.name)
    text = (folder / 'LICENSE').read_bytes()
    (folder / 'LICENSE').write_bytes(text[:-1] + b'.')
    manifest = (folder / 'manifest.yaml').read_text()
    (folder / 'manifest.yaml').write_text(manifest.replace(hashlib.sha256(text).hexdigest(), hashlib.sha256(text[:-1] + b'.').hexdigest()))
    with pytest.raises(BundleError, match=local.hash) as refused:
        open_policy(replace(remote_cell, policy=replace(remote_cell.policy, bundle=str(folder))))
    assert refused.value.code == 'remote_mismatch'
