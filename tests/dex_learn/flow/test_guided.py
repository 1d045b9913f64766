# SPDX-License-Identifier: Apache-2.0
"""Guidance as a graph: what onnxruntime gives is what torch differentiates, for any batch, and real-time chunking works through it."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
import torch
import yaml
from torch import Tensor, nn

from dex_core.bundle import LoadOptions, load_bundle, verify_bundle, write_bundle
from dex_core.bundle.testing import write_fixture_pair
from dex_core.chunks import Committed
from dex_core.config import load_cell
from dex_core.policy.flow import sample
from dex_core.policy.flow_guidance import Before, Guidance
from dex_core.policy.flow_testing import Mixture, around_an_obstacle
from dex_core.policy.heads import FlowHead as FlowHeadOfBundle
from dex_learn.export import IR_VERSION, OPSET, run_onnx, run_torch, session_of, to_onnx
from dex_learn.flow.export import export_flow
from dex_learn.flow.guided import guided_to_onnx, guided_velocity
from dex_learn.flow.net import Encoder, FlowHead

HORIZON, COLUMNS, WIDTH = 12, 5, 16


class Attentive(nn.Module):
    """Attention between the rows, norms and gates: what transformers for chunks are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(COLUMNS + WIDTH + 1, 16)
        self.norm, self.attention = nn.LayerNorm(16), nn.MultiheadAttention(16, 2, batch_first=True)
        self.out = nn.Sequential(nn.SiLU(), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, COLUMNS))

    def forward(self, x: Tensor, time: Tensor, features: Tensor) -> Tensor:
        rows = x.shape[1]
        told = torch.cat([x, time[:, None, None].expand(-1, rows, 1), features[:, None].expand(-1, rows, -1)], dim=2)
        hidden = self.norm(self.into(told))
        return self.out(hidden + self.attention(hidden, hidden, hidden, need_weights=False)[0])


class TorchMixture(nn.Module):
    """The closed-form flow of ``flow_testing.Mixture`` in torch: what differentiating it gives is known in closed form, too."""

    def __init__(self, modes: np.ndarray, sigma: float) -> None:
        super().__init__()
        self.register_buffer("modes", torch.from_numpy(modes.astype(np.float32)))
        self.variance = sigma * sigma

    def forward(self, x: Tensor, time: Tensor, features: Tensor) -> Tensor:
        t = time[:, None, None, None]
        spread = (1.0 - t) ** 2 + t * t * self.variance
        off = x[:, None] - t * self.modes
        share = torch.softmax(-0.5 * (off.square() / spread).sum(dim=(2, 3)) + 0.0 * features.sum(dim=1, keepdim=True), dim=1)
        modal = self.modes + (t * self.variance - (1.0 - t)) / spread * off
        return (share[:, :, None, None] * modal).sum(dim=1)


def example(batch: int, horizon: int = HORIZON, columns: int = COLUMNS, width: int = WIDTH) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(batch)
    return {
        "x": torch.randn(batch, horizon, columns, generator=rng), "time": torch.rand(batch, generator=rng),
        "target": torch.randn(batch, horizon, columns, generator=rng), "weights": 5.0 * torch.rand(batch, horizon, generator=rng),
        "features": torch.randn(batch, width, generator=rng),
    }


def test_a_networks_guided_graph_is_what_torch_differentiates_whatever_the_batch():
    torch.manual_seed(0)
    net = Attentive()
    graph = guided_to_onnx(net, example(3))
    for batch in (1, 2, 7):
        inputs = example(batch)
        wanted = guided_velocity(net, *inputs.values()).detach().numpy()
        pull = wanted - run_torch(net, {k: inputs[k].numpy() for k in ("x", "time", "features")}, ["v"])["v"]
        assert np.abs(pull).max() > 0.1
        np.testing.assert_allclose(run_onnx(graph, {k: v.numpy() for k, v in inputs.items()})["velocity"], wanted, atol=2e-5)
    model = onnx.load_from_string(graph)
    assert {node.domain for node in model.graph.node} == {""} and [o.version for o in model.opset_import] == [18]
    assert b"/" + b"test_guided" not in graph and b"site-packages" not in graph and not model.functions


