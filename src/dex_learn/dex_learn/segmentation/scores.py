# SPDX-License-Identifier: Apache-2.0
"""How well masks fit after one, two and three clicks; for anything that takes a cloud and clicks, without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.errors import DexError
from dex_learn.segmentation.clouds import MIN_PIXELS, Cloud, cloud_of, things_in
from dex_learn.tabletop.store import Scenes

CLICKS = 3
DEFINITIONS = {
    "iou": "points in the mask and of the thing over points in either, among all pixels of the picture in which the noisy depth is known",
    "miou_1": f"mean over things of the iou after one click, on a random visible pixel of the thing; things with at least {MIN_PIXELS} such pixels",
    "miou_2, miou_3": "the same after a second and a third click, each in the middle of the largest wrong region, going on from the mask before",
    "median_1, above_75_1": "median of the same iou after one click, and share of things above 0.75",
    "believed_error_1": "mean of | what the model believes the iou of its mask to be - the iou |",
    "family_*, noise_*": "miou_1 of things of one family, and of scenes of one level of depth noise",
    "trained_families, other_families": "miou_1 of families trained on (here in measures not trained on) and of families never trained on",
}


class Answer(NamedTuple):
    """A mask over a cloud: ``logits`` (P,), and the overlap that the model believes in."""

    logits: NDArray[np.float32]
    believed: float


Ask = Callable[[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32] | None], Answer]
"""Clicks (Q, 3) from the lens [m], which are on the object (Q,), the logits before -> a mask over the opened cloud."""
Open = Callable[[Cloud, NDArray[np.float64]], Ask]
"""A cloud and the camera's pose (4, 4) in the world -> what answers clicks on it."""


class Score(NamedTuple):
    """One thing: ``iou`` after each click, what was believed after the first, its family, whether that was trained on, and the scene's noise."""

    iou: tuple[float, ...]
    believed: float
    family: str
    trained: bool
    noise: str


def score_scenes(open_cloud: Open, scenes: Scenes, clicks: int = CLICKS, seed: int = 0, say: Callable[[int], None] | None = None) -> list[Score]:
    """Every thing of every scene, clicked on once and then where the mask is wrong."""
    rng, scores = np.random.default_rng(seed), []
    for number in range(len(scenes)):
        scores += _score_scene(open_cloud, scenes, number, clicks, rng)
        if say is not None:
            say(number + 1)
    return scores


def _score_scene(open_cloud: Open, scenes: Scenes, number: int, clicks: int, rng: np.random.Generator) -> Iterator[Score]:
    cloud = cloud_of(scenes, number)
    ask = open_cloud(cloud, scenes.poses[number])
    for label in things_in(scenes, number):
        truth = cloud.labels == label
        first = int(rng.choice(np.flatnonzero(truth)))
        overlaps, believed = _click(ask, cloud, truth, first, clicks, scenes.labels.shape[1:])
        yield Score(overlaps, believed, scenes.names[number][label - 1], scenes.trained[number][label - 1], scenes.noise[number])


def _click(
    ask: Ask, cloud: Cloud, truth: NDArray[np.bool_], first: int, clicks: int, shape: tuple[int, ...],
) -> tuple[tuple[float, ...], float]:
    """Overlaps after 1, 2, ... clicks; a mask that is right all over is clicked on no more."""
    chosen, overlaps, logits, believed = [first], [], None, 0.0
    for number in range(clicks):
        answer = ask(cloud.points_m[chosen], truth[chosen], logits)
        logits, inside = answer.logits, answer.logits > 0.0
        believed = answer.believed if number == 0 else believed
        overlaps.append(float((inside & truth).sum() / max((inside | truth).sum(), 1)))
        wrong = inside != truth
        if not wrong.any():
            return (*overlaps, *[overlaps[-1]] * (clicks - len(overlaps))), believed
        chosen.append(worst_point(cloud, wrong, shape))
    return tuple(overlaps), believed


def worst_point(cloud: Cloud, wrong: NDArray[np.bool_], shape: tuple[int, ...]) -> int:
    """Index of the point deepest inside the wrong regions of the picture. Raises DexError where nothing is wrong."""
    if not wrong.any():
        raise DexError("no point is wrong", code="bad_argument")
    picture = np.zeros(shape[0] * shape[1], np.uint8)
    picture[cloud.pixels[wrong]] = 1
    depth = cv2.distanceTransform(np.pad(picture.reshape(shape), 1), cv2.DIST_L2, 3)[1:-1, 1:-1].ravel()
    candidates = np.flatnonzero(wrong)
    return int(candidates[np.argmax(depth[cloud.pixels[candidates]])])


def summary(scores: list[Score]) -> dict[str, Any]:
    """Figures of ``DEFINITIONS``. Raises DexError where nothing was scored."""
    if not scores:
        raise DexError("no thing was scored: nothing on these tables shows enough pixels", code="bad_argument")
    first = np.array([s.iou[0] for s in scores])
    out: dict[str, Any] = {"things": len(scores)}
    out |= {f"miou_{k + 1}": float(np.mean([s.iou[k] for s in scores])) for k in range(len(scores[0].iou))}
    out |= {"median_1": float(np.median(first)), "above_75_1": float((first > 0.75).mean())}
    out["believed_error_1"] = float(np.abs(first - [s.believed for s in scores]).mean())
    groups: dict[str, list[float]] = {}
    for s in scores:
        for key in ("trained_families" if s.trained else "other_families", f"family_{s.family}", f"noise_{s.noise}"):
            groups.setdefault(key, []).append(s.iou[0])
    return out | {key: float(np.mean(values)) for key, values in sorted(groups.items())}
