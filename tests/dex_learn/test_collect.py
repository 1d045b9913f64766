# SPDX-License-Identifier: Apache-2.0
"""Episodes: label shapes, reproducible by seed, the expert labels the very state, copies are relabelled."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.config import load_cell
from dex_learn.augment import relabel
from dex_learn.collect import Collector, Disturbance
from dex_learn.records import Records
from dex_sim.lockstep import LockstepCell


@pytest.fixture(scope="module")
def collector() -> Collector:
    return Collector(LockstepCell(load_cell("xarm_bimanual"), render=False), Disturbance())


@pytest.fixture(scope="module")
def records(collector: Collector) -> Records:
    return collector.episode(3)[0]


def test_shapes(records: Records) -> None:
    n = len(records)
    assert n > 20
    assert records.arms.shape == (n, 64, 14) and records.hands.shape == (n, 8, 12) and records.previous.shape == (n, 4, 12)
    assert np.isfinite(records.arms).all() and (records.group == 3).all()


def test_the_same_seed_gives_the_same_episode(collector: Collector, records: Records) -> None:
    again, _ = collector.episode(3)
    assert np.array_equal(again.joints, records.joints) and np.array_equal(again.arms, records.arms)


def test_labels_begin_where_the_arms_are(records: Records) -> None:
    assert np.abs(records.arms[:, 0] - records.joints).max() < 0.15


def test_an_undisturbed_expert_brings_the_cans_together() -> None:
    lockstep = LockstepCell(load_cell("xarm_bimanual"), render=False)
    calm = Collector(lockstep, Disturbance(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    assert calm.episode(5)[1]


def test_an_actor_is_asked_with_what_it_did_before(collector: Collector) -> None:
    seen: list[np.ndarray] = []

    def stay(observation, task, previous):  # noqa: ANN001, ANN202
        seen.append(previous)
        return np.tile(np.concatenate([observation.arm_joints_rad, observation.hand_joints_rad]), (64, 1))

    collector.episode(8, stay)
    assert len(seen) > 3 and all(p.shape == (64, 12) for p in seen)


def test_copies_move_and_are_labelled_anew(records: Records) -> None:
    few = records.take(slice(0, 12))
    copy = relabel(few, load_cell("xarm_bimanual"), seed=1)
    again = relabel(few, load_cell("xarm_bimanual"), seed=1)
    assert np.array_equal(copy.arms, again.arms)
    assert np.abs(copy.arms[:, 0] - copy.joints).max() < 0.15
    assert (np.abs(copy.joints - few.joints).max(axis=1) > 0).any() and (np.abs(copy.cans - few.cans).max(axis=1) > 0).any()
