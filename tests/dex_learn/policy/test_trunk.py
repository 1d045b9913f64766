# SPDX-License-Identifier: Apache-2.0
"""The graph: shapes, mirror, columns, absent objects, words, export; and the training's masks."""
from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from tests.dex_learn.policy.made import made_records  # noqa: E402

from dex_core.decode import tool_pose_columns, tool_poses_from_columns  # noqa: E402
from dex_core.text import tokenize  # noqa: E402
from dex_learn.export import check_parity, run_torch, to_onnx  # noqa: E402
from dex_learn.policy.codes import make_codes  # noqa: E402
from dex_learn.policy.layout import HAND_STEPS, SEEN_BY_RIGHT, STEPS  # noqa: E402
from dex_learn.policy.scene import FEATURES, Scene  # noqa: E402
from dex_learn.policy.train import Sentences, States, TrunkTraining, _in_depth, chunk_error, fit_basis, train_trunk, trunk_loss  # noqa: E402
from dex_learn.policy.trunk import ChunkBasis, TabletopPolicy, Trunk, motions, tools_of  # noqa: E402
from dex_learn.policy.vision import VisionNet  # noqa: E402

FLIP = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0])


@pytest.fixture(scope="module")
def policy() -> TabletopPolicy:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    records = made_records("inspire", 40)
    return TabletopPolicy(VisionNet(), Trunk(ChunkBasis.fit(records.tools, records.paths, rng.normal(size=(50, 32))))).eval()


