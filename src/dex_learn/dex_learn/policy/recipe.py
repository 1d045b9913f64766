# SPDX-License-Identifier: Apache-2.0
"""The stages that make the policy and its baselines, each restartable: stills and demonstrations, eyes, trunks, rounds, export."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dex_core.errors import DexError
from dex_learn.policy.actors import TrunkActor
from dex_learn.policy.bundle import Training, export_graph, golden_cases, write_policy
from dex_learn.policy.collect import Actor, Collector, Disturbance
from dex_learn.policy.compare import DEMONSTRATED, HANDS, SOURCE, demonstrated
from dex_learn.policy.layout import DAGGER_SEEDS, DEMO_SEEDS, RESERVED_FROM, SCORE_SEEDS
from dex_learn.policy.records import Records
from dex_learn.policy.teacher import Teacher
from dex_learn.policy.train import States, TrunkTraining, fit_basis, train_trunk
from dex_learn.policy.train_vision import VisionTraining, train_vision
from dex_learn.policy.trunk import TabletopPolicy, Trunk
from dex_learn.policy.workshop import Workshop
from dex_learn.progress import progress
from dex_sim.lockstep import LockstepCell

PER_FILE = 20
SEEDS_PER_ROUND = 1000
DISTURBED = {
    "push_cans": Disturbance(),
    "reorganize_lemons": Disturbance(
        object_bias_m=0.004, object_noise_m=0.003, tool_noise_m=0.005, turn_noise_rad=0.04, stray=0.3, rest=0.35, length_s=(9.0, 15.0)
    ),
}
ON_POLICY = {
    task: dataclasses.replace(d, object_bias_m=0.0, object_noise_m=0.0, start_noise_rad=0.06, stray=0.1, off_region_m=0.01, rest=0.25)
    for task, d in DISTURBED.items()
}


@dataclass(frozen=True)
class Recipe:
    """How much of everything; the defaults made ``models/xl_vla_tabletop``.

    Attributes:
        episodes: of the disturbed expert, per task and hand.
        stills: made-up pictures per hand. pictures: drawn per file of 20 episodes.
        vision_steps: optimiser steps of the eyes.
        copies: shifted, relabelled copies of every labelled state.
        trunk_steps, more_steps: of each trunk, first and after each round.
        rounds, round_episodes: in which the policy acts and the expert labels, and episodes per task and hand in each.
        seed: of everything drawn.
    """

    episodes: int = 160
    stills: int = 1500
    pictures: int = 60
    vision_steps: int = 2400
    copies: int = 2
    trunk_steps: int = 4000
    more_steps: int = 2500
    rounds: int = 1
    round_episodes: int = 40
    seed: int = 1


def collect(
    shop: Workshop, source: str, task: str, hand: str, seeds: range, disturbance: Disturbance, actor: Actor | None = None, *, image: bool = False
) -> int:
    """Runs the episodes whose file is not there yet; stop and start as you like. Returns how many labelled states were added."""
    folder = shop.episodes(source, task, hand)
    starts = [s for s in range(seeds.start, seeds.stop, PER_FILE) if not (folder / f"episodes_{s:06d}.npz").exists()]
    if not starts:
        return 0
    lockstep = LockstepCell(shop.cell(hand), render=image)
    collector = Collector(lockstep, Teacher(lockstep.cell), disturbance)
    added, done, ran = 0, 0, 0
    try:
        with progress(f"{source} {task} {hand}", len(starts) * PER_FILE) as show:
            for start in starts:
                parts = []
                for seed in range(start, min(start + PER_FILE, seeds.stop)):
                    records, success = collector.episode(seed, task, actor, image=image)
                    parts.append(records)
                    done, ran, added = done + success, ran + 1, added + len(records)
                    show(ran, f"{added} states, done in {done} of {ran}")
                Records.join(parts).save(folder / f"episodes_{start:06d}.npz")
    finally:
        lockstep.close()
    return added


def make_demos(shop: Workshop, episodes: int, combinations: Sequence[tuple[str, str]] = DEMONSTRATED) -> None:
    """Disturbed expert episodes; the hands of a task get seeds of their own. Raises DexError when the demonstrations' seeds do not suffice."""
    for task, hand in combinations:
        hands = [h for t, h in DEMONSTRATED if t == task]
        first = DEMO_SEEDS[0] + hands.index(hand) * (DEMO_SEEDS[1] // len(hands) // PER_FILE * PER_FILE)
        room = DEMO_SEEDS[1] // len(hands) // PER_FILE * PER_FILE
        if not 1 <= episodes <= room:
            raise DexError(f"episodes is {episodes}; allowed 1 to {room} per task and hand: later seeds are kept for scores")
        collect(shop, "demos", task, hand, range(first, first + episodes), DISTURBED[task])


def train_eyes(shop: Workshop, steps: int, seed: int, *, go_on: bool = False) -> None:
    """Trains the eyes on the pictures there are; ``go_on`` from the last ones at a third of the rate."""
    start = shop.vision() if go_on else None
    training = VisionTraining(steps=steps, seed=seed)
    net, curve = train_vision(shop.pictures(), training if start is None else dataclasses.replace(training, learning_rate=1e-3), start)
    shop.save_net("vision", net, curve)


def train_hands(shop: Workshop, kind: str, steps: int, copies: int, seed: int, *, go_on: bool = False) -> None:
    """Trains the trunk of one kind of hand codes on its labelled states; ``go_on`` from the last one at half the rate."""
    combinations = demonstrated(kind)
    hands = sorted({hand for _, hand in combinations})
    own = shop.codes(kind, hands)
    codes = shop.codes("common", hands, SOURCE) if kind == "latents" else own
    learn, kept = shop.records(combinations, copies)
    states = States.of(learn, codes, own)
    start = shop.trunk(kind) if go_on else None
    camera = next(iter(shop.cell(hands[0]).cameras.values()))
    training = TrunkTraining(steps=steps, seed=seed, camera_m=tuple(camera.position_m))
    if start is None:
        torch.manual_seed(seed)
        start = Trunk(fit_basis(learn, states))
    else:
        training = dataclasses.replace(training, learning_rate=1e-3)
    trunk, curve = train_trunk(states, shop.words, training, start, States.of(kept, codes, own))
    shop.save_net(f"trunk_{kind}", trunk, curve)


def play_round(shop: Workshop, kind: str, number: int, episodes: int, *, eyes: bool) -> None:
    """One kind's policy acts with the hands it was trained with, the expert labels what it visits."""
    trunk, vision = shop.trunk(kind), shop.vision() if eyes else None
    if trunk is None or (eyes and vision is None):
        raise DexError(f"{shop.folder} holds no trained {kind} policy; run  dex learn policy train  first")
    first = DAGGER_SEEDS[0] + SEEDS_PER_ROUND * (number - 1)
    for index, (task, hand) in enumerate(demonstrated(kind)):
        begin = first + index * (SEEDS_PER_ROUND // len(DEMONSTRATED) // PER_FILE * PER_FILE)
        codes = {name.split("_")[0]: code for name, code in shop.codes(kind, [hand]).items()}
        actor = TrunkActor(trunk, codes, shop.words, vision, seed=begin)
        collect(shop, f"round_{number}", task, hand, range(begin, begin + episodes), ON_POLICY[task], actor, image=eyes)


def policy_of(shop: Workshop, kind: str) -> TabletopPolicy:
    """The whole trained net. Raises DexError when a part is missing."""
    vision, trunk = shop.vision(), shop.trunk(kind)
    if vision is None or trunk is None:
        raise DexError(f"{shop.folder} holds no trained {kind} policy; run  dex learn policy train --kind {kind}  first")
    return TabletopPolicy(vision, trunk).eval()


def export_kind(shop: Workshop, kind: str) -> Path:
    """Writes the graph of one kind of policy beside its checkpoints, for the comparison; returns its file."""
    combinations = demonstrated(kind)
    parts = [Records.load(file) for file in shop.files(combinations)[:1]]
    states = States.of(parts, shop.codes(kind, [parts[0].hand]))
    policy = policy_of(shop, kind)
    graph, _ = export_graph(policy, golden_cases(policy, shop.pictures(), states, shop.phrases))
    path = shop.folder / f"{kind}.onnx"
    path.write_bytes(graph)
    return path


def export(shop: Workshop, out: Path, seed: int, code: str, notes: str, scores: dict[str, Any] | None = None) -> str:
    """Writes the bundle of the latent policy from the last checkpoints; returns its hash. ``code``: revision of the code that trained it."""
    combinations, policy = demonstrated("latents"), policy_of(shop, "latents")
    hands = list(dict.fromkeys(hand for _, hand in combinations))
    codes = shop.codes("latents", hands)
    parts = [Records.load(file) for file in shop.files(combinations)]
    states, pictures, curves = States.of(parts, codes), shop.pictures(), shop.curves()
    curves = {name: curve for name, curve in curves.items() if name in ("vision", "trunk_latents")}
    data = (
        f"{len(states)} states of lockstep episodes labelled by the scripted expert ("
        + ", ".join(f"{task} with {hand}" for task, hand in combinations)
        + f"), {len(pictures)} pictures; seeds: demonstrations {DEMO_SEEDS[0]} to {DEMO_SEEDS[1] - 1}, rounds {DAGGER_SEEDS[0]} to "
        f"{DAGGER_SEEDS[1] - 1}, scores {SCORE_SEEDS[0]} to {SCORE_SEEDS[1] - 1}, live runs from {RESERVED_FROM} (never trained on)"
    )
    return write_policy(
        out, policy, cell=shop.cell(hands[0]), space_folder=shop.space_folder, hands=hands, codes=codes, parts=parts,
        states=states, pictures=pictures, phrases=shop.phrases, training=Training(data, sum(map(_steps, curves.values())), seed, code, notes),
        scores={**(scores or {}), "curves": {name: _thin(curve) for name, curve in curves.items()}},
    )


def once(shop: Workshop, name: str, do: Callable[[], None]) -> None:
    """Does a stage unless it was finished before."""
    mark = shop.folder / f"{name}.done"
    if not mark.exists():
        do()
        mark.touch()


def learn(shop: Workshop, kinds: Sequence[str], recipe: Recipe) -> None:
    """Everything up to the exported graphs; every stage that was finished before is skipped. Rounds are played by the first of ``kinds``."""
    make_demos(shop, recipe.episodes)
    shop.draw_stills(HANDS, recipe.stills, recipe.seed)
    shop.draw(recipe.pictures, recipe.seed)
    once(shop, "vision", lambda: train_eyes(shop, recipe.vision_steps, recipe.seed))
    for kind in kinds:
        once(shop, f"trunk_{kind}", lambda kind=kind: train_hands(shop, kind, recipe.trunk_steps, recipe.copies, recipe.seed))
    for number in range(1, recipe.rounds + 1):
        once(shop, f"round_{number}", lambda n=number: play_round(shop, kinds[0], n, recipe.round_episodes, eyes=True))
        for kind in kinds:
            seed = recipe.seed + number
            once(shop, f"trunk_{kind}_{number}", lambda k=kind, s=seed: train_hands(shop, k, recipe.more_steps, recipe.copies, s, go_on=True))
    for kind in kinds:
        export_kind(shop, kind)


def _steps(curve: Sequence[dict[str, float]]) -> int:
    """Optimiser steps of one curve, over all its restarts."""
    steps = [int(point["step"]) for point in curve]
    return sum(a for a, b in zip(steps, [*steps[1:], 0], strict=True) if b <= a)


def _thin(curve: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: round(float(v), 5) for k, v in point.items()} for point in curve]
