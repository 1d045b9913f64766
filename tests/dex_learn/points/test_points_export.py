# SPDX-License-Identifier: Apache-2.0
"""One graph of every operator: onnxruntime says what torch says, for clouds that were not there at export."""
from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.errors import DexError  # noqa: E402
from dex_learn.export import run_onnx, run_torch  # noqa: E402
from dex_learn.points import ball_query, farthest_points, gather, group, interpolate, interpolation_weights, nearest, save_onnx, to_onnx  # noqa: E402

COUNT, K, BALL = 16, 5, 4
OUTPUTS = ("taken", "seen", "near", "ball", "patches", "spread")
AXES = {"points": {0: "B", 1: "N"}, "spread": {0: "B", 1: "N"}, **{name: {0: "B"} for name in OUTPUTS[:-1]}}
BOUNDS = {"B": (1, 8), "N": (COUNT, 100_000)}


class Everything(torch.nn.Module):
    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, ...]:
        taken = farthest_points(points, COUNT)
        centres = gather(points, taken)
        near, _ = nearest(centres, points, K)
        patches = group(points, centres, near)
        spread = interpolate(patches.amax(2), *interpolation_weights(points, centres))
        return taken, farthest_points(points, COUNT, skip_origin=True), near, ball_query(centres, points, 0.05, BALL), patches, spread


@pytest.fixture(scope="module")
def graph() -> bytes:
    return to_onnx(Everything(), {"points": torch.randn(2, 301, 3)}, OUTPUTS, AXES, BOUNDS)


def cloud(batch: int, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.1, 0.1, (batch, count, 3)).astype(np.float32)


def check(graph: bytes, points: np.ndarray) -> dict[str, np.ndarray]:
    found, wanted = run_onnx(graph, {"points": points}), run_torch(Everything(), {"points": points}, OUTPUTS)
    for name in ("taken", "seen", "ball"):
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
    # the same places, in whatever order: among equally near points each runtime takes its own
    np.testing.assert_allclose(np.sort(found["patches"], axis=2), np.sort(wanted["patches"], axis=2), atol=1e-6)
    np.testing.assert_allclose(found["spread"], wanted["spread"], atol=1e-5)
    return found


@pytest.mark.parametrize(("batch", "count"), [(1, 301), (3, 77), (1, 1000), (2, COUNT)])
def test_other_batches_and_other_numbers_of_points(graph: bytes, batch: int, count: int) -> None:
    found = check(graph, cloud(batch, count, seed=count))
    assert found["taken"].shape == (batch, COUNT) and found["spread"].shape == (batch, count, 3)


def test_a_cloud_of_exactly_the_sampled_points_is_taken_whole(graph: bytes) -> None:
    assert np.sort(check(graph, cloud(1, COUNT, seed=4))["taken"]).tolist() == [list(range(COUNT))]


def test_nothing_was_frozen_at_export(graph: bytes) -> None:
    """Indices that depend on the points only: another cloud, other indices; and sampling is in the graph as a loop."""
    first, second = (check(graph, cloud(1, 301, seed=s))["taken"] for s in (1, 2))
    assert (first != second).any()
    operators = [node.op_type for node in onnx.load_from_string(graph).graph.node]
    assert operators.count("Scan") == 2 and len(operators) < 200


def test_far_from_the_origin_the_neighbours_are_the_same(graph: bytes) -> None:
    lattice = (np.random.default_rng(0).integers(-400, 400, (1, 300, 3)) * 2.0**-12).astype(np.float32)
    here, there = check(graph, lattice), check(graph, lattice + np.float32(8.0))
    np.testing.assert_array_equal(here["taken"], there["taken"])
    np.testing.assert_array_equal(np.sort(here["near"][..., 0]), np.sort(there["near"][..., 0]))


def test_permuted_points_are_the_same_cloud(graph: bytes) -> None:
    points = cloud(1, 120, seed=3)
    order = np.r_[0, 1 + np.random.default_rng(1).permutation(119)]
    first, second = check(graph, points), check(graph, np.ascontiguousarray(points[:, order]))
    np.testing.assert_array_equal(points[0, first["taken"][0]], points[0, order][second["taken"][0]])
    np.testing.assert_allclose(first["spread"][0, order], second["spread"][0], atol=1e-5)


def test_duplicated_points(graph: bytes) -> None:
    points = np.repeat(cloud(1, 40, seed=6), 3, axis=1)
    taken = check(graph, points)["taken"][0]
    assert len(np.unique(points[0, taken], axis=0)) == COUNT


def test_a_length_that_became_a_constant_is_refused() -> None:
    class Frozen(torch.nn.Module):
        def forward(self, points: torch.Tensor) -> torch.Tensor:
            return points[:, :7]

    with pytest.raises(DexError, match="axis 1 of 'first' is 7; it was to be N") as caught:
        to_onnx(Frozen(), {"points": torch.randn(2, 9, 3)}, ["first"], {"points": {1: "N"}, "first": {1: "N"}}, {"N": (7, 100)})
    assert caught.value.code == "export_failed"


@pytest.mark.parametrize("inline", [True, False])
def test_weights_inside_or_beside_the_graph(tmp_path, inline: bool) -> None:
    layer = torch.nn.Linear(3, 4096)
    axes = {"x": {0: "B"}, "y": {0: "B"}}
    data = save_onnx(layer, {"x": torch.randn(2, 3)}, ["y"], axes, {"B": (1, 9)}, tmp_path / "big.onnx", inline_bytes=1 << 20 if inline else 0)
    assert data == (None if inline else tmp_path / "big.onnx.data")
    assert ((tmp_path / "big.onnx").stat().st_size >= 4 * 4 * 4096) == inline
    session = onnxruntime.InferenceSession(str(tmp_path / "big.onnx"), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], layer(torch.from_numpy(x)).detach().numpy(), atol=1e-6)