class Eyes(nn.Module):
    """Everything a policy of the cell is shown -> features."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3 + 24 + 14 + 64, WIDTH)

    def forward(self, image: Tensor, tokens: Tensor, joints: Tensor, previous: Tensor) -> Tensor:
        parts = [image.float().mean(dim=(1, 2)) / 255.0, tokens.float() / 4096.0, joints, previous[:, :, 0].flatten(1)]
        return torch.tanh(self.net(torch.cat(parts, dim=1)))


def test_an_exported_flow_is_a_bundle_that_passes_every_check_and_continues_a_chunk(tmp_path):
    torch.manual_seed(0)
    cell = load_cell("xarm_bimanual")
    _, still = write_fixture_pair(tmp_path, cell)
    spec, stats = yaml.safe_load((still / "manifest.yaml").read_text()), load_bundle(still, LoadOptions(provider="cpu")).stats
    policy = spec["graphs"]["policy"]
    chunk = policy["outputs"][0]
    seen = {
        "image": torch.randint(0, 255, (3, 224, 224, 3), dtype=torch.uint8), "tokens": torch.randint(0, 4096, (3, 24)),
        "joints": torch.randn(3, 14), "previous_latents": torch.randn(3, 2, 64, 32),
    }
    made = export_flow(Eyes(), FlowHead(64, 78, WIDTH, 1), seen, ["features"], (64, 78))
    assert set(made.graphs) == set(made.golden) == {"prefix", "step", "step_guided"} and made.parity < 1e-4
    graphs = made.manifest
    graphs["prefix"]["inputs"] = policy["inputs"]
    graphs["step"]["inputs"][0]["slices"] = chunk["slices"]
    data = {key: value for key, value in spec.items() if key not in ("schema", "files")}
    data |= {"name": "a_flow", "flow": {"steps": 4}, "graphs": graphs, "runtime": {"opset": OPSET, "ir_version": IR_VERSION}}
    kept = {k: s for k, s in stats.items() if not k.startswith("chunk/")}
    kept |= {f"x/{s['interface']}": dataclasses.replace(stats[f"chunk/{s['interface']}"], method="zscore") for s in chunk["slices"]}
    embodiments = load_bundle(still, LoadOptions(provider="cpu")).embodiments
    write_bundle(tmp_path / "a_flow", data, graphs=made.graphs, golden=made.golden, embodiments=embodiments, stats=kept, licence_text="Apache-2.0\n")
    bundle, refusal = verify_bundle(tmp_path / "a_flow", LoadOptions(cell=cell, provider="cpu"))
    assert refusal is None, refusal
    head = FlowHeadOfBundle(bundle)
    inputs = {name: value[:1].numpy() for name, value in seen.items()}
    free = head.chunk(inputs, None)
    steps = {s["interface"]: free[:20, s["at"][0] : s["at"][1]] + 0.05 for s in chunk["slices"]}
    bound = head.chunk(inputs, Committed(steps, 0, 5))
    np.testing.assert_allclose(bound[:5], free[:5] + 0.05, atol=1e-5)


def test_a_flow_with_a_time_of_each_row_has_no_guided_step():
    torch.manual_seed(0)
    step = FlowHead(HORIZON, COLUMNS, WIDTH, 1, row_times=True)
    made = export_flow(Encoder(7, WIDTH), step, {"state": torch.randn(3, 7)}, ["features"], (HORIZON, COLUMNS), row_times=True)
    assert set(made.graphs) == {"prefix", "step"} and made.manifest["step"]["inputs"][1]["shape"] == ["B", HORIZON]


class Graphs:
    """Exported graphs as a Flow."""

    guides, conditioned = True, False

    def __init__(self, step: bytes, guided: bytes) -> None:
        self._step, self._guided, self._features = session_of(step), session_of(guided), np.zeros((1, 1), np.float32)

    def velocity(self, x, times):
        return self._step.run(None, {"x": x[None], "time": times[:1], "features": self._features})[0][0]

    def guided(self, x, times, target, weights):
        inputs = {"x": x[None], "time": times[:1], "target": target[None], "weights": weights[None], "features": self._features}
        return self._guided.run(None, inputs)[0][0]


@pytest.fixture(scope="module")
def two_modes() -> tuple[Graphs, Mixture]:
    modes = around_an_obstacle(16)
    net, inputs = TorchMixture(modes, 0.2), example(2, 16, 2, 1)
    step = to_onnx(net, {k: inputs[k] for k in ("x", "time", "features")}, ["velocity"])
    return Graphs(step, guided_to_onnx(net, inputs)), Mixture(modes, 0.2)


def test_the_traced_product_is_the_one_known_in_closed_form(two_modes):
    graphs, closed = two_modes
    rng = np.random.default_rng(0)
    for time in (0.05, 0.4, 0.9):
        x, target = rng.standard_normal((2, 16, 2)).astype(np.float32)
        weights, times = rng.uniform(0.0, 5.0, 16).astype(np.float32), np.full(16, time, np.float32)
        np.testing.assert_allclose(graphs.velocity(x, times), closed.velocity(x, times), rtol=1e-3, atol=2e-4)
        np.testing.assert_allclose(graphs.guided(x, times, target, weights), closed.guided(x, times, target, weights), rtol=1e-3, atol=2e-3)


def test_through_the_graphs_real_time_chunking_keeps_the_committed_mode(two_modes):
    graphs, closed = two_modes
    before, noises = Before(closed.modes[0], 4, 10), [np.random.default_rng(s).standard_normal((16, 2)).astype(np.float32) for s in range(40)]
    plain = [closed.mode_of(sample(graphs, noise, 10).actions) for noise in noises]
    kept = [closed.mode_of(sample(graphs, noise, 10, before, Guidance("ones")).actions) for noise in noises]
    assert sum(plain) >= 10 and sum(kept) == 0
