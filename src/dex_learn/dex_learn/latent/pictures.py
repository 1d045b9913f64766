# SPDX-License-Identifier: Apache-2.0
"""Pictures of a latent space: one trajectory on every hand, the space seen flat, and how training went."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dex_core.bundle.load import Bundle
from dex_core.config import load_robot
from dex_core.decode.latent import LatentDecoder
from dex_core.retarget import TargetHand, closest_pinch
from dex_core.types import Array
from dex_learn.latent.net import PRIVATE_DIM, SHARED_DIM
from dex_learn.latent.studio import PAPER, Studio

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TILE_WH = (300, 310)
MARGIN_PX, HEAD_PX = 150, 46
COLOURS = ("#4269d0", "#e08214", "#3ca951", "#a463f2", "#c0392b")
GAP_M = 0.01
SAMPLES = 1500


def grasp_trajectory(source: str, side: str, frames: int) -> tuple[Array, tuple[str, ...]]:
    """(frames, n) joints of a hand [rad] that opens, pinches with index, middle and ring finger in turn, and closes; and a word for each frame."""
    hand = TargetHand.load(source, side)
    low, high = hand.kinematics.lower_rad, hand.kinematics.upper_rad
    keys, words = [hand.rest_rad], ["open"]
    for finger in ("index", "middle", "ring"):
        keys.append(closest_pinch(hand, [finger], [_towards(hand, finger)]).position_rad)
        words.append(f"thumb to {finger}")
    keys.append(np.clip(hand.rest_rad + 0.8 * (high - hand.rest_rad), low, high))
    words.append("closed")
    at = np.linspace(0.0, len(keys) - 1.0, frames)
    path = np.stack([np.interp(at, np.arange(len(keys)), column) for column in np.array(keys).T], axis=1)
    return path, tuple(words[round(x)] if abs(x - round(x)) < 1e-6 else "" for x in at)


def _towards(hand: TargetHand, finger: str) -> Array:
    """A gap of 10 mm along the line that joins the fingertips at rest, on the palm's axes [m]."""
    tips = hand.kinematics.fingertips(hand.rest_rad)
    line = hand.in_palm(tips[hand.fingers.index(finger)] - tips[hand.fingers.index("thumb")])
    return GAP_M * line / np.linalg.norm(line)


def draw_trajectory(bundle: Bundle, path: Path, *, source: str = "xhand1", side: str = "right", frames: int = 9) -> None:
    """A grid of pictures, hands by time: what ``source`` does, and what every hand of the bundle makes of its latents."""
    from PIL import Image, ImageDraw

    positions, words = grasp_trajectory(source, side, frames)
    latents = LatentDecoder(bundle, f"{side}_{source}").encode(positions)
    names = [e.robot for e in bundle.embodiments.values() if e.side == side]
    names.sort(key=lambda name: name != source)
    width, height = TILE_WH
    sheet = Image.new("RGB", (MARGIN_PX + frames * width, HEAD_PX + len(names) * height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, word in enumerate(words):
        pen.text((MARGIN_PX + column * width + width // 2, HEAD_PX // 2), word, fill=(60, 64, 70), font=_font(22), anchor="mm")
    for row, name in enumerate(names):
        decoder = LatentDecoder(bundle, f"{side}_{name}")
        studio = Studio(load_robot(name), side, TILE_WH)
        label = name + ("\nencoded" if name == source else "\ndecoded")
        pen.text((MARGIN_PX // 2, HEAD_PX + row * height + height // 2), label, fill=(60, 64, 70), font=_font(22), anchor="mm", align="center")
        shown = positions if name == source else decoder.decode(latents).position_rad
        studio.look_at(shown)
        for column, q in enumerate(shown):
            sheet.paste(studio.picture(q), (MARGIN_PX + column * width, HEAD_PX + row * height))
        studio.close()
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(128).save(path, optimize=True)


def _font(size: int) -> object:
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def flat(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, d) -> (N, 2) first two principal components, and the shares of the variance they hold."""
    centred = points - points.mean(axis=0)
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    return centred @ axes[:2].T, scale[:2] ** 2 / np.sum(scale**2)


def draw_space(bundle: Bundle, path: Path, *, side: str = "right", seed: int = 0) -> None:
    """Principal components of the latents of uniform postures, coloured by hand: all 32 numbers, and the learned ones."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rng, clouds = np.random.default_rng(seed), {}
    for name, e in bundle.embodiments.items():
        if e.side == side:
            decoder = LatentDecoder(bundle, name)
            clouds[e.robot] = decoder.encode(rng.uniform(decoder.lower_rad, decoder.upper_rad, (SAMPLES, len(decoder.joints))))
    figure, axes = plt.subplots(1, 2, figsize=(12.0, 5.6), layout="constrained")
    for axis, first, title in ((axes[0], 0, "whole latent"), (axes[1], SHARED_DIM, f"its {PRIVATE_DIM} learned numbers")):
        _scatter(axis, {k: z[:, first:] for k, z in clouds.items()}, title)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, markerscale=3.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def _scatter(axis: Axes, clouds: dict[str, NDArray[np.float64]], title: str) -> None:
    points, share = flat(np.concatenate(list(clouds.values())))
    owner = np.repeat(np.arange(len(clouds)), [len(z) for z in clouds.values()])
    order = np.random.default_rng(1).permutation(len(points))  # no hand lies over all others
    axis.scatter(*points[order].T, c=[COLOURS[i % len(COLOURS)] for i in owner[order]], s=3.0, alpha=0.5, linewidths=0.0)
    for colour, name in zip(COLOURS, clouds, strict=False):
        axis.scatter([], [], c=colour, s=12.0, label=name)
    axis.set(title=title, xlabel=f"first component ({share[0]:.0%} of the variance)", ylabel=f"second ({share[1]:.0%})")
    axis.set_aspect("equal", adjustable="datalim")
    axis.spines[["top", "right"]].set_visible(False)


def draw_curves(work: Path, names: Sequence[str] = ("joint", "tip", "distance", "direction", "place", "cycle")) -> None:
    """``curves.png`` beside ``curves.json``: the terms of the loss over the steps."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    curves = json.loads((work / "curves.json").read_text())
    figure, axes = plt.subplots(1, len(curves), figsize=(5.5 * len(curves), 4.2), layout="constrained", squeeze=False)
    for axis, (title, run) in zip(axes[0], curves.items(), strict=True):
        for colour, name in zip(COLOURS, (n for n in names if n in run), strict=False):
            axis.plot(run["step"], run[name], color=colour, label=name, linewidth=1.0)
        axis.set(title=title, xlabel="step", ylabel="weighted loss", yscale="log")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(work / "curves.png", dpi=130)
    plt.close(figure)
