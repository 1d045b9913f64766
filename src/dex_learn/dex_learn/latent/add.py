# SPDX-License-Identifier: Apache-2.0
"""One more model of hand into a space that exists: everything that was there stays as it is, to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dex_core.bundle.load import Bundle, load_bundle
from dex_core.bundle.probes import unpack_cases
from dex_core.config import load_robot
from dex_core.config.strict import to_plain
from dex_core.errors import DexError
from dex_learn.latent.bundle import Exported, described, manifest_of
from dex_learn.latent.frozen import nets_of
from dex_learn.latent.hand import LatentHand
from dex_learn.latent.net import LatentNets
from dex_learn.latent.recipe import Recipe, fit_left, load_hands, write_curves
from dex_learn.latent.scores import score
from dex_learn.latent.train import Trainer


def add_hand(name: str, space: Path, folder: Path, recipe: Recipe, notes: str, *, left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """Trains a model's right and left hand into the space of a bundle and writes a bundle with all of them.

    Args:
        name: model of hand, of ``config/hands``.
        space: bundle to add to. folder: bundle to write; may be the same.
        recipe: only training, device, work folder and code are used.
        left_out: models of the space that are not to be in the new one (to compare an added hand with a jointly trained one).

    Returns:
        Scores of the right hands and of the left hands, the new one among them.

    Raises:
        DexError: ``already_there``, ``foreign_space``.
    """
    bundle = load_bundle(space)
    model = load_robot(name).name
    kept = [e.robot for e in bundle.embodiments.values() if e.side == "right" and e.robot not in left_out]
    if model in kept:
        raise DexError(f"{space} has {model!r} already; it has {kept}", code="already_there")
    frozen_right = nets_of(bundle, load_hands(kept, "right")).to(recipe.device)
    new_right = LatentNets([LatentHand.load(model, "right")], frozen_right.widths, recipe.training.seed).to(recipe.device)
    trainer = Trainer(new_right, recipe.training, frozen=frozen_right, checkpoint=recipe.work / f"add_{model}_right.pt")
    new_right = trainer.run(f"right {model}")
    everyone = _joined(frozen_right, new_right).to(recipe.device)
    new_left, fitted = fit_left(new_right, recipe, f"add_{model}_left.pt", beside=everyone)
    write_curves(recipe.work, {f"right {model}": trainer.curves, f"left {model}": fitted.curves})
    frozen_left = nets_of(bundle, load_hands(kept, "left"))
    scores = {"right": score(everyone.to("cpu")), "left": score(_joined(frozen_left, new_left))}
    exported = copied(bundle, kept)
    exported.add(new_right)
    exported.add(new_left)
    residuals = [side["hands"][f"{name}_{model}"]["residual_q99"] for name, side in scores.items()]
    largest = max(bundle.manifest.spaces.latent.residual_q99, *residuals)  # type: ignore[union-attr]
    training = replace(recipe.training, steps=trainer.step + fitted.step)
    notes = f"{notes}; {model} added to {bundle.manifest.name} of {bundle.manifest.created}"
    manifest = manifest_of(exported, training, largest, notes, recipe.code)
    exported.write(folder, manifest, described({**scores, "onnx_parity": exported.parity, "added": model}))
    return scores


def copied(bundle: Bundle, models: list[str]) -> Exported:
    """Graphs, golden cases and embodiments of some models of a bundle, byte for byte."""
    out = Exported()
    for name, embodiment in bundle.embodiments.items():
        if embodiment.robot not in models:
            continue
        out.embodiments[name] = embodiment
        for part in ("encoder", "decoder"):
            key = f"{name}/{part}"
            graph = bundle.manifest.graphs[key]
            out.graphs[key] = bundle.contents[graph.file]
            out.golden[key] = list(unpack_cases(bundle.contents[graph.golden.file], graph.golden.file))
            out.specs[key] = {
                "inputs": to_plain(graph.inputs), "outputs": to_plain(graph.outputs), "dynamic": to_plain(graph.dynamic),
                "golden": {"atol": graph.golden.atol, "rtol": graph.golden.rtol},
            }
    return out


def _joined(frozen: LatentNets, new: LatentNets) -> LatentNets:
    return LatentNets.stack([nets.cut(row).to("cpu") for nets in (frozen, new) for row in range(len(nets.hands))])
