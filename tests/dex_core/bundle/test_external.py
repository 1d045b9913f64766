# SPDX-License-Identifier: Apache-2.0
"""Weights in files beside their graphs: written, hashed, loaded from there, refused when touched or somewhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

from dex_core.bundle import Bundle, load_bundle
from dex_core.bundle.probes import unpack_cases
from dex_core.bundle.testing import write_latent_fixture
from dex_core.bundle.write import write_bundle
from dex_core.config import load_cell
from dex_core.errors import BundleError


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("inside") / "latents"
    write_latent_fixture(folder, load_cell("xarm_bimanual"))
    return load_bundle(folder)


def write_outside(inside: Bundle, folder: Path, scratch: Path, **names: str) -> str:
    """The same bundle, every graph's weights in a file; ``location`` is what the graphs call it."""
    data: dict[str, Any] = yaml.safe_load((inside.folder / "manifest.yaml").read_text())
    data = {k: v for k, v in data.items() if k not in ("schema", "files")}
    graphs, external, golden = {}, {}, {}
    scratch.mkdir()
    for name, session in inside.sessions.items():
        stem = name.replace("/", "_")
        graphs[name], external[name] = scratch / f"{stem}.onnx", scratch / names.get("location", f"{stem}.onnx.data")
        model = onnx.load_from_string(inside.contents[session.spec.file])
        onnx.save_model(model, graphs[name], save_as_external_data=True, location=external[name].name, size_threshold=0)
        golden[name] = unpack_cases(inside.contents[session.spec.golden.file], name)
        data["graphs"][name].pop("file")
        data["graphs"][name]["golden"].pop("file")
    return write_bundle(folder, data, graphs=graphs, external=external, golden=golden, embodiments=inside.embodiments, licence_text="Apache-2.0\n")


def test_loads_and_says_the_same(inside: Bundle, tmp_path: Path) -> None:
    digest = write_outside(inside, tmp_path / "latents", tmp_path / "scratch")
    outside = load_bundle(tmp_path / "latents")
    assert outside.hash == digest
    for name, session in outside.sessions.items():
        data = f"{session.spec.file}.data"
        assert outside.manifest.files[data].bytes > 0 and data not in outside.contents
        given, _ = unpack_cases(inside.contents[inside.manifest.graphs[name].golden.file], name)[0]
        for output, value in session.run(given).items():
            np.testing.assert_array_equal(value, inside.sessions[name].run(given)[output])


def test_a_flipped_bit_is_found(inside: Bundle, tmp_path: Path) -> None:
    write_outside(inside, tmp_path / "latents", tmp_path / "scratch")
    data = next((tmp_path / "latents/graphs").glob("*.data"))
    blob = bytearray(data.read_bytes())
    blob[10] ^= 1
    data.write_bytes(blob)
    with pytest.raises(BundleError, match=data.name) as caught:
        load_bundle(tmp_path / "latents")
    assert caught.value.code == "hash_mismatch"


def test_a_graph_that_looks_for_another_file_is_refused(inside: Bundle, tmp_path: Path) -> None:
    write_outside(inside, tmp_path / "latents", tmp_path / "scratch", location="weights.bin")
    with pytest.raises(BundleError, match="weights.bin") as caught:
        load_bundle(tmp_path / "latents")
    assert caught.value.code == "graph_refused"
