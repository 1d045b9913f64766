# SPDX-License-Identifier: Apache-2.0
"""Pairs of what a camera sees of a thing and the whole thing, from rendered tables; kept in files, made once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dex_core.bundle.completion import CompletionSpec
from dex_core.clouds import farthest_points, from_depth, remove_outliers
from dex_learn.completion.outside import outside
from dex_learn.progress import progress
from dex_learn.tabletop import RenderedScene, render
from dex_perception.complete.frame import frame_of

SPEC = CompletionSpec(frame="tabletop", unit_m=0.1, points=2048, normals="normals")
SEEN, WHOLE = 512, 2048
FEWEST_SEEN = 60
"""Pixels of a thing below which there is no telling what it is; at 320 x 240, 4 cm at 1 m are 130."""
SCENES_PER_FILE = 20
SEEDS = {"train": 0, "unseen": 10**7, "varied": 2 * 10**7}


@dataclass(frozen=True)
class Pairs:
    """``n`` things, in the frame of ``dex_perception.complete.frame`` (units of 0.1 m).

    Attributes:
        seen: (n, SEEN, 3) seen points in the order of farthest-point sampling, repeated where there are fewer.
        whole, normals: (n, WHOLE, 3) samples of the outer surface and their outward normals.
        names: (n,) families. trained: (n,) whether the family is trained on.
    """

    seen: NDArray[np.float32]
    whole: NDArray[np.float32]
    normals: NDArray[np.float32]
    names: NDArray[np.str_]
    trained: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.seen)


def pairs_of(scene: RenderedScene, rng: np.random.Generator) -> Iterator[tuple[NDArray, NDArray, NDArray, str, bool]]:
    """(seen, whole, normals, name, trained) of every thing that shows at least ``FEWEST_SEEN`` pixels with depth."""
    pose = scene.pose_camera_in_world
    cloud = from_depth(scene.depth_m, scene.intrinsics).transformed(pose)
    labels = scene.labels.reshape(-1)[cloud.pixels]
    for number in range(1, len(scene.surfaces) + 1):
        if np.count_nonzero(labels == number) < FEWEST_SEEN:
            continue
        seen = remove_outliers(cloud.select(labels == number)).points_m
        frame = frame_of(SPEC, seen, pose[:3, 3], 0.0)
        whole, normals = whole_of(scene, number - 1, rng)
        turned = (normals @ frame.turn.T).astype(np.float32)
        yield sample(frame.enter(seen)), frame.enter(whole), turned, scene.names[number - 1], scene.trained[number - 1]


def whole_of(scene: RenderedScene, index: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(WHOLE, 3) samples of the outer surface of one thing and their normals, in the world [m]."""
    surface, normals = scene.surfaces[index]
    keep = np.flatnonzero(outside(surface, normals))
    keep = rng.choice(keep, WHOLE, replace=len(keep) < WHOLE)
    pose = scene.poses_in_world[index]
    return (surface[keep] @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32), (normals[keep] @ pose[:3, :3].T).astype(np.float32)


def sample(points: NDArray[np.float32], count: int = SEEN) -> NDArray[np.float32]:
    """``count`` points far from each other, the first one first; all of them, repeated, where there are fewer."""
    if len(points) < count:
        points = points[np.arange(count) % len(points)]
    return points[farthest_points(points, count)]


def make(folder: Path, split: str, scenes: int) -> list[Path]:
    """Renders scenes into files of ``SCENES_PER_FILE``; those that are there stay. Returns all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{split}_{number:04d}.npz" for number in range(-(-scenes // SCENES_PER_FILE))]
    with progress(f"tables ({split})", float(len(files))) as show:
        for number, file in enumerate(files):
            if not file.exists():
                _make_file(file, split, number)
            show(number + 1.0, file.name)
    return files


def _make_file(file: Path, split: str, number: int) -> None:
    found = []
    for scene in range(SCENES_PER_FILE):
        rng = np.random.default_rng(SEEDS[split] + number * SCENES_PER_FILE + scene)
        found += list(pairs_of(render(rng, split), rng))
    fresh = file.with_suffix(".new.npz")
    columns = list(zip(*found, strict=True))
    np.savez(
        fresh, seen=np.array(columns[0], np.float16), whole=np.array(columns[1], np.float16), normals=np.array(columns[2], np.float16),
        names=np.array(columns[3]), trained=np.array(columns[4]),
    )
    fresh.replace(file)


def load(files: list[Path]) -> Pairs:
    """All pairs of some files."""
    parts = [np.load(file) for file in files]
    joined = {key: np.concatenate([part[key] for part in parts]) for key in ("seen", "whole", "normals", "names", "trained")}
    return Pairs(*(joined[key].astype(np.float32) for key in ("seen", "whole", "normals")), joined["names"], joined["trained"])
