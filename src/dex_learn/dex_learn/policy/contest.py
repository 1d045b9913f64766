# SPDX-License-Identifier: Apache-2.0
"""Plays the comparison: the exported graph of each kind with each hand's decoders, in lockstep on unseen seeds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from dex_core.config import load_cell
from dex_core.errors import DexError
from dex_learn.policy.actors import BundlePolicy, GraphPolicy
from dex_learn.policy.codes import LatentCode, make_codes
from dex_learn.policy.compare import HANDS, SOURCE, Play
from dex_learn.policy.embodied import Embodied
from dex_learn.policy.layout import OF_TASK, SIDES
from dex_learn.policy.score import ScoreSettings, score_rest, score_task
from dex_learn.policy.workshop import Workshop
from dex_sim.lockstep import LockstepCell

TIME_LIMIT_S = {"push_cans": 20.0, "reorganize_lemons": 30.0}


def contest_player(shop: Workshop, settings: ScoreSettings) -> Play:
    """(kind, task, hand) -> scores, by the graphs in the workshop. Raises DexError when a graph is missing."""

    def play(kind: str, task: str, hand: str) -> dict[str, Any]:
        path = shop.folder / f"{kind}.onnx"
        if not path.exists():
            raise DexError(f"{path} does not exist; run  dex learn policy all --work {shop.folder}  first")
        body = Embodied(shop.cell(hand), shop.codes(kind, [hand], SOURCE))
        policy, lockstep = GraphPolicy(path.read_bytes(), body), LockstepCell(shop.cell(hand), render=True)
        own = dataclasses.replace(settings, time_limit_s=TIME_LIMIT_S[task])
        try:
            scores = score_task(policy, lockstep, task, own, f"{kind} {task} {hand}")
        finally:
            lockstep.close()
        return {**scores, **body_figures(body)}

    return play


def body_figures(body: Embodied) -> dict[str, Any]:
    """How often the decoders met something they could not do."""
    flagged = sum(code.flagged for code in body.codes.values() if isinstance(code, LatentCode))
    return {"poses_unreached": round(body.unreached[0] / max(1, body.unreached[1]), 4), "chunks_off_the_latent_space": flagged}


def score_bundle(folder: Path, settings: ScoreSettings, cell_name: str = "xarm_bimanual", rest_episodes: int = 5) -> dict[str, Any]:
    """Scores a written bundle over all tasks and hands, through the policy node's own code.

    Returns:
        task -> hand -> scores, ``rest`` -> hand -> scores, and the time inference took [ms].
    """
    out: dict[str, Any] = {task: {} for task in OF_TASK} | {"rest": {}}
    times: list[float] = []
    for hand in HANDS:
        cell = load_cell(cell_name, left_hand=hand, right_hand=hand)
        bodies: list[Embodied] = []

        def body_of(space: Any, cell: Any = cell, hand: str = hand, bodies: list[Embodied] = bodies) -> Embodied:
            bodies.append(Embodied(cell, make_codes("latents", [hand], SIDES, space)))
            return bodies[-1]

        policy, lockstep = BundlePolicy(folder, cell, body_of), LockstepCell(cell, render=True)
        try:
            for task in OF_TASK:
                own = dataclasses.replace(settings, time_limit_s=TIME_LIMIT_S[task])
                out[task][hand] = {**score_task(policy, lockstep, task, own, f"{task} {hand}"), **body_figures(bodies[0]), "flags": len(policy.flags)}
            short = dataclasses.replace(settings, seeds=settings.seeds[:rest_episodes])
            out["rest"][hand] = score_rest(policy, lockstep, "push_cans", bodies[0].tools, short)
        finally:
            lockstep.close()
        times += policy.inference_ms
    times.sort()
    out["inference_ms"] = {"median": times[len(times) // 2], "p99": times[int(0.99 * len(times))]} if times else {}
    return out
