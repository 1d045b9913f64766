# SPDX-License-Identifier: Apache-2.0
"""Made-up states for the eyes: objects of either task anywhere, hands near them in any posture, fruits held, lying in the bowl or on the table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.config import load_task
from dex_learn.policy.layout import OBJECTS, OF_TASK, SIDES
from dex_sim.lockstep import LockstepCell

Array = NDArray[np.float64]
AROUND_M = 0.05
"""Objects stand up to so far outside the regions they start in; between the regions they are moved by hands."""
HELD, IN_BOWL, BESIDE = 0.3, 0.2, 0.55
"""Shares of fruits that are held and that lie in the bowl, and of hands that are beside their object."""
OWN = {"left": ("left_can", "lemon"), "right": ("right_can", "lime")}


@dataclass(frozen=True)
class Stills:
    """N states: qpos (N, nq), tools (N, 2, 4), objects (N, 5, 3) [m], there (N, 5)."""

    qpos: Array
    tools: Array
    objects: Array
    there: NDArray[np.bool_]


def make_stills(lockstep: LockstepCell, count: int, seed: int) -> Stills:
    """Random states of one cell, both tasks in turns; deterministic by seed."""
    made = [_one(lockstep, np.random.default_rng([seed, number, 0x5717]), list(OF_TASK)[number % len(OF_TASK)]) for number in range(count)]
    return Stills(*(np.array(column) for column in zip(*made, strict=True)))


def _one(lockstep: LockstepCell, rng: np.random.Generator, task: str) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    world = lockstep.world
    world.reset(int(rng.integers(2**31)), task, randomise=False)
    places = _spread(task, rng)
    joints: dict[str, Array] = {}
    for side in SIDES:
        tool = _tool(side, places[OWN[side][list(OF_TASK).index(task)]], rng)
        joints[f"{side}_arm"] = lockstep.arms[side].joints(tool[None])[0]
        joints[f"{side}_hand"] = _posture(lockstep, side, rng)
    world.place(joints, {name: place[:2] for name, place in places.items()})
    qpos = world.snapshot().qpos.copy()
    if task == "reorganize_lemons":
        for side in SIDES:
            _move_fruit(lockstep, qpos, side, joints[f"{side}_arm"], places["bowl"], rng)
    objects, there = np.zeros((len(OBJECTS), 3)), np.array([name in OF_TASK[task] for name in OBJECTS])
    for k, name in enumerate(OBJECTS):
        if there[k]:
            address = int(world.model.joint(name).qposadr[0])
            objects[k] = qpos[address : address + 3]
    tools = np.stack([lockstep.arms[side].pose(joints[f"{side}_arm"]) for side in SIDES])
    return qpos, tools, objects, there


def _spread(task: str, rng: np.random.Generator) -> dict[str, Array]:
    """Object -> (3,) on the table; the left one of a pair is further left, none stands in another."""
    things = load_task(task).objects
    while True:
        places = {}
        for name, thing in things.items():
            x, y = thing.region.x_m, thing.region.y_m
            inward = 0.0 if name == "bowl" else 0.12 * float(rng.uniform() < 0.4)
            low, high = y[0] - AROUND_M, y[1] + AROUND_M
            low, high = (low - inward, high) if sum(y) > 0.0 else (low, high + inward)
            places[name] = np.array([rng.uniform(x[0] - AROUND_M, x[1] + AROUND_M), rng.uniform(low, high), 0.5 * thing.size_m[2]])
        left, right = (name for name in things if name != "bowl")
        pairs = [(a, b) for a in things for b in things if a < b]
        apart = all(np.linalg.norm(places[a] - places[b]) > things[a].radius_m + things[b].radius_m for a, b in pairs)
        if apart and places[left][1] > places[right][1]:
            return places


def _tool(side: str, own: Array, rng: np.random.Generator) -> Array:
    """(4,) tool pose, often beside or above its own object."""
    sign = 1.0 if side == "left" else -1.0
    yaw = -sign * (0.5 * np.pi + rng.uniform(-0.8, 0.8))
    if rng.uniform() < BESIDE:
        away = np.array([0.0, sign * rng.uniform(0.0, 0.08)]) + rng.normal(0.0, 0.02, 2)
        return np.array([*(own[:2] + away), rng.uniform(0.02, 0.2), yaw])
    return np.array([rng.uniform(0.2, 0.58), sign * rng.uniform(0.0, 0.48), rng.uniform(0.03, 0.32), yaw])


def _posture(lockstep: LockstepCell, side: str, rng: np.random.Generator) -> Array:
    """(n,) hand joints somewhere between the home posture and any other."""
    hand = lockstep.cell.interface(f"{side}_hand")
    home = np.array(hand.home)
    anywhere = rng.uniform([m.lower_rad for m in hand.limits], [m.upper_rad for m in hand.limits])
    return home + rng.uniform(0.0, 1.0) * (anywhere - home)


def _move_fruit(lockstep: LockstepCell, qpos: Array, side: str, arm_rad: Array, bowl: Array, rng: np.random.Generator) -> None:
    """Some fruits are between the fingers, some lie in the bowl."""
    address = int(lockstep.world.model.joint(OWN[side][1]).qposadr[0])
    draw = rng.uniform()
    if draw < HELD:
        qpos[address : address + 3] = lockstep.arms[side].pose(arm_rad)[:3] + rng.normal(0.0, 0.006, 3)
    elif draw < HELD + IN_BOWL:
        qpos[address : address + 3] = bowl + np.array([*rng.uniform(-0.025, 0.025, 2), rng.uniform(-0.002, 0.012)])
    else:
        return
    turn = rng.normal(size=4)
    qpos[address + 3 : address + 7] = turn / np.linalg.norm(turn)
