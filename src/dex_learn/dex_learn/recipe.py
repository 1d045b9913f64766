# SPDX-License-Identifier: Apache-2.0
"""The stages that make the push-cans policy, each restartable: demos, train, dagger, export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dex_learn.actors import NetActor
from dex_learn.collect import Disturbance
from dex_learn.demos import DAGGER_SEEDS, DEMO_SEEDS, RESERVED_FROM, SCORE_SEEDS, collect
from dex_learn.push_bundle import Training, write_policy
from dex_learn.score import ScoreSettings, score_bundle
from dex_learn.train_trunk import States, TrunkTraining, train_trunk
from dex_learn.train_vision import VisionTraining, train_vision
from dex_learn.workshop import Workshop

ON_POLICY = Disturbance(can_bias_m=0.0, can_noise_m=0.0, joint_noise_rad=0.015, start_noise_rad=0.06, stray=0.15, off_region_m=0.01, rest=0.35)
SEEDS_PER_ROUND = 1000


@dataclass(frozen=True)
class Recipe:
    """How much of everything; the defaults made ``models/push_cans``.

    Attributes:
        demos: episodes of the disturbed expert.
        pictures: drawn in all, and how many more after the rounds.
        vision_steps, vision_more: optimiser steps of the image encoder, first and after the rounds.
        trunk_steps, trunk_more: of the trunk, first and per round.
        copies: shifted, relabelled copies of every labelled state.
        rounds, episodes: DAgger rounds and episodes in each.
        seed: of everything drawn.
    """

    demos: int = 460
    pictures: int = 5000
    pictures_more: int = 2500
    vision_steps: int = 1500
    vision_more: int = 600
    trunk_steps: int = 2500
    trunk_more: int = 2500
    copies: int = 3
    rounds: int = 1
    episodes: int = 120
    seed: int = 1


def make_demos(shop: Workshop, episodes: int) -> None:
    """Disturbed expert episodes, seeds from 0."""
    if not 1 <= episodes <= DEMO_SEEDS[1]:
        raise ValueError(f"episodes is {episodes}; allowed 1 to {DEMO_SEEDS[1]}: later seeds are kept for scores")
    collect(shop.cell, shop.folder / "demos", range(DEMO_SEEDS[0], episodes), Disturbance(), title="demonstrations")


def train_eyes(shop: Workshop, steps: int, seed: int, *, go_on: bool) -> None:
    """Trains the image encoder on the pictures there are; ``go_on`` from the last one at a third of the rate."""
    start = shop.vision() if go_on else None
    training = VisionTraining(steps=steps, seed=seed)
    net, curve = train_vision(shop.pictures(), replace(training, learning_rate=1e-3) if start is not None else training, start)
    shop.save_net("vision", net, curve)


def train_hands(shop: Workshop, steps: int, copies: int, seed: int, *, go_on: bool) -> None:
    """Trains the trunk on all labelled states; ``go_on`` from the last one at half the rate."""
    learn, kept = shop.training_records(copies)
    encoder = shop.codec.encoder
    start = shop.trunk() if go_on else None
    training = TrunkTraining(steps=steps, seed=seed)
    trunk, curve = train_trunk(
        shop.cell, States.of(learn, encoder), shop.words, replace(training, learning_rate=1e-3) if start is not None else training, start,
        States.of(kept, encoder),
    )
    shop.save_net("trunk", trunk, curve)


def dagger_round(shop: Workshop, number: int, episodes: int, *, eyes: bool) -> None:
    """The policy acts, the expert labels what it visits. With ``eyes`` it sees pictures; else the truth with errors of their size."""
    first = DAGGER_SEEDS[0] + SEEDS_PER_ROUND * (number - 1)
    if not (1 <= episodes <= SEEDS_PER_ROUND and first + episodes <= DAGGER_SEEDS[1]):
        raise ValueError(f"round {number} of {episodes} episodes leaves the seeds {DAGGER_SEEDS} kept for this")
    policy = shop.policy()
    actor = NetActor(policy.trunk, shop.codec, shop.words, policy.vision if eyes else None, seed=number)
    collect(shop.cell, shop.folder / f"dagger_{number}", range(first, first + episodes), ON_POLICY, actor, image=eyes, title=f"dagger round {number}")


def export(shop: Workshop, out: Path, seed: int, notes: str, scores: dict[str, Any] | None = None) -> str:
    """Writes the bundle from the last checkpoints; returns its hash."""
    records, curves = shop.records(), shop.curves()
    steps = sum(_last_steps(curve) for curve in curves.values())
    per_source = ", ".join(f"{p.name} {len(list(p.glob('episodes_*.npz')))} files" for p in shop.sources())
    data = (
        f"{len(records)} states of lockstep episodes labelled by the scripted expert ({per_source}; 20 episodes a file), "
        f"{len(shop.pictures())} pictures; "
        f"seeds: demonstrations {DEMO_SEEDS[0]} to {DEMO_SEEDS[1] - 1}, rounds {DAGGER_SEEDS[0]} to {DAGGER_SEEDS[1] - 1}, "
        f"scores {SCORE_SEEDS[0]} to {SCORE_SEEDS[1] - 1}, closed-loop bench from {RESERVED_FROM} (never trained on)"
    )
    return write_policy(
        out, shop.policy(), cell=shop.cell, latent_bundle=shop.latent_bundle, codec=shop.codec, records=records, pictures=shop.pictures(),
        phrases=shop.phrases, training=Training(data, steps, seed, notes), scores={**(scores or {}), "curves": _thin(curves)},
    )


def score(shop: Workshop, bundle: Path, episodes: int, first_seed: int = SCORE_SEEDS[0], **settings: Any) -> dict[str, Any]:
    """Lockstep scores of a bundle on unseen seeds. Raises ValueError for seeds that were trained on."""
    seeds = range(first_seed, first_seed + episodes)
    for low, high in (DEMO_SEEDS, DAGGER_SEEDS):
        if seeds.start < high and low < seeds.stop:
            raise ValueError(f"seeds {seeds.start} to {seeds.stop - 1} overlap the training seeds {low} to {high - 1}")
    return score_bundle(bundle, shop.cell, ScoreSettings(seeds, **settings))


def push_cans(shop: Workshop, out: Path, recipe: Recipe, score_episodes: int = 100) -> dict[str, Any]:
    """The whole recipe; every stage that was finished before is skipped or goes on."""
    make_demos(shop, recipe.demos)
    shop.draw(recipe.pictures, recipe.seed)
    if shop.vision() is None:
        train_eyes(shop, recipe.vision_steps, recipe.seed, go_on=False)
    if shop.trunk() is None:
        train_hands(shop, recipe.trunk_steps, recipe.copies, recipe.seed, go_on=False)
    for number in range(1, recipe.rounds + 1):
        done = shop.folder / f"round_{number}.done"
        if not done.exists():
            dagger_round(shop, number, recipe.episodes, eyes=True)
            train_hands(shop, recipe.trunk_more, recipe.copies, recipe.seed + number, go_on=True)
            done.touch()
    if recipe.vision_more and not (shop.folder / "vision_more.done").exists():
        shop.draw(recipe.pictures + recipe.pictures_more, recipe.seed)
        train_eyes(shop, recipe.vision_more, recipe.seed + 1, go_on=True)
        (shop.folder / "vision_more.done").touch()
    notes = "python -m dex_learn.cli push-cans; " + ", ".join(f"{k} {v}" for k, v in recipe.__dict__.items())
    export(shop, out, recipe.seed, notes)
    scores = score(shop, out, score_episodes)
    export(shop, out, recipe.seed, notes, scores)
    return scores


def _last_steps(curve: Sequence[dict[str, float]]) -> int:
    """Optimiser steps of one curve, over all its restarts."""
    steps = [int(point["step"]) for point in curve]
    return sum(a for a, b in zip(steps, [*steps[1:], 0], strict=True) if b <= a)


def _thin(curves: dict[str, Any]) -> dict[str, Any]:
    return {name: [{k: round(float(v), 5) for k, v in p.items()} for p in curve] for name, curve in curves.items()}
