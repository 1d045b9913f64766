# SPDX-License-Identifier: Apache-2.0
"""Flow policies from their bundles: loaded with every check, sampled by graphs alone, bound by what is committed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from dex_core.bundle import LoadOptions, load_bundle, verify_bundle
from dex_core.bundle.flow import check_flow_tensors
from dex_core.bundle.testing import write_fixture_pair
from dex_core.bundle.testing_flow import write_flow_fixture
from dex_core.chunks import Committed
from dex_core.config import load_cell
from dex_core.errors import BundleError
from dex_core.policy import ChunkPolicy, Observation
from dex_core.policy.runtime import mounted_hands
from dex_core.types import JointState

CELL = load_cell("xarm_bimanual")
STAMP = 1_700_000_000_000_000_000
KINDS = {"guided": {}, "rows": {"row_times": True}, "plain": {"guided": False}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    latent, still = write_fixture_pair(Path(tmp_path_factory.mktemp("models")), CELL)
    loaded = load_bundle(still, LoadOptions(cell=CELL, provider="cpu"))
    out = {"still": still}
    for name, options in KINDS.items():
        out[name] = still.parent / f"flow_{name}"
        write_flow_fixture(out[name], loaded, **options)
    return out


@pytest.fixture(scope="module")
def policies(folders) -> dict[str, ChunkPolicy]:
    return {name: ChunkPolicy(load_bundle(folder, LoadOptions(cell=CELL, provider="cpu"))) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def observation(folders) -> Observation:
    joints = {}
    for name, interface in CELL.interfaces.items():
        zero = np.zeros(len(interface.names))
        joints[name] = JointState(interface.names, np.array(interface.home), zero, zero, STAMP)
    picture = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    mounted = mounted_hands(CELL, load_bundle(folders["still"]))
    return Observation(STAMP, {"front": picture}, joints, "Push the two tomato cans together", mounted=mounted)


def rows(chunk) -> np.ndarray:
    return np.concatenate([part.data for part in chunk.slices], axis=1)


def committed(chunk, known: int, frozen: int, offset: float = 0.0, start_step: int = 0) -> Committed:
    """The first rows of a chunk, moved by ``offset`` of what they say."""
    return Committed({part.interface: part.data[:known] + offset for part in chunk.slices}, start_step, frozen)


def test_every_check_passes_and_the_budget_is_that_of_a_whole_chunk(folders):
    for name in KINDS:
        bundle, refusal = verify_bundle(folders[name], LoadOptions(cell=CELL, provider="cpu"))
        assert refusal is None and all(check.ok for check in bundle.report)
        assert bundle.speed.graph == ("prefix and 10 times step_guided" if name == "guided" else "prefix and 10 times step")


def test_it_tells_whether_it_can_continue_a_chunk(policies):
    assert {name: policy.spec.continues for name, policy in policies.items()} == {"still": False, "guided": True, "rows": True, "plain": False}


def test_chunks_flow_to_what_the_one_graph_says_in_its_units(policies, observation):
    still = rows(policies["still"].infer(observation).chunk)
    for name in KINDS:
        policies[name].reset()
        found = rows(policies[name].infer(observation).chunk)
        assert found.shape == still.shape
        normal = policies[name]._head._normaliser
        assert 0.05 < np.abs(normal(found) - normal(still)).mean() < 0.2  # a sixth of the noise is left


def test_a_goal_begins_with_the_same_noise_and_goes_on_with_other(policies, observation):
    policy = policies["guided"]
    policy.reset()
    first, second = rows(policy.infer(observation).chunk), rows(policy.infer(observation).chunk)
    policy.reset()
    assert rows(policy.infer(observation).chunk).tobytes() == first.tobytes() != second.tobytes()


@pytest.mark.parametrize("name", ["guided", "rows"])
def test_frozen_rows_are_kept_and_draw_the_rest_of_the_chunk(policies, observation, name):
    policy, still = policies[name], policies["still"].infer(observation).chunk
    policy.reset()
    free = rows(policy.infer(observation).chunk)
    policy.reset()
    bound = rows(policy.infer(observation, committed=committed(still, 30, 6, 0.15)).chunk)
    np.testing.assert_allclose(bound[:6], rows(still)[:6] + 0.15, atol=1e-5)
    assert (bound[6:20] - free[6:20]).mean() > 0.01  # towards it
    if name == "guided":
        np.testing.assert_allclose(bound[30:], free[30:], atol=1e-4)  # beyond what is known nothing binds


def test_a_flow_that_can_do_neither_does_not_mind(policies, observation):
    policy, still = policies["plain"], policies["still"].infer(observation).chunk
    policy.reset()
    free = rows(policy.infer(observation).chunk)
    policy.reset()
    assert rows(policy.infer(observation, committed=committed(still, 30, 6, 0.15)).chunk).tobytes() == free.tobytes()


def test_at_most_half_of_a_chunk_is_frozen_and_rows_of_later_bind_nothing(policies, observation):
    policy, still = policies["guided"], policies["still"].infer(observation).chunk
    head = policy._head
    assert (head.before(committed(still, 60, 50)).frozen, head.before(committed(still, 60, 50)).known) == (32, 32)
    assert (head.before(committed(still, 60, 10)).frozen, head.before(committed(still, 60, 10)).known) == (10, 54)
    assert (head.before(committed(still, 3, 3)).frozen, head.before(committed(still, 3, 3)).known) == (3, 3)
    assert head.before(committed(still, 60, 10, start_step=2)) is None


def changed(folder: Path, tmp_path: Path, change) -> Path:
    """A copy of a bundle with its manifest changed; files and hashes stay as they are."""
    target = tmp_path / folder.name
    shutil.copytree(folder, target)
    shutil.copytree(folder.parent / "hand_latents", tmp_path / "hand_latents")
    data = yaml.safe_load((target / "manifest.yaml").read_text())
    change(data)
    (target / "manifest.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return target


def drop_graph(data, name):
    graph = data["graphs"].pop(name)
    data["files"].pop(graph["file"])
    data["files"].pop(graph["golden"]["file"])


def input_of(data, graph, name):
    return next(t for t in data["graphs"][graph]["inputs"] if t["name"] == name)


MUTATIONS = {
    "without its key it needs the one graph": (lambda d: d.pop("flow"), "manifest_invalid"),
    "no steps": (lambda d: d["flow"].update(steps=0), "manifest_invalid"),
    "unknown decay": (lambda d: d["flow"].update(decay="soon"), "manifest_invalid"),
    "no step": (lambda d: drop_graph(d, "step"), "manifest_invalid"),
    "x is not sliced": (lambda d: input_of(d, "step", "x").pop("slices"), "layout_invalid"),
    "x in differences": (lambda d: input_of(d, "step", "x").update(kind="delta_to_observation"), "layout_invalid"),
    "another chunk": (lambda d: d["timing"].update(chunk=63), "layout_invalid"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_manifest_that_does_not_fit_its_graphs_is_refused(folders, tmp_path, name):
    change, code = MUTATIONS[name]
    folder = changed(folders["guided"], tmp_path, change)
    if name == "no step":
        for path in ("graphs/step.onnx", "golden/step.npz"):
            (folder / path).unlink()
    with pytest.raises(BundleError) as refused:
        load_bundle(folder, LoadOptions(cell=CELL, provider="cpu"))
    assert refused.value.code == code


def test_a_step_that_takes_no_features_is_refused(folders):
    manifest = load_bundle(folders["guided"], LoadOptions(provider="cpu")).manifest
    check_flow_tensors(manifest)
    step = manifest.graphs["step"]
    poor = replace(step, inputs=tuple(t for t in step.inputs if t.name != "goal"))
    with pytest.raises(BundleError, match="expected .*goal"):
        check_flow_tensors(replace(manifest, graphs={**manifest.graphs, "step": poor}))
    timed = replace(step, inputs=tuple(replace(t, shape=("B", 64)) if t.name == "time" else t for t in step.inputs))
    with pytest.raises(BundleError, match="not guided"):
        check_flow_tensors(replace(manifest, graphs={**manifest.graphs, "step": timed}))
