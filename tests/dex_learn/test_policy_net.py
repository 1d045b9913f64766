# SPDX-License-Identifier: Apache-2.0
"""The policy graph: shapes, words decide, left and right are mirror images, export agrees, speed."""
from __future__ import annotations

import time

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.config import load_cell  # noqa: E402
from dex_core.text import tokenize  # noqa: E402
from dex_learn.arm_chain import MIRROR  # noqa: E402
from dex_learn.export import check_parity, run_torch, session_of, to_onnx  # noqa: E402
from dex_learn.policy_net import ChunkBasis, PushCansPolicy, Trunk, interpolation  # noqa: E402
from dex_learn.records import HAND_STEPS, PREVIOUS_STEPS  # noqa: E402
from dex_learn.vision_net import VisionNet  # noqa: E402


@pytest.fixture(scope="module")
def policy() -> PushCansPolicy:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    basis = ChunkBasis.fit(rng.normal(size=(50, 14)), rng.normal(size=(50, 64, 14)), rng.normal(size=(50, 32)))
    return PushCansPolicy(VisionNet(), Trunk(load_cell("xarm_bimanual"), basis)).eval()


def example(batch: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(batch)
    return {
        "image": rng.integers(0, 255, (batch, 224, 224, 3), dtype=np.uint8), "tokens": np.repeat(tokenize("push the cans"), batch, axis=0),
        "joints": rng.uniform(-0.5, 0.5, (batch, 14)).astype(np.float32),
        "previous_latents": rng.normal(size=(batch, 2, 64, 32)).astype(np.float32),
    }


def test_export_agrees_at_other_batches(policy: PushCansPolicy) -> None:
    graph = to_onnx(policy, {k: torch.from_numpy(v) for k, v in example(2).items()}, ["chunk"])
    cases = [(x, run_torch(policy, x, ["chunk"])) for x in (example(1), example(3))]
    assert cases[1][1]["chunk"].shape == (3, 64, 78)
    assert check_parity(graph, cases, 1e-4, "policy") <= 1e-4
    assert len(graph) < 12e6
    session, one, times = session_of(graph), example(1), []
    for _ in range(7):
        start = time.process_time()
        session.run(None, one)
        times.append(time.process_time() - start)
    assert min(times) < 0.05


def test_other_words_other_chunk(policy: PushCansPolicy) -> None:
    x = example(1)
    a = run_torch(policy, x, ["chunk"])["chunk"]
    b = run_torch(policy, {**x, "tokens": tokenize("return to the rest pose")}, ["chunk"])["chunk"]
    assert np.abs(a - b).max() > 1e-4


def test_a_mirrored_scene_gives_the_mirrored_chunk(policy: PushCansPolicy) -> None:
    trunk, mirror = policy.trunk, torch.tensor(MIRROR)
    generator = torch.Generator().manual_seed(2)
    cans = torch.tensor([[0.4, 0.2, 0.35, -0.3]])
    joints = 0.3 * torch.randn((1, 14), generator=generator)
    previous = torch.randn((1, 2, 4, 32), generator=generator)
    tokens = torch.from_numpy(tokenize("push"))
    arms, hands = trunk.knots(cans, tokens, joints, previous)
    turned = torch.cat([joints[:, 7:] * mirror, joints[:, :7] * mirror], dim=1)
    arms_m, hands_m = trunk.knots(torch.tensor([[0.35, 0.3, 0.4, -0.2]]), tokens, turned, previous.flip(1))
    assert torch.allclose(arms_m[..., :7], arms[..., 7:] * mirror, atol=1e-5)
    assert torch.allclose(hands_m[:, 0], hands[:, 1], atol=1e-5)


def test_interpolation_hits_its_knots() -> None:
    weights = interpolation(HAND_STEPS)
    assert np.allclose(weights.sum(axis=0), 1.0)
    assert np.allclose(weights[:, list(HAND_STEPS)], np.eye(len(HAND_STEPS)))
    assert PREVIOUS_STEPS[-1] == 63
