# SPDX-License-Identifier: Apache-2.0
"""Tokens stay in their file and on the wire; certificates are always checked."""
from __future__ import annotations

import logging
import shutil
import ssl
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.dex_policy.remote.servers import GrpcServer, HttpServer, Model, response

from dex_core.config import PolicyServerConfig
from dex_core.config.strict import build
from dex_core.errors import BundleError, ConfigError, DexError
from dex_policy.credentials import read_token

TOKEN = 'sesame-open-0123'
INPUTS = {'x': np.ones((1, 3), np.float32), 'k': np.ones((1, 2), np.int64)}


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / 'token'
    path.write_text(f'{TOKEN}\n')
    path.chmod(0o600)
    return path


def test_the_token_is_sent_and_in_no_message(server, connect, token_file, caplog):
    caplog.set_level(logging.DEBUG)
    session = connect(server.url, token_file=str(token_file), heartbeat_s=60.0)
    session.run(INPUTS)
    assert server.model.headers['authorization'] == f'Bearer {TOKEN}'
    rules = 'infer' if isinstance(server, HttpServer) else 'ModelInfer'
    server.rules[rules] = (lambda c, r: c.sendall(response({'error': 'no'}, 401))) if rules == 'infer' else (lambda r, c: 1 / 0)
    with pytest.raises(DexError) as refused:
        session.run(INPUTS)
    assert TOKEN not in f'{refused.value}{refused.value.__cause__}{session.facts()}{session.health()}{caplog.text}'


@pytest.mark.parametrize(('content', 'mode'), [
    (TOKEN, 0o644), ('', 0o600), ('two words', 0o600), ('a\nb', 0o600), ('ä' * 5, 0o600), ('x' * 9000, 0o600), (None, 0o600),
])
def test_a_token_file_that_is_not_one_is_refused_without_its_content(tmp_path, content, mode):
    path = tmp_path / 'token'
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    with pytest.raises(ConfigError, match=str(path)) as refused:
        read_token(str(path), 'policy.server.token_file')
    assert not content or content not in str(refused.value)


@pytest.mark.parametrize(('values', 'text'), [
    ({'url': 'http://10.0.0.5:8080'}, 'insecure: true'),
    ({'url': 'grpc://gpu.lab:8001'}, 'insecure: true'),
    ({'url': 'http://user:secret@127.0.0.1:80'}, 'token_file'),
    ({'url': 'https://:secret@10.0.0.1'}, 'token_file'),
    ({'url': 'ws://127.0.0.1'}, 'must begin with'),
    ({'url': 'http://127.0.0.1:99999'}, 'no URL'),
    ({'url': 'http://127.0.0.1:0'}, 'expected scheme'),
    ({'url': 'http:///v2'}, 'expected scheme'),
    ({'url': 'http://127.0.0.1?token=secret'}, 'expected scheme'),
    ({'url': 'grpc://127.0.0.1:1/path'}, 'expected scheme'),
    ({'url': 'http://127.0.0.1/a b'}, 'printable'),
    ({'url': ''}, 'must begin with'),
    ({}, 'missing'),
    ({'url': 'http://127.0.0.1', 'model': '../other'}, 'letters, digits'),
    ({'url': 'http://127.0.0.1', 'version': 'a/b'}, 'letters, digits'),
    ({'url': 'http://127.0.0.1', 'ca_file': 'x.pem'}, 'not encrypted'),
    ({'url': 'http://127.0.0.1', 'deadline_s': float('nan')}, 'finite'),
    ({'url': 'http://127.0.0.1', 'deadline_s': 0}, 'allowed 0.01'),
    ({'url': 'http://127.0.0.1', 'verify': False}, "unknown key 'verify'"),
])
def test_configurations_that_are_refused(values, text):
    with pytest.raises(ConfigError, match=text) as refused:
        build(PolicyServerConfig, values, 'cell')
    assert 'secret@' not in str(refused.value)


@pytest.mark.parametrize('url', ['http://127.0.0.1:8080', 'http://localhost', 'http://[::1]:8080/gateway/', 'https://10.0.0.5', 'grpcs://gpu.lab:8001'])
def test_configurations_that_are_taken(url):
    endpoint = PolicyServerConfig(url).endpoint
    assert PolicyServerConfig(str(endpoint)).endpoint == endpoint


@pytest.fixture(scope='module')
def authority(tmp_path_factory) -> Path:
    """A certificate for localhost that is its own authority."""
    if shutil.which('openssl') is None:
        pytest.skip('openssl is not installed: apt install openssl')
    folder = tmp_path_factory.mktemp('tls')
    words = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost'
    subprocess.run(['openssl', *words.split(), '-keyout', folder / 'key.pem', '-out', folder / 'ca.pem'], check=True, capture_output=True, timeout=30)
    return folder


@pytest.fixture(params=['https', 'grpcs'])
def encrypted(request, authority, stack) -> HttpServer | GrpcServer:
    if request.param == 'grpcs':
        pytest.importorskip('grpc', reason='grpcio is not installed: pip install -r requirements-remote.txt')
        made = GrpcServer(Model(), tls=((authority / 'key.pem').read_bytes(), (authority / 'ca.pem').read_bytes()))
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority / 'ca.pem', authority / 'key.pem')
        made = HttpServer(Model(), tls=context)
    stack.callback(made.stop)
    return made


def test_tls_with_an_authority_of_ones_own(encrypted, authority, connect, token_file):
    session = connect(encrypted.url, ca_file=str(authority / 'ca.pem'), token_file=str(token_file))
    for _ in range(3):
        assert session.run(INPUTS)['y'].shape == (1, 3)
    assert encrypted.model.headers['authorization'] == f'Bearer {TOKEN}' and session.facts()['connections'] == '1'


def test_a_certificate_nobody_vouches_for_is_refused(encrypted, connect, token_file):
    with pytest.raises(BundleError, match='certificate') as refused:
        connect(encrypted.url, insecure=True, token_file=str(token_file))
    assert refused.value.code == 'policy_lost' and encrypted.model.headers == {}


def test_a_certificate_for_another_name_is_refused(encrypted, authority, connect):
    with pytest.raises(BundleError, match="not valid for '127.0.0.1'|mismatch|certificate"):
        connect(encrypted.url.replace('localhost', '127.0.0.1'), ca_file=str(authority / 'ca.pem'))


def test_an_authority_that_is_none(encrypted, connect, tmp_path):
    (tmp_path / 'ca.pem').write_text('nothing')
    with pytest.raises(BundleError, match='no PEM certificates|certificate known') as refused:
        connect(encrypted.url, ca_file=str(tmp_path / 'ca.pem'))
    assert refused.value.code in ('config_invalid', 'policy_lost')


def test_a_handshake_that_never_ends(http, connect):
    with pytest.raises(BundleError, match='silent|no connection') as refused:
        connect(http.url.replace('http://127.0.0.1', 'https://localhost'), connect_s=0.3)
    assert refused.value.code == 'policy_lost'
