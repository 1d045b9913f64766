# SPDX-License-Identifier: Apache-2.0
"""Model repositories: whole, equal to the bundles, and refused where a bundle or a wish cannot be served."""
from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from dex_core.bundle import Bundle, LoadOptions, load_bundle
from dex_core.bundle.testing import write_fixture_pair
from dex_core.config import load_cell
from dex_core.errors import BundleError, ConfigError
from dex_policy.remote import serve
from dex_policy.remote.repository import write_repository


@pytest.fixture(scope='module')
def bundles(tmp_path_factory) -> tuple[Bundle, Bundle]:
    """A policy and its latent space."""
    space, policy = sorted(write_fixture_pair(tmp_path_factory.mktemp('bundles'), load_cell('xarm_bimanual')), key=lambda p: 'latent' not in p.name)
    loaded = load_bundle(policy, LoadOptions())
    return loaded, load_bundle(space, LoadOptions())


def test_mlserver_gets_every_graph_with_its_bundle_whole(bundles, tmp_path):
    policy, space = bundles
    names = write_repository(bundles, tmp_path / 'r', http_port=9000, threads=2)
    assert len(names) == len(policy.manifest.graphs) + len(space.manifest.graphs) == len(set(names))
    settings = json.loads((tmp_path / 'r' / 'settings.json').read_text())
    assert settings['host'] == '127.0.0.1' and settings['http_port'] == 9000 and settings['parallel_workers'] == 0
    for name in names:
        folder = tmp_path / 'r' / name
        model = json.loads((folder / 'model-settings.json').read_text())
        one = policy if name.startswith(f'{policy.manifest.name}.') else space
        graph = model['parameters']['extra']['graph']
        assert model['name'] == name and model['parameters']['version'] == model['parameters']['extra']['bundle_hash'] == one.hash
        assert [t['name'] for t in model['inputs']] == [t.name for t in one.manifest.graphs[graph].inputs]
        assert load_bundle(folder / model['parameters']['uri'], LoadOptions(pinned_hash=one.hash)).hash == one.hash


def test_a_policy_brings_its_space_along(bundles, tmp_path):
    policy, space = bundles
    write_repository([policy], tmp_path / 'r')
    assert {p.name for p in (tmp_path / 'r' / 'bundles').iterdir()} == {policy.manifest.name, space.manifest.name}


def test_written_again_nothing_old_is_left(bundles, tmp_path):
    policy, _ = bundles
    for _ in range(2):
        (name,) = write_repository([policy], tmp_path / 'r', 'triton')
        (tmp_path / 'r' / name / 'old').mkdir()
    write_repository([policy], tmp_path / 'r', 'triton')
    assert not (tmp_path / 'r' / name / 'old').exists()


def test_triton_gets_the_very_onnx_files_and_the_hash(bundles, tmp_path):
    policy, space = bundles
    for name in write_repository(bundles, tmp_path / 'r', 'triton'):
        one = policy if name.startswith(f'{policy.manifest.name}.') else space
        graph = next(g for g in one.manifest.graphs if name.endswith(g.replace('/', '.')))
        assert (tmp_path / 'r' / name / '1' / 'model.onnx').read_bytes() == (one.folder / one.manifest.graphs[graph].file).read_bytes()
        assert one.hash in (tmp_path / 'r' / name / 'config.pbtxt').read_text()


def test_triton_reads_the_configuration(bundles, tmp_path):
    """Parsed by NVIDIA's own description of it, which tritonclient carries."""
    try:
        python = serve.find_mlserver().parent / 'python'
    except ConfigError as error:
        pytest.skip(str(error))
    names = write_repository(bundles[:1], tmp_path / 'r', 'triton')
    code = ('import sys, json; from google.protobuf import text_format, json_format; from tritonclient.grpc import model_config_pb2 as m; '
            'print(json.dumps([json_format.MessageToDict(text_format.Parse(open(p).read(), m.ModelConfig())) for p in sys.argv[1:]]))')
    run = subprocess.run([python, '-c', code, *(str(tmp_path / 'r' / n / 'config.pbtxt') for n in names)], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    (found,) = json.loads(run.stdout)
    graph = bundles[0].manifest.graphs['policy']
    assert found['backend'] == 'onnxruntime' and found['parameters']['bundle_hash']['stringValue'] == bundles[0].hash
    assert [(t['name'], len(t['dims'])) for t in found['input']] == [(t.name, len(t.shape)) for t in graph.inputs]


@pytest.mark.parametrize(('words', 'text'), [
    (['--layout', 'triton', '--run'], 'tritonserver'),
    (['--host', '0.0.0.0'], '--insecure'),
    (['--host', '10.1.2.3'], '--insecure'),
])
def test_wishes_that_are_refused(tmp_path, words, text):
    with pytest.raises(ConfigError, match=text):
        serve.main(['any', '--out', str(tmp_path / 'r'), *words])
    assert not (tmp_path / 'r').exists()


def test_a_bundle_that_is_refused_is_not_served(bundles, tmp_path):
    broken = tmp_path / bundles[1].manifest.name
    shutil.copytree(bundles[1].folder, broken)
    victim = next((broken / 'graphs').iterdir())
    victim.write_bytes(victim.read_bytes()[:-1] + b'\0')
    with pytest.raises(BundleError) as refused:
        serve.main([str(broken), '--out', str(tmp_path / 'r')])
    assert refused.value.code == 'hash_mismatch' and not (tmp_path / 'r').exists()


def test_no_mlserver_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(serve.sys, 'prefix', str(tmp_path / 'venv'))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('DEX_MLSERVER', raising=False)
    with pytest.raises(ConfigError, match='make serve-env'):
        serve.find_mlserver()


def test_what_a_server_prints_is_where_it_is(bundles, tmp_path, capsys):
    assert serve.main([str(Path(bundles[0].folder)), '--out', str(tmp_path / 'r')]) == 0
    assert bundles[0].hash in capsys.readouterr().out