def example(batch: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(batch)
    tools = rng.uniform([0.2, -0.4, 0.1, -3.0], [0.6, 0.4, 0.5, 3.0], (batch, 2, 4))
    return {
        "image": rng.integers(0, 255, (batch, 224, 224, 3), dtype=np.uint8), "tokens": np.repeat(tokenize("push the cans"), batch, axis=0),
        "poses": tool_pose_columns(tools).reshape(batch, 18).astype(np.float32),
        "previous_latents": rng.normal(size=(batch, 2, 64, 32)).astype(np.float32),
    }


def scene(batch: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(batch)
    angle = torch.rand((batch, 2, 1), generator=generator) * 6.0
    place = torch.rand((batch, 2, 3), generator=generator) * 0.4
    tools = torch.cat([place, torch.cos(angle), torch.sin(angle)], dim=2)
    return torch.rand((batch, 5, 3), generator=generator) * 0.3, torch.ones(batch, 5), tools


def test_export_agrees_at_other_batches(policy: TabletopPolicy) -> None:
    graph = to_onnx(policy, {k: torch.from_numpy(v) for k, v in example(2).items()}, ["chunk"])
    cases = [(x, run_torch(policy, x, ["chunk"])) for x in (example(1), example(3))]
    assert cases[1][1]["chunk"].shape == (3, STEPS, 18 + 64)
    assert check_parity(graph, cases, 1e-4, "policy") <= 1e-4
    assert len(graph) < 12e6


def test_columns_are_a_rotation_with_fingers_down(policy: TabletopPolicy) -> None:
    chunk = run_torch(policy, example(3), ["chunk"])["chunk"][..., :18].reshape(-1, 9)
    first, second = chunk[:, 3:6], chunk[:, 6:9]
    assert np.allclose((first**2).sum(axis=1), 1.0, atol=1e-5) and np.allclose((first * second).sum(axis=1), 0.0, atol=1e-6)
    assert np.allclose(np.cross(first, second), [0.0, 0.0, -1.0], atol=1e-5)


def test_measured_poses_are_read() -> None:
    tools = np.random.default_rng(2).uniform(-3.0, 3.0, (20, 4))
    columns = tool_pose_columns(tools)
    assert np.allclose(tool_poses_from_columns(columns), tools)
    read = tools_of(torch.from_numpy(columns.reshape(10, 18))).numpy().reshape(20, 5)
    assert np.allclose(read, np.concatenate([tools[:, :3], np.cos(tools[:, 3:]), np.sin(tools[:, 3:])], axis=1), atol=1e-6)


def test_moved_hands_move_their_chunk(policy: TabletopPolicy) -> None:
    """The net speaks of motion away from where the hand is: with its last layer silent, the chunk is the measured pose held."""
    objects, there, tools = scene(4)
    trunk = Trunk(ChunkBasis(policy.trunk.modes.numpy(), policy.trunk.scale.numpy(), np.zeros(32), np.ones(32)))
    torch.nn.init.zeros_(trunk.to_path.weight)
    torch.nn.init.zeros_(trunk.to_path.bias)
    with torch.no_grad():
        place, heading, _ = trunk(objects, there, tools, torch.from_numpy(tokenize("push")).repeat(4, 1), torch.zeros(4, 2, 6, 32))
    assert torch.equal(place, tools[:, None, :, :3].expand_as(place))
    assert torch.allclose(heading, tools[:, None, :, 3:].expand_as(heading))


def test_a_mirrored_scene_gives_the_mirrored_chunk(policy: TabletopPolicy) -> None:
    objects, there, tools = scene(5)
    there[:, 2:] = 0.0  # at a bowl the left hand goes first
    tokens = torch.from_numpy(tokenize("push the cans")).repeat(5, 1)
    previous = torch.randn((5, 2, 6, 32), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        place, heading, codes = policy.trunk(objects, there, tools, tokens, previous)
        seen = objects[:, list(SEEN_BY_RIGHT)] * torch.tensor([1.0, -1.0, 1.0])
        other = policy.trunk(seen, there, torch.flip(tools, [1]) * FLIP, tokens, torch.flip(previous, [1]))
    assert torch.allclose(torch.flip(other[0], [2]) * torch.tensor([1.0, -1.0, 1.0]), place, atol=1e-5)
    assert torch.allclose(torch.flip(other[1], [2]) * torch.tensor([1.0, -1.0]), heading, atol=1e-5)
    assert torch.allclose(torch.flip(other[2], [1]), codes, atol=1e-4)


def test_where_an_absent_object_is_does_not_matter(policy: TabletopPolicy) -> None:
    objects, there, tools = scene(3)
    there[:, 2:] = 0.0
    moved = objects.clone()
    moved[:, 2:] += 5.0
    net = Scene()
    a, b = net(objects, there, tools), net(moved, there, tools)
    assert a.shape == (6, FEATURES) and torch.equal(a, b)
    moved[:, 1] += 0.1
    assert not torch.equal(a, net(moved, there, tools))


def test_other_words_other_chunk(policy: TabletopPolicy) -> None:
    x = example(1)
    a = run_torch(policy, x, ["chunk"])["chunk"]
    b = run_torch(policy, {**x, "tokens": tokenize("return to the rest pose")}, ["chunk"])["chunk"]
    assert np.abs(a - b).max() > 1e-4


def test_motions_turn_the_short_way_round() -> None:
    tools = np.zeros((1, 2, 4))
    tools[..., 3] = 3.1
    paths = np.zeros((1, STEPS, 2, 4))
    paths[..., 3] = -3.1 - np.linspace(0.0, 0.5, STEPS)[None, :, None]
    moved = motions(tools, paths)
    assert np.abs(moved[..., 3]).max() < 0.6 and moved[0, 0, 0, 3] == pytest.approx(2.0 * np.pi - 6.2)
    assert np.allclose(moved[0, :, 1, 3], -moved[0, :, 0, 3])


def test_padded_joints_teach_nothing() -> None:
    records = made_records("inspire", 8)
    codes = make_codes("joints", ["inspire"], ("left", "right"))
    states = States.of([records], codes)
    trunk = Trunk(fit_basis([records], states))
    found = trunk(states.objects, states.there, states.tools, torch.from_numpy(tokenize("push")).repeat(8, 1), states.previous)
    loss = trunk_loss(trunk, found, states.place, states.heading, states.codes, states.used)
    loss.backward()
    gradient = trunk.to_codes.weight.grad.reshape(len(HAND_STEPS), trunk.dim, -1)
    assert gradient[:, :6].abs().max() > 0.0 and gradient[:, 6:].abs().max() == 0.0


def test_training_over_two_hands_learns() -> None:
    torch.manual_seed(0)
    parts = [made_records("inspire", 60, 1), made_records("leap", 60, 2, task=1)]
    codes = make_codes("joints", ["inspire", "leap"], ("left", "right"))
    states = States.of(parts, codes)
    assert len(states) == 120 and states.codes.shape == (120, 2, len(HAND_STEPS), 16)
    words = Sentences.of([["push the cans"], ["put the lemons into the bowl"], ["rest"]])
    start = Trunk(fit_basis(parts, states))
    before = chunk_error(start, states, words)
    trunk, curve = train_trunk(states, words, TrunkTraining(steps=60, batch=32), start, states)
    after = chunk_error(trunk, states, words)
    assert after["place_mm"] < 0.7 * before["place_mm"] and curve[-1]["step"] == 60


def test_errors_in_depth_are_along_the_line_of_sight_and_of_fruits_alone() -> None:
    training = TrunkTraining(depth_noise_m=0.02, camera_m=(1.0, 0.2, 0.7))
    objects = torch.rand((200, 5, 3), generator=torch.Generator().manual_seed(0)) * 0.4
    error = _in_depth(objects, training, torch.Generator().manual_seed(1))
    assert error[:, [0, 1, 4]].abs().max() == 0.0
    sight = objects - torch.tensor(training.camera_m)
    across = torch.linalg.cross(error, sight / sight.norm(dim=2, keepdim=True))
    assert across.abs().max() < 1e-6
    moved = error[:, 2:4].norm(dim=2)
    assert 0.35 < float((moved > 0.0).float().mean()) < 0.65 and 0.015 < float(moved[moved > 0.0].square().mean().sqrt()) < 0.025
