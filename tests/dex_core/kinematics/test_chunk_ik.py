# SPDX-License-Identifier: Apache-2.0
"""Chunk IK: one branch for the whole chunk where one serves it, the fewest and smallest jumps where none does."""
from __future__ import annotations

import functools

import numpy as np
import pytest

from dex_core.errors import DexError, NonFiniteError, ShapeError
from dex_core.kinematics.chunk_ik import solve_chunk
from dex_core.kinematics.hand_ik import HandIk, HandIkStatus, HandModel, load_hand_ik
from dex_core.kinematics.tree import KinematicTree
from dex_core.types import Array

ENGINES = ("", "numpy")


@functools.cache
def ik_of(name: str, engine: str = "") -> HandIk:
    return load_hand_ik(name, "right", engine=engine)


def tips(ik: HandIk, q: Array) -> Array:
    out = np.empty((len(q), len(ik.fingers), 3))
    for group in ik.groups:
        out[:, group.fingers] = group.forward.tips(q[:, group.columns])
    return out


def wander(ik: HandIk, steps: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    phase, rate = rng.uniform(0.0, 6.28, len(ik.names)), rng.uniform(0.02, 0.08, len(ik.names))
    return ik.lower_rad + (0.5 + 0.48 * np.sin(phase + rate * np.arange(steps)[:, None])) * (ik.upper_rad - ik.lower_rad)


@functools.cache
def elbow(engine: str) -> HandIk:
    """A planar finger of two joints of 50 mm: each target has two solutions, and the elbow bends 2.5 rad one way but 1 rad the other."""
    def joint(name: str, parent: str, child: str, lower: float, upper: float, x: float) -> str:
        return (
            f'<joint name="{name}" type="revolute"><parent link="{parent}"/><child link="{child}"/><origin xyz="{x} 0 0"/>'
            f'<axis xyz="0 0 1"/><limit lower="{lower}" upper="{upper}" effort="1" velocity="1"/></joint>'
        )

    tip = '<joint name="end" type="fixed"><parent link="b"/><child link="tip"/><origin xyz="0.05 0 0"/></joint>'
    text = '<robot name="finger">' + "".join(f'<link name="{n}"/>' for n in ("base", "a", "b", "tip"))
    tree = KinematicTree(text + joint("ja", "base", "a", -2.5, 2.5, 0.0) + joint("jb", "a", "b", -1.0, 2.5, 0.05) + tip + "</robot>", ("ja", "jb"))
    return HandIk(HandModel(tree, tree.names, ("index",), ("tip",), tree.lower_rad, tree.upper_rad), engine=engine)


def bending() -> tuple[Array, Array]:
    """(64, 2) joints that bend the elbow from 0.6 to 2 rad, and (64, 1, 3) their tips, which the other branch reaches to 1 rad only."""
    joints = np.column_stack([np.full(64, -0.3), np.linspace(0.6, 2.0, 64)])
    return joints, tips(elbow(""), joints)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_branch_that_serves_the_whole_chunk_is_taken_from_the_start(engine: str) -> None:
    joints, targets = bending()
    wrong = np.array([0.3, -0.6])  # also at the first target, on the branch that ends
    assert np.linalg.norm(tips(elbow(engine), wrong[None])[0] - targets[0]) < 1e-6
    solved = solve_chunk(elbow(engine), targets, start_rad=wrong)
    assert np.allclose(solved.position_rad, joints, atol=1e-4) and (solved.status == HandIkStatus.CONVERGED).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_previous_solution_on_the_wrong_branch_costs_one_jump_and_no_more(engine: str) -> None:
    _joints, targets = bending()
    wrong = np.array([0.3, -0.6])
    solved = solve_chunk(elbow(engine), targets, previous_rad=wrong)
    steps = np.abs(np.diff(np.vstack([wrong, solved.position_rad]), axis=0)).max(axis=1)
    assert solved.residual_m.max() < 1e-5 and np.count_nonzero(steps > 0.3) == 1


@pytest.mark.parametrize("name", ("inspire", "ability", "xhand1", "sharpa_wave", "leap", "schunk_svh"))
def test_reachable_chunks_are_reached_and_coherent(name: str) -> None:
    ik = ik_of(name)
    for seed in range(4):
        joints = wander(ik, 64, seed)
        solved = solve_chunk(ik, tips(ik, joints), previous_rad=joints[0])
        assert solved.residual_m.max() < 1e-4 and (solved.status == HandIkStatus.CONVERGED).all()
        assert (solved.position_rad >= ik.lower_rad).all() and (solved.position_rad <= ik.upper_rad).all()
        jumps = np.count_nonzero(np.abs(np.diff(solved.position_rad, axis=0)).max(axis=1) > 0.5)
        assert jumps <= (3 if name == "leap" else 0)


def test_no_more_jumps_than_step_by_step() -> None:
    ik = ik_of("leap")
    whole = single = 0
    for seed in range(8):
        joints = wander(ik, 64, seed)
        targets, previous = tips(ik, joints), joints[0]
        solved = solve_chunk(ik, targets, previous_rad=previous)
        whole += np.count_nonzero(np.abs(np.diff(solved.position_rad, axis=0)).max(axis=1) > 0.5)
        for target in targets:
            q = ik.solve(target, previous_rad=previous).position_rad
            single += int(np.abs(q - previous).max() > 0.5)
            previous = q
    assert whole <= single


@pytest.mark.parametrize("engine", ENGINES)
def test_out_of_reach_and_back(engine: str) -> None:
    ik = ik_of("inspire", engine)
    q = ik.lower_rad + 0.4 * (ik.upper_rad - ik.lower_rad)
    away = np.concatenate([np.linspace(0.0, 0.08, 12), np.linspace(0.08, 0.0, 12)])
    solved = solve_chunk(ik, tips(ik, q[None]) + away[:, None, None] * np.array([0.0, 0.0, 1.0]), previous_rad=q)
    assert np.abs(np.diff(solved.position_rad, axis=0)).max() < 0.5
    assert np.allclose(solved.position_rad[-1], q, atol=1e-4)
    assert solved.status[12] == HandIkStatus.CLOSEST and solved.status[-1] == HandIkStatus.CONVERGED


@pytest.mark.parametrize("engine", ENGINES)
def test_a_chunk_of_no_steps_and_of_one(engine: str) -> None:
    ik = ik_of("leap", engine)
    solved = solve_chunk(ik, np.zeros((0, 4, 3)))
    assert solved.position_rad.shape == (0, 16) and solved.residual_m.shape == (0, 4) and solved.status.shape == (0,)
    assert solve_chunk(ik, np.zeros((0, 1, 3)), ["index"]).residual_m.shape == (0, 1)
    target = tips(ik, ik.rest_rad[None])
    assert np.allclose(solve_chunk(ik, target).position_rad[0], ik.solve(target[0]).position_rad)


@pytest.mark.parametrize("engine", ENGINES)
def test_some_fingers_and_weights(engine: str) -> None:
    ik = ik_of("leap", engine)
    joints = wander(ik, 12, 2)
    targets = tips(ik, joints)[:, [2, 0]]
    solved = solve_chunk(ik, targets, ["middle", "thumb"], [1.0, 0.0], previous_rad=joints[0])
    moved = np.flatnonzero(np.abs(solved.position_rad - joints[0]).max(axis=0) > 0.0)
    assert set(moved) <= set(ik.groups[2].columns.tolist())
    assert solved.residual_m[:, 0].max() < 1e-4 and (solved.status == HandIkStatus.CONVERGED).all()


def test_the_same_twice() -> None:
    ik = ik_of("leap")
    targets = tips(ik, wander(ik, 64, 6)) + 0.004 * np.sin(np.arange(64))[:, None, None]
    first, second = (solve_chunk(ik, targets) for _ in range(2))
    assert first.position_rad.tobytes() == second.position_rad.tobytes()


def test_wrong_requests_are_named() -> None:
    ik = ik_of("inspire")
    targets = np.zeros((3, 5, 3))
    for bad in (np.nan, np.inf):
        targets[2, 3, 0] = bad
        with pytest.raises(NonFiniteError, match="'ring' at step 2"):
            solve_chunk(ik, targets)
    for shape in ((3, 4, 3), (5, 3), (3, 15)):
        with pytest.raises(ShapeError):
            solve_chunk(ik, np.zeros(shape))
    with pytest.raises(DexError, match="at most once"):
        solve_chunk(ik, np.zeros((0, 2, 3)), ["index", "index"])
    with pytest.raises(ShapeError, match="previous"):
        solve_chunk(ik, np.zeros((0, 5, 3)), previous_rad=np.zeros(3))
