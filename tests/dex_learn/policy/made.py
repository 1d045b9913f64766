# SPDX-License-Identifier: Apache-2.0
"""Synthetic records and pictures for the tests of the policy."""
from __future__ import annotations

import numpy as np

from dex_core.config import load_robot
from dex_learn.policy.draw import Pictures
from dex_learn.policy.layout import HAND_STEPS, PREVIOUS_STEPS, STEPS
from dex_learn.policy.records import Records
from dex_learn.policy.vision import TAUGHT


def made_records(hand: str, n: int, seed: int = 0, task: int = 0) -> Records:
    """Random states of one task; the label goes straight to a place that depends on the objects."""
    rng = np.random.default_rng(seed)
    robot = load_robot(hand)
    limits = [robot.limits[name] for name in robot.actuated]
    low, high = np.array([x.lower_rad for x in limits]), np.array([x.upper_rad for x in limits])
    joints = len(limits)
    tools = np.stack([[0.4, 0.2, 0.2, -1.5], [0.4, -0.2, 0.2, 1.5]])[None] + rng.normal(0.0, 0.05, (n, 2, 4))
    objects = np.zeros((n, 5, 3))
    there = np.zeros((n, 5), bool)
    there[:, [0, 1] if task == 0 else [2, 3, 4]] = True
    objects[there] = rng.normal(0.0, 0.05, (int(there.sum()), 3)) + np.array([0.4, 0.0, 0.05])
    way = np.linspace(0.0, 1.0, STEPS)[None, :, None, None]
    goal = tools + 0.1 * np.concatenate([objects.sum(axis=1), np.zeros((n, 1))], axis=1)[:, None]
    paths = (1.0 - way) * tools[:, None] + way * goal[:, None]
    some = lambda *shape: rng.uniform(low, high, (*shape, joints))  # noqa: E731
    f = lambda x: np.asarray(x, np.float32)  # noqa: E731
    return Records(
        hand, f(rng.normal(size=(n, 9))), f(tools), f(some(n, 2)), f(objects), there, np.full(n, task), f(some(n, len(PREVIOUS_STEPS), 2)), f(paths),
        f(some(n, len(HAND_STEPS), 2)), np.arange(n) // 5,
    )


def made_pictures(n: int, seed: int = 0) -> Pictures:
    """Noise, with objects and points anywhere."""
    rng = np.random.default_rng(seed)
    there = np.zeros((n, 5), bool)
    there[::2, :2], there[1::2, 2:] = True, True
    return Pictures(
        rng.integers(0, 255, (n, 224, 224, 3), dtype=np.uint8), rng.normal(0.3, 0.1, (n, 5, 3)).astype(np.float32), there,
        rng.uniform(-0.4, 0.4, (n, 2, 4)).astype(np.float32),
        rng.uniform(-0.9, 0.9, (n, len(TAUGHT), 2)).astype(np.float32), rng.uniform(size=(n, len(TAUGHT))) < 0.7,
    )
