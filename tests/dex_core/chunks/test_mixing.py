# SPDX-License-Identifier: Apache-2.0
"""Chunks mixed in the policy's space: rotations stay rotations, latents are means, what is binary is one or the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dex_core.chunks import Committed
from dex_core.chunks.mixing import ChunkEnsemble, commit, ensemble_chunks, fade_chunks, rows_at
from dex_core.chunks.rotation import mean_rotation, rotation_exp, rotation_log
from dex_core.config import EnsembleConfig
from dex_core.errors import DexError, ShapeError
from dex_core.rot6d import rotation_from_columns, tool_pose_columns
from dex_core.types import POSE_COLUMNS, ActionChunk, ActionSlice

NS = 1_000_000_000
DT_S, STEPS = 0.05, 20
STEP_NS = round(DT_S * NS)
turns = st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=3).map(np.array)


def chunk(stamp_ns: int = 0, sequence: int = 0, *, yaw=0.0, at_m=0.0, latent=0.0, grip=0.0, token=3.0, steps: int = STEPS) -> ActionChunk:
    """Numbers or (steps,) of each kind of slice."""
    full = [np.broadcast_to(value, steps).astype(float) for value in (at_m, yaw, latent, grip, token)]
    pose = tool_pose_columns(np.stack([full[0], np.zeros(steps), np.zeros(steps), full[1]], axis=-1))
    return ActionChunk(stamp_ns, "g", sequence, DT_S, 1.0, (
        ActionSlice("left_arm", "wrist_pose", pose, POSE_COLUMNS, "world"),
        ActionSlice("left_hand", "latent", np.repeat(full[2][:, None], 4, axis=1), space_hash="h"),
        ActionSlice("right_arm", "joint_position", np.stack([full[0], full[3]], axis=-1), ("joint", "gripper")),
        ActionSlice("right_hand", "token", full[4][:, None]),
    ))


def yaw_of(pose: np.ndarray) -> np.ndarray:
    return np.arctan2(pose[:, 4], pose[:, 3])


def rotations_of(pose: np.ndarray) -> np.ndarray:
    columns = np.stack([pose[:, 3:6], pose[:, 6:9]], axis=-1)
    assert np.allclose(np.swapaxes(columns, -1, -2) @ columns, np.eye(2), atol=1e-9), "orthonormal"
    return rotation_from_columns(pose[:, 3:])


@given(turn=st.lists(st.floats(-1.7, 1.7), min_size=3, max_size=3).map(np.array))
def test_exp_and_log_are_inverse_and_rotations_are_orthonormal(turn):
    rotation = rotation_exp(turn)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    np.testing.assert_allclose(rotation_log(rotation), turn, atol=1e-9)


@given(base=turns, turn=st.lists(st.floats(-0.8, 0.8), min_size=3, max_size=3).map(np.array), share=st.floats(0.0, 1.0))
def test_the_mean_of_two_rotations_lies_on_the_way_between_them(base, turn, share):
    a = rotation_exp(base)
    b = a @ rotation_exp(turn)
    mean = mean_rotation(np.stack([a, b])[:, None], np.array([[1.0 - share], [share]]))[0]
    np.testing.assert_allclose(mean, a @ rotation_exp(share * turn), atol=1e-9)


@settings(deadline=None)
@given(base=turns, frame=turns, parts=st.lists(st.lists(st.floats(-0.4, 0.4), min_size=3, max_size=3), min_size=3, max_size=3))
def test_the_mean_of_rotations_knows_no_frame_and_no_order(base, frame, parts):
    rotations = rotation_exp(base) @ rotation_exp(np.array(parts))
    weights, f = np.array([[0.5], [0.3], [0.2]]), rotation_exp(frame)
    mean = mean_rotation(rotations[:, None], weights)[0]
    np.testing.assert_allclose(mean_rotation((f @ rotations)[:, None], weights)[0], f @ mean, atol=1e-9)
    np.testing.assert_allclose(mean_rotation((rotations @ f)[:, None], weights)[0], mean @ f, atol=1e-9)
    np.testing.assert_allclose(mean_rotation(rotations[::-1, None], weights[::-1])[0], mean, atol=1e-9)


def test_a_rotation_far_from_the_newest_has_no_say_beside_it():
    far, newest = rotation_exp(np.array([0.0, 0.0, 2.5])), np.eye(3)
    np.testing.assert_array_equal(mean_rotation(np.stack([far, newest])[:, None], np.array([[0.9], [0.1]]))[0], newest)
    np.testing.assert_array_equal(mean_rotation(np.stack([far, newest])[:, None], np.array([[1.0], [0.0]]))[0], far)


def test_between_two_steps_positions_and_latents_are_linear_and_turns_are_turns():
    ramp = np.arange(STEPS) * 0.1
    made = chunk(yaw=ramp, at_m=ramp, latent=ramp, grip=np.arange(STEPS) % 2, token=np.arange(STEPS))
    times = np.array([made.time_of_step_ns(0) + round(k * STEP_NS) for k in (0.0, 2.25, 7.5)])
    pose = rows_at(made, "left_arm", times)
    np.testing.assert_allclose(pose[:, 0], [0.0, 0.225, 0.75])
    np.testing.assert_allclose(yaw_of(pose), [0.0, 0.225, 0.75], atol=1e-9)
    np.testing.assert_allclose(rows_at(made, "left_hand", times)[:, 0], [0.0, 0.225, 0.75])
    np.testing.assert_array_equal(rows_at(made, "right_hand", times)[:, 0], [0, 2, 7])
    np.testing.assert_array_equal(rows_at(made, "right_arm", times, held=("gripper",))[:, 1], [0, 0, 1])


def test_beyond_its_ends_a_chunk_says_its_first_and_last_step():
    made = chunk(at_m=np.arange(STEPS))
    early, late = made.time_of_step_ns(0) - NS, made.time_of_step_ns(STEPS - 1) + NS
    np.testing.assert_array_equal(rows_at(made, "left_arm", np.array([early, late]))[:, 0], [0, STEPS - 1])


def test_an_ensemble_weighs_the_oldest_first_and_only_what_covers_the_time():
    """Three chunks, one every four steps; weights exp(-m i)."""
    m, values = 0.5, (1.0, 2.0, 4.0)
    chunks = [chunk(4 * k * STEP_NS, k, at_m=v, latent=v, grip=float(k == 2), token=v) for k, v in enumerate(values)]
    mixed = ensemble_chunks(chunks, m, held=("gripper",))
    weights = np.exp(-m * np.arange(3))
    expected = [np.average(values, weights=weights)] * 12 + [np.average(values[1:], weights=weights[1:])] * 4 + [4.0] * 4
    np.testing.assert_allclose(mixed.slice_of("left_hand").data[:, 0], expected)
    np.testing.assert_allclose(mixed.slice_of("left_arm").data[:, 0], expected)
    np.testing.assert_array_equal(mixed.slice_of("right_arm").data[:, 1], 1.0)
    np.testing.assert_array_equal(mixed.slice_of("right_hand").data[:, 0], 4.0)
    assert (mixed.stamp_ns, mixed.sequence, mixed.steps) == (chunks[2].stamp_ns, 2, STEPS)


def test_rotations_of_an_ensemble_are_rotations_and_no_naive_mean():
    chunks = [chunk(0, 0, yaw=3.0), chunk(0, 1, yaw=-3.0)]  # 0.283 rad apart, over the seam of the angle
    mixed = ensemble_chunks(chunks, 0.0).slice_of("left_arm").data
    rotations_of(mixed)
    np.testing.assert_allclose(np.abs(yaw_of(mixed)), np.pi, atol=1e-9)


def test_one_chunk_is_its_own_ensemble():
    made = chunk(yaw=np.linspace(0.0, 1.0, STEPS), at_m=0.3, latent=0.2)
    mixed = ensemble_chunks([made], 0.01)
    for mine, given_part in zip(mixed.slices, made.slices, strict=True):
        np.testing.assert_allclose(mine.data, given_part.data, atol=1e-12)


def test_a_fade_begins_with_the_old_and_ends_with_the_new():
    old, new = chunk(0, 0, yaw=0.4, latent=0.0), chunk(0, 1, yaw=-0.4, latent=1.0)
    from_ns = new.time_of_step_ns(4)
    mixed = fade_chunks(old, new, from_ns, 8 * DT_S)
    latent, yaw = mixed.slice_of("left_hand").data[:, 0], yaw_of(mixed.slice_of("left_arm").data)
    np.testing.assert_allclose(latent[:5], 0.0, atol=1e-12)
    np.testing.assert_allclose(latent[12:], 1.0)
    assert (np.diff(latent[4:13]) > 0.0).all() and latent[8] == pytest.approx(0.5)
    np.testing.assert_allclose(yaw, 0.4 - 0.8 * latent, atol=1e-9)


def test_chunks_that_do_not_speak_of_the_same_are_refused():
    with pytest.raises(ShapeError, match="at least one chunk"):
        ensemble_chunks([], 0.0)
    lone = ActionChunk(0, "g", 3, DT_S, 1.0, (ActionSlice("left_arm", "latent", np.zeros((STEPS, 9))),))
    with pytest.raises(ShapeError, match="speaks latent"):
        ensemble_chunks([lone, chunk()], 0.0)
    with pytest.raises(ShapeError, match="nothing of left_arm"):
        rows_at(ActionChunk(0, "g", 3, DT_S, 1.0, (ActionSlice("left_hand", "latent", np.zeros((4, 9))),)), "left_arm", np.array([0]))


def test_what_is_committed_are_the_old_rows_at_the_new_times():
    before = chunk(latent=np.arange(STEPS))
    found = commit(before, 7 * STEP_NS, frozen=4)
    assert (found.start_step, found.frozen, found.known) == (0, 4, STEPS - 7)
    np.testing.assert_allclose(found.steps["left_hand"][:, 0], np.arange(7, STEPS))
    between = commit(before, round(7.5 * STEP_NS), frozen=4)
    assert between.known == STEPS - 8
    np.testing.assert_allclose(between.steps["left_hand"][:, 0], np.arange(7.5, STEPS - 1))


def test_a_chunk_that_is_over_commits_to_nothing():
    assert commit(chunk(), STEPS * STEP_NS, frozen=4) is None
    assert commit(chunk(NS), 0, frozen=4) is None, "an observation older than the chunk's"
    assert commit(chunk(), (STEPS - 2) * STEP_NS, frozen=9).frozen == 2, "no more is frozen than there is"


@pytest.mark.parametrize("wrong", [
    {"steps": {}}, {"steps": {"a": np.zeros((2, 3)), "b": np.zeros((3, 3))}}, {"steps": {"a": np.zeros((2, 3))}, "frozen": 3},
    {"steps": {"a": np.zeros((2, 3))}, "start_step": -1},
])
def test_committed_rows_fit_together(wrong):
    with pytest.raises(ShapeError):
        Committed(**wrong)


def test_as_chunks_come_each_is_mixed_with_those_before():
    ensemble = ChunkEnsemble(EnsembleConfig(0.3, ("gripper",)))
    chunks = [chunk(3 * i * STEP_NS, i, latent=float(i), grip=float(i)) for i in range(4)]
    sent = [ensemble.add(c) for c in chunks]
    assert [c.sequence for c in sent] == [0, 1, 2, 3]
    for made, wanted in zip(sent[3].slices, ensemble_chunks(chunks, 0.3, ("gripper",)).slices, strict=True):
        np.testing.assert_array_equal(made.data, wanted.data)


def test_without_a_configuration_every_chunk_is_sent_as_it_is():
    ensemble = ChunkEnsemble(None)
    for i in range(3):
        one = chunk(i * STEP_NS, i, latent=float(i))
        assert ensemble.add(one) is one


def test_chunks_that_are_over_refused_or_of_another_goal_or_hand_have_no_say():
    def alone(made: ActionChunk, said: ActionChunk) -> bool:
        return all(np.array_equal(a.data, b.data) for a, b in zip(made.slices, said.slices, strict=True))

    ensemble = ChunkEnsemble(EnsembleConfig(0.0))
    ensemble.add(chunk(0, 1, latent=1.0))
    later = chunk(2 * STEPS * STEP_NS, 2, latent=5.0)
    assert alone(ensemble.add(later), later), "the first is over"
    ensemble.forget(2)
    third = chunk((2 * STEPS + 1) * STEP_NS, 3, latent=7.0)
    assert alone(ensemble.add(third), third), "the second was refused"
    other_goal = replace(chunk((2 * STEPS + 2) * STEP_NS, 1, latent=9.0), goal_id="h")
    assert alone(ensemble.add(other_goal), other_goal)
    other_hand = replace(other_goal, sequence=2, slices=tuple(replace(s, space_hash="i") if s.space == "latent" else s for s in other_goal.slices))
    assert alone(ensemble.add(other_hand), other_hand)
    ensemble.clear()
    assert alone(ensemble.add(third), third)


def test_a_chunk_whose_turn_is_none_is_not_kept():
    ensemble = ChunkEnsemble(EnsembleConfig(0.0))
    good, broken = chunk(0, 1), chunk(STEP_NS, 2)
    ensemble.add(good)
    poses = np.array(broken.slices[0].data)
    poses[:, 3:] = 0.0
    with pytest.raises(DexError) as info:
        ensemble.add(replace(broken, slices=(replace(broken.slices[0], data=poses), *broken.slices[1:])))
    assert info.value.code == "rotation"
    assert ensemble.add(chunk(2 * STEP_NS, 3)).sequence == 3
