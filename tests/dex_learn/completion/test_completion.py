# SPDX-License-Identifier: Apache-2.0
"""The small completion network: what it is fed, its losses, a run that goes on where it stopped, and the bundle it ends in."""
from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: pip install torch==2.13.0")

from dex_core.bundle import load_bundle  # noqa: E402
from dex_core.clouds import Cloud  # noqa: E402
from dex_core.errors import DexError  # noqa: E402
from dex_learn.completion import bundle, losses  # noqa: E402
from dex_learn.completion.data import SEEN, WHOLE, Pairs, sample  # noqa: E402
from dex_learn.completion.net import SEEDS, UNFOLDED, Completer  # noqa: E402
from dex_learn.completion.outside import outside  # noqa: E402
from dex_learn.completion.scores import score  # noqa: E402
from dex_learn.completion.train import Trainer, Training  # noqa: E402
from dex_perception.complete import Completer as RunTime  # noqa: E402

QUICK = Training(steps=6, minutes=0.0, batch=2)


def balls(count: int = 4) -> Pairs:
    """Balls of different sizes that stand on the table, seen from +x."""
    rng, seen, whole, normals = np.random.default_rng(0), [], [], []
    for _ in range(count):
        v = rng.normal(size=(WHOLE, 3))
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        radius = rng.uniform(0.3, 0.6)
        points = (radius * (v + [0.0, 0.0, 1.0])).astype(np.float32)
        front = points[v[:, 0] > 0.2]
        shift = np.float32([front[:, 0].mean(), front[:, 1].mean(), 0.0])
        seen.append(sample(front - shift))
        whole.append(points - shift)
        normals.append(v.astype(np.float32))
    return Pairs(np.array(seen), np.array(whole), np.array(normals), np.array(["ball"] * count), np.ones(count, bool))


def test_samples_inside_of_another_part_are_left_out() -> None:
    v = np.random.default_rng(0).normal(size=(6000, 3))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    shell, core = 0.05 * v[:4500], 0.02 * v[4500:]
    found = outside(np.concatenate([shell, core]).astype(np.float32), v.astype(np.float32))
    assert found[:4500].mean() > 0.99 and found[4500:].mean() < 0.02


def test_a_cups_inner_wall_is_outside() -> None:
    rng = np.random.default_rng(1)
    angle, height = rng.uniform(0.0, 2.0 * np.pi, 5000), rng.uniform(0.0, 0.08, 5000)
    side = np.where(np.arange(5000) % 2, 1.0, -1.0)
    around = np.stack([np.cos(angle), np.sin(angle), 0.0 * angle], axis=1)
    points = around * np.where(side > 0.0, 0.04, 0.037)[:, None] + np.stack([0.0 * height, 0.0 * height, height], axis=1)
    found = outside(points.astype(np.float32), (side[:, None] * around).astype(np.float32))
    assert found[side > 0.0].mean() > 0.95 and found[side < 0.0].mean() > 0.8


def test_sampling_repeats_where_there_are_too_few() -> None:
    few = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    found = sample(few)
    assert found.shape == (SEEN, 3) and {tuple(p) for p in found} == {tuple(p) for p in few}


def test_the_nearest_of_the_other_cloud_is_that_of_brute_force() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 30, 3, generator=generator), torch.randn(2, 50, 3, generator=generator)
    distances = torch.cdist(a, b)
    for one, other, along in ((a, b, 2), (b, a, 1)):
        found, match = losses.apart(one, other)
        assert float(found) == pytest.approx(float(distances.amin(along).mean()), abs=1e-4)
        assert torch.equal(match, distances.argmin(along))


def test_the_seeds_begin_as_what_is_seen_mirrored_and_put_down() -> None:
    net = Completer()
    torch.nn.init.zeros_(net.shift[-1].weight)
    torch.nn.init.zeros_(net.shift[-1].bias)
    seen = torch.from_numpy(balls(2).seen)
    seeds, cloud, normals = net(seen)
    assert seeds.shape == (2, SEEDS, 3) and cloud.shape == normals.shape == (2, SEEDS * UNFOLDED, 3)
    assert torch.allclose(seeds[:, :48], seen[:, :48])
    middle = seeds[:, 48:96, 0] + seen[:, :48, 0]
    assert torch.allclose(middle, middle[:, :1].expand_as(middle), atol=1e-5), "one mirror for all"
    assert torch.allclose(seeds[:, 96:, 2], torch.zeros(2, 32))


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole = Trainer(balls(), QUICK).run()
    Trainer(balls(), QUICK, tmp_path / "a.pt").run(until=3)
    resumed = Trainer(balls(), QUICK, tmp_path / "a.pt")
    assert resumed.step == 3
    for a, b in zip(whole.parameters(), resumed.run().parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(DexError, match="another training"):
        Trainer(balls(), dataclasses.replace(QUICK, batch=3), tmp_path / "a.pt")
    with pytest.raises(DexError, match="batch at least 2"):
        Training(batch=1)


def test_training_brings_balls_nearer() -> None:
    pairs = balls()
    before = Trainer(pairs, dataclasses.replace(QUICK, steps=1))
    first = sum(before.advance().values())
    after = Trainer(pairs, dataclasses.replace(QUICK, steps=40))
    after.run()
    assert sum(after.advance().values()) < 0.7 * first


def test_a_bundle_runs_as_the_network_and_at_run_time(tmp_path: Path) -> None:
    pairs, net = balls(), Completer().eval()
    graph, _, parity = bundle.export(net, pairs)
    assert parity < bundle.PARITY
    found = score(bundle.runner(graph), pairs, 2)
    assert found["all"]["count"] == 2 and found["all"]["ratio"] > 0.0 and found["new_families"] == {"count": 0}
    bundle.write(tmp_path / bundle.NAME, net, pairs, QUICK, 0, "balls", found, "test")
    manifest = load_bundle(tmp_path / bundle.NAME).manifest
    assert (manifest.kind, manifest.completion.frame, manifest.completion.normals) == ("completion", "tabletop", "normals")
    seen = Cloud(0.1 * pairs.seen[0] + np.float32([0.4, 0.1, 0.0]))
    completed = RunTime(tmp_path / bundle.NAME).complete(seen, (1.4, 0.1, 0.5), 0.0)
    assert len(completed.cloud) == SEEDS * UNFOLDED
