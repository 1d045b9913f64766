# SPDX-License-Identifier: Apache-2.0
"""What dex bench serving serves and how it counts; the servers themselves are started by the benchmark."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from dex_bringup.bench.serving import overheads
from dex_bringup.bench.serving_bundle import CHUNK, INSTRUCTION, bench_cell, example, null_network, open_network, tensors, write_bench_bundles
from dex_bringup.bench.serving_network import SIZES, Size, sized_network
from dex_bringup.bench.serving_process import Cores
from dex_core.errors import DexError
from dex_core.policy import load_policy

MS = 1_000_000


def columns(cell, *names):
    inputs, _ = tensors(cell)
    return sum(t["shape"][1] for t in inputs if t["name"] in names)


def test_the_null_bundle_is_a_policy_like_any_other(tmp_path: Path) -> None:
    cell = bench_cell(tmp_path, "null", 1, 0.001)
    write_bench_bundles(tmp_path, cell, null_network(cell))
    policy, bundle = load_policy(cell)
    assert policy.spec.cameras == {"front": (224, 224)} and columns(cell, "joints", "poses") == 48
    assert policy.spec.mounted_sides == ("left", "right") and policy.check_instruction(INSTRUCTION) == INSTRUCTION
    assert all(check.ok is not False for check in bundle.report)


def test_a_network_holds_still_whatever_it_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "small", Size(1, 128, 1, 128))
    network, facts = sized_network("small", tmp_path / "network")
    assert facts["weights_mb"] == pytest.approx(2e-6 * facts["parameters"])
    cell = bench_cell(tmp_path, network.name, 1, 0.001)
    write_bench_bundles(tmp_path, cell, network)
    load_policy(cell)
    session = open_network(tmp_path / network.name / "graphs" / "policy.onnx", cell)
    inputs = example(cell, 1)
    chunk = session.run(inputs)["chunk"]
    assert chunk.shape == (1, CHUNK, 82)
    assert np.allclose(chunk[0, :, :18], inputs["poses"][0], atol=1e-4)
    assert np.allclose(chunk[0, :, 18:50], inputs["previous_latents"][0, 0])


@pytest.mark.parametrize(("name", "parameters"), [("0.3B", 3e8), ("3B", 3e9)])
def test_the_sizes_are_what_they_are_called(name: str, parameters: float) -> None:
    size = SIZES[name]
    eye, decoder = 12 * size.eye_layers * size.eye_dim**2, 16 * size.layers * size.dim**2
    assert eye == pytest.approx(21e6, rel=0.05) and decoder == pytest.approx(parameters, rel=0.02) and size.dim % size.head_dim == 0


def test_a_network_that_does_not_fit_is_refused_with_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "huge", Size(12, 384, 2000, 16384))
    with pytest.raises(DexError, match="need") as error:
        sized_network("huge", tmp_path)
    assert error.value.code == "no_room" and not list(tmp_path.glob("*.data"))


def test_overhead_is_all_but_the_model() -> None:
    stages = {"observed": 0, "observation_ready": 2, "inference_started": 3, "inferred": 13, "published": 14, "arrived": 15}
    timing = {name: 10**15 + ms * MS for name, ms in stages.items()}
    found = overheads([timing] * 5)
    assert found["overhead_p50_ms"] == pytest.approx(4.0) and found["inferred_p50_ms"] == pytest.approx(10.0)
    assert found["arrived_p50_ms"] == pytest.approx(1.0) and found["chunks"] == 5
    with pytest.raises(DexError, match="2 chunks came"):
        overheads([timing] * 2)


def test_the_server_has_a_core_of_its_own_where_there_are_two() -> None:
    here = sorted(os.sched_getaffinity(0))
    assert Cores.choose(-1).server == (here[-1],) and Cores.choose(-2).others == tuple(here)
    assert len(here) == 1 or here[-1] not in Cores.choose(-1).others
    with pytest.raises(DexError, match="core 4096 is not there"):
        Cores.choose(4096)
