# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dex_core.bundle import load_bundle
from dex_core.bundle.testing import write_fixture_pair
from dex_core.config import CellConfig, load_cell
from dex_core.decode import MountedHand
from dex_core.errors import DexError
from dex_core.policy import ChunkPolicy, Observation, Policy, load_policy
from dex_core.policy.runtime import mounted_hands
from dex_core.types import JointState

INSTRUCTION = "Push the two tomato cans together"
STAMP = 1_700_000_000_000_000_000


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> CellConfig:
    base = load_cell("xarm_bimanual")
    latent, policy = write_fixture_pair(Path(tmp_path_factory.mktemp("models")), base)
    return replace(base, policy=replace(base.policy, bundle=str(policy), latent_bundle=str(latent), provider="cpu"))


@pytest.fixture(scope="module")
def policy(cell: CellConfig) -> ChunkPolicy:
    return load_policy(cell, wall_clock_ns=lambda: STAMP)[0]


@cache
def told(policy: str) -> dict[str, MountedHand]:
    return mounted_hands(load_cell("xarm_bimanual"), load_bundle(policy))


def state(cell: CellConfig, name: str, offset_rad: float = 0.0, stamp_ns: int = STAMP) -> JointState:
    i = cell.interface(name)
    zero = np.zeros(len(i.names))
    return JointState(i.names, np.array(i.home) + offset_rad, zero, zero, stamp_ns)


def observation(cell: CellConfig, **changes: object) -> Observation:
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    fields = {"joints": {n: state(cell, n) for n in cell.interfaces}, "mounted": told(cell.policy.bundle), **changes}
    return Observation(**{"stamp_ns": STAMP, "images": {"front": image}, "instruction": INSTRUCTION, **fields})  # type: ignore[arg-type]


def test_it_is_a_policy_and_says_what_it_needs(policy: ChunkPolicy, cell: CellConfig) -> None:
    assert isinstance(policy, Policy)
    assert policy.spec.chunk == 64 and policy.spec.dt_s == 0.05 and policy.spec.first_action_offset == 1.0
    assert set(policy.spec.joint_interfaces) == set(policy.spec.action_interfaces) == set(cell.interfaces)


def test_chunk_of_the_holding_fixture(policy: ChunkPolicy, cell: CellConfig) -> None:
    policy.reset()
    prediction = policy.infer(observation(cell), "goal", 7)
    chunk = prediction.chunk
    assert (chunk.goal_id, chunk.sequence, chunk.stamp_ns, chunk.bundle_hash) == ("goal", 7, STAMP, policy.spec.bundle_hash)
    for arm in ("left_arm", "right_arm"):
        part = chunk.slice_of(arm)
        assert part is not None and part.space == "joint_position" and part.names == cell.interface(arm).names
        np.testing.assert_allclose(part.data, np.tile(cell.interface(arm).home, (64, 1)), atol=1e-6)
    hand = chunk.slice_of("left_hand")
    assert hand is not None and hand.space == "latent" and hand.data.shape == (64, 32) and len(hand.space_hash) == 64
    assert np.ptp(hand.data, axis=0).max() < 1e-6, "the first previous latents are the measured pose, repeated"
    assert prediction.inference_ms > 0 and chunk.timing_ns["observed"] == STAMP


def test_previous_latents_are_kept_until_reset(policy: ChunkPolicy, cell: CellConfig) -> None:
    policy.reset()
    first = policy.infer(observation(cell)).chunk.slice_of("left_hand")
    closed = {**observation(cell).joints, "left_hand": state(cell, "left_hand", 0.2)}
    kept = policy.infer(observation(cell, joints=closed)).chunk.slice_of("left_hand")
    policy.reset()
    fresh = policy.infer(observation(cell, joints=closed)).chunk.slice_of("left_hand")
    assert first is not None and kept is not None and fresh is not None
    np.testing.assert_array_equal(first.data, kept.data)
    assert np.abs(fresh.data - first.data).max() > 0.01


