# SPDX-License-Identifier: Apache-2.0
"""Rendered scenes reduced to what a picker learns from: the candidates' features, and the truth about each thing. Cached on disk, scene by scene."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import DexError
from dex_learn.tabletop.objects import PALETTE
from dex_learn.tabletop.scene import RenderedScene, render
from dex_perception.segment.candidates import FEATURES, VERSION, Things, things_in
from dex_perception.segment.codes import PictureError
from dex_perception.segment.view import Picture, View, Workspace, see

WORKSPACE = Workspace((-0.25, -0.8, -0.05), (0.9, 0.8, 0.6))
LEAST_PIXELS = 40
"""A thing that shows less is not spoken of."""
PURE, COVERED = 0.7, 0.35
"""A candidate is a thing when so much of it is that thing, and so much of what shows of the thing is in it."""
BACKGROUND, MIXED = -1, -2
SHARD = 100
COLOURS = tuple(PALETTE)
GREYS = ("white", "grey", "black")


@dataclass(frozen=True)
class Table:
    """One scene.

    Attributes:
        features: (T, FEATURES) of the candidates.
        thing_of: (T,) row of the lists below that a candidate is, ``BACKGROUND`` or ``MIXED``.
        names, colours: family and colour word of every thing that shows; an empty word: its colour is not what it was painted with.
        places: (K, 3) visible middle of each thing, world frame [m].
        heights, volumes: (K,) highest point above the table [m], volume of its box [m^3].
        trained: (K,) whether the family is one that is trained on.
    """

    features: NDArray[np.float32]
    thing_of: NDArray[np.int64]
    names: tuple[str, ...]
    colours: tuple[str, ...]
    places: NDArray[np.float64]
    heights: NDArray[np.float64]
    volumes: NDArray[np.float64]
    trained: NDArray[np.bool_]


def table_of(scene: RenderedScene) -> Table | None:
    """What there is to learn from a scene; None when nothing shows."""
    try:
        view = see(Picture(scene.rgb, scene.depth_m, scene.intrinsics, 0, "camera"), scene.pose_camera_in_world, WORKSPACE)
    except PictureError:
        return None
    truth = scene.labels.reshape(-1)[view.cloud.pixels]
    shown = [k for k in range(1, len(scene.names) + 1) if (truth == k).sum() >= LEAST_PIXELS]
    things = things_in(view)
    if not shown or not len(things):
        return None
    parts = [np.flatnonzero(truth == k) for k in shown]
    points = [view.cloud.points_m[part].astype(np.float64) for part in parts]
    return Table(
        things.features, _owners(things, truth, shown), tuple(scene.names[k - 1] for k in shown),
        tuple(_true_colour(view, part, scene.colours[k - 1]) for k, part in zip(shown, parts, strict=True)),
        np.array([np.median(p, axis=0) for p in points]), np.array([np.quantile(view.standing.height_m[part], 0.99) for part in parts]),
        np.array([np.prod(np.maximum(np.ptp(p, axis=0), 1e-3)) for p in points]), np.array([scene.trained[k - 1] for k in shown]),
    )


def _owners(things: Things, truth: NDArray[np.int32], shown: list[int]) -> NDArray[np.int64]:
    owners = np.full(len(things), MIXED, dtype=np.int64)
    for row, part in enumerate(things.members):
        counts = np.bincount(truth[part])
        most = int(counts.argmax())
        if counts[most] < PURE * len(part):
            continue
        if most == 0:
            owners[row] = BACKGROUND
        elif most in shown and counts[most] >= COVERED * (truth == most).sum():
            owners[row] = shown.index(most)
    return owners


def _true_colour(view: View, part: NDArray[np.intp], word: str) -> str:
    """The word, if the thing looks like it in the picture: patterns and light change much."""
    seen = np.median(view.cloud.rgb[part], axis=0) / 255.0
    best, least = "", np.inf
    for name, rgb in PALETTE.items():
        painted = np.array(rgb)
        light = 1.0 if name in GREYS else 0.5 + 0.5 * seen.mean() / max(painted.mean(), 0.05)  # shade changes no hue, but makes grey of white
        away = float(np.abs(painted * light - seen).sum())
        best, least = (name, away) if away < least else (best, least)
    return word if best == word else ""


def read_tables(folder: Path, split: str, count: int, seed: int, told: Callable[[float, str], None] = lambda _done, _note: None) -> list[Table]:
    """The first ``count`` tables of a split, rendered where the folder does not hold them yet.

    Args:
        folder: of the cache; a stop loses at most one shard.
        split: train or unseen. seed: the scene with number i is drawn with (seed, i).
        told: hears of the progress.

    Raises:
        DexError: ``cache_invalid``, a file of the cache cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables: list[Table] = []
    for first in range(0, count, SHARD):
        file = folder / f"{VERSION}_{split}_{seed}_{first}.npz"
        if not file.is_file():
            scenes = (render(np.random.default_rng((seed, number)), split) for number in range(first, first + SHARD))
            _write(file, [table for scene in scenes if (table := table_of(scene)) is not None])
        tables += _read(file)
        told(min(first + SHARD, count), f"{len(tables)} tables")
    return tables


def _write(file: Path, tables: list[Table]) -> None:
    arrays: dict[str, NDArray] = {"count": np.array(len(tables))}
    for k, table in enumerate(tables):
        for name, value in table.__dict__.items():
            arrays[f"{k}/{name}"] = np.asarray(value)
    half = file.with_suffix(".half.npz")
    np.savez_compressed(half, **arrays)
    half.replace(file)


def _read(file: Path) -> list[Table]:
    try:
        with np.load(file, allow_pickle=False) as data:
            loaded = {name: data[name] for name in data.files}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DexError(f"{file}: {error}; remove it and it is made again", code="cache_invalid") from error
    return [_table(loaded, k) for k in range(int(loaded["count"]))]


def _table(loaded: dict[str, NDArray], k: int) -> Table:
    fields = {name: loaded[f"{k}/{name}"] for name in Table.__dataclass_fields__}
    fields["names"], fields["colours"] = (tuple(str(v) for v in fields[name]) for name in ("names", "colours"))
    if fields["features"].shape[1] != FEATURES:
        raise DexError(f"tables have {fields['features'].shape[1]} features, this version makes {FEATURES}", code="cache_invalid")
    return Table(**fields)
