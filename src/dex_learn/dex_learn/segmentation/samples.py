# SPDX-License-Identifier: Apache-2.0
"""Training samples: a click on any visible pixel of a thing, and the points around its sight line."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dex_learn.segmentation.clouds import cloud_of, things_in
from dex_learn.segmentation.view import FINE_M, REACH_M
from dex_learn.tabletop.store import STEP_M, Scenes

POINTS = 5120
"""Of a sample at most."""
MARGIN = 1.25
GREY_SHARE, SWAP_SHARE = 0.05, 0.3


class Batch(NamedTuple):
    """B clicks: ``points_m`` (B, N, 3) from the lens, ``colors`` (B, N, 3), ``truth`` (B, N) 0 or 1, ``weight`` (B, N) how many points each
    stands for, 0 where there is none, ``clicks_m`` (B, 1, 3)."""

    points_m: Tensor
    colors: Tensor
    truth: Tensor
    weight: Tensor
    clicks_m: Tensor


class Sampler:
    """Endless batches from stored scenes."""

    def __init__(self, scenes: Scenes) -> None:
        self._scenes, self._rng = scenes, np.random.default_rng()
        self._things: dict[int, NDArray[np.int64]] = {}

    def draw(self, batch: int, seed: int) -> Batch:
        """A batch of clicks, each in a scene of its own; the same seed draws the same."""
        self._rng = np.random.default_rng(seed)
        rows = [self._one() for _ in range(batch)]
        return Batch(*(torch.from_numpy(np.stack(parts)) for parts in zip(*rows, strict=True)))

    def _one(self) -> tuple[NDArray[np.float32], ...]:
        while True:
            number = int(self._rng.integers(len(self._scenes)))
            if number not in self._things:
                self._things[number] = things_in(self._scenes, number)
            things = self._things[number]
            if len(things):
                return self._click(number, int(self._rng.choice(things)))

    def _click(self, number: int, label: int) -> tuple[NDArray[np.float32], ...]:
        rng, scenes = self._rng, self._scenes
        shown = np.flatnonzero((scenes.labels[number] == label) & (scenes.depth[number] > 0))
        pixel = int(rng.choice(shown))
        cloud = cloud_of(scenes, number, self._window(number, pixel))
        click = cloud.points_m[np.searchsorted(cloud.pixels, pixel)]
        keep, weight = self._thinned(cloud.points_m, click)
        points, colors = cloud.points_m[keep], self._coloured(cloud.colors[keep])
        truth = (cloud.labels[keep] == label).astype(np.float32)
        if rng.random() < 0.5:
            points, click = points * np.float32([-1, 1, 1]), click * np.float32([-1, 1, 1])
        return _padded(points), _padded(colors), _padded(truth), _padded(weight), click[None].astype(np.float32)

    def _window(self, number: int, pixel: int) -> tuple[slice, slice]:
        """Rows and columns that the view of a click may reach."""
        height, width = self._scenes.labels.shape[1:]
        row, column = divmod(pixel, width)
        away = float(self._scenes.depth[number].ravel()[pixel]) * STEP_M
        reach = int(np.ceil(MARGIN * REACH_M * self._scenes.focal_px[number] / away)) + 1
        return slice(max(row - reach, 0), row + reach + 1), slice(max(column - reach, 0), column + reach + 1)

    def _thinned(self, points_m: NDArray[np.float32], click_m: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Indices and weights: cells far from the click are wide and need only some of their points."""
        along = points_m @ (click_m / np.linalg.norm(click_m))
        aside = np.einsum("ij,ij->i", points_m, points_m) - along * along  # squared, from the sight line
        chance = self._rng.uniform(0.5, 1.2) / (1.0 + aside / FINE_M**2) ** 0.7
        chance = np.clip(chance * min(1.0, 0.9 * POINTS / max(chance.sum(), 1.0)), 0.0, 1.0)
        keep = np.flatnonzero(self._rng.random(len(chance)) < chance)
        if len(keep) > POINTS:
            keep = np.sort(self._rng.choice(keep, POINTS, replace=False))
        return keep, (1.0 / chance[keep]).astype(np.float32)

    def _coloured(self, colors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Other gains, sometimes other channels or none."""
        rng = self._rng
        if rng.random() < GREY_SHARE:
            colors = np.repeat(colors.mean(axis=1, keepdims=True), 3, axis=1)
        elif rng.random() < SWAP_SHARE:
            colors = colors[:, rng.permutation(3)]
        return np.clip(colors * rng.uniform(0.75, 1.25, 3) + rng.uniform(-0.05, 0.05), 0.0, 1.0).astype(np.float32)


def _padded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """To ``POINTS`` rows; the rows added lie in the lens, which no view shows."""
    short = POINTS - len(values)
    return np.concatenate([values, np.zeros((short, *values.shape[1:]), np.float32)]).astype(np.float32)