def test_joint_order_of_the_message_does_not_matter(policy: ChunkPolicy, cell: CellConfig) -> None:
    policy.reset()
    want = policy.infer(observation(cell)).chunk.slices[0].data
    s = state(cell, "left_arm")
    order = np.random.default_rng(0).permutation(len(s.names))
    shuffled = JointState(tuple(s.names[i] for i in order), s.position_rad[order], s.velocity_rad_s[order], s.effort[order], STAMP)
    got = policy.infer(observation(cell, joints={**observation(cell).joints, "left_arm": shuffled})).chunk.slices[0].data
    np.testing.assert_array_equal(got, want)


def _without(name: str) -> Callable[[CellConfig], dict]:
    return lambda cell: {"joints": {k: v for k, v in observation(cell).joints.items() if k != name}}


def _renamed(cell: CellConfig) -> dict:
    s = state(cell, "left_arm")
    return {
        "joints": {
            **observation(cell).joints,
            "left_arm": JointState(("left_joint0", *s.names[1:]), s.position_rad, s.velocity_rad_s, s.effort, STAMP),
        }
    }


def _one_less(cell: CellConfig) -> dict:
    s = state(cell, "right_arm")
    return {
        "joints": {**observation(cell).joints, "right_arm": JointState(s.names[1:], s.position_rad[1:], s.velocity_rad_s[1:], s.effort[1:], STAMP)}
    }


REFUSED: dict[str, tuple[str, Callable[[CellConfig], dict]]] = {
    "no arm": ("state_stale", _without("left_arm")),
    "no hand": ("state_stale", _without("right_hand")),
    "no word of the hands": ("hand_unknown", lambda _cell: {"mounted": {}}),
    "unknown joint": ("joint_names", _renamed),
    "joint missing": ("joint_names", _one_less),
    "beyond limits": ("joint_limits", lambda cell: {"joints": {**observation(cell).joints, "left_hand": state(cell, "left_hand", 1.5)}}),
    "black": ("image_blank", lambda cell: {"images": {"front": np.zeros((240, 320, 3), np.uint8)}}),
    "white": ("image_blank", lambda cell: {"images": {"front": np.full((240, 320, 3), 255, np.uint8)}}),
    "other size": ("image_shape", lambda cell: {"images": {"front": np.zeros((480, 640, 3), np.uint8)}}),
    "grey": ("image_shape", lambda cell: {"images": {"front": np.zeros((240, 320), np.uint8)}}),
    "floats": ("image_shape", lambda cell: {"images": {"front": np.zeros((240, 320, 3), np.float32)}}),
    "no words": ("instruction_invalid", lambda cell: {"instruction": " ... "}),
    "too many words": ("instruction_invalid", lambda cell: {"instruction": "push " * 100}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_observations(policy: ChunkPolicy, cell: CellConfig, case: str) -> None:
    code, change = REFUSED[case]
    policy.reset()
    with pytest.raises(DexError) as info:
        policy.infer(observation(cell, **change(cell)))
    assert info.value.code == code, str(info.value)


def test_zeros_are_data_like_any_other(policy: ChunkPolicy, cell: CellConfig) -> None:
    policy.reset()
    zeros = {
        n: JointState(i.names, np.zeros(len(i.names)), np.zeros(len(i.names)), np.zeros(len(i.names)), STAMP) for n, i in cell.interfaces.items()
    }
    chunk = policy.infer(observation(cell, joints=zeros)).chunk
    np.testing.assert_allclose(chunk.slices[0].data, 0.0, atol=1e-6)


def _with_ramp(tmp_path: Path, size_rad: float) -> CellConfig:
    base = load_cell("xarm_bimanual")
    ramp = np.zeros((64, 14))
    ramp[-1, 0] = size_rad
    latent, policy = write_fixture_pair(tmp_path, base, ramp=ramp)
    return replace(base, policy=replace(base.policy, bundle=str(policy), latent_bundle=str(latent), provider="cpu"))


@pytest.mark.parametrize(("size_rad", "outcome"), [(1.0, "silent"), (9.0, "flagged"), (100.0, "output_range")])
def test_output_range(tmp_path: Path, size_rad: float, outcome: str) -> None:
    cell = _with_ramp(tmp_path, size_rad)
    policy, _ = load_policy(cell)
    if outcome == "output_range":
        with pytest.raises(DexError) as info:
            policy.infer(observation(cell))
        assert info.value.code == "output_range"
        return
    flags = policy.infer(observation(cell)).flags
    assert bool(flags) == (outcome == "flagged"), flags
