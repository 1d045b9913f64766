# SPDX-License-Identifier: Apache-2.0
"""Scenes on disk: pictures, depth and labels in files of 50, made once and gone on with where they stopped."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dex_core.devices.camera import Intrinsics
from dex_core.errors import DexError
from dex_learn.progress import progress
from dex_learn.tabletop.objects import SPLITS
from dex_learn.tabletop.scene import RenderedScene, render

SHARD = 50
STEP_M = 0.00025
"""Depth is stored in steps of a quarter of a millimetre, 0 where the camera sees nothing."""


@dataclass(frozen=True)
class Scenes:
    """Stored scenes.

    Attributes:
        rgb: (S, H, W, 3) uint8. depth: (S, H, W) uint16 in ``STEP_M``. labels: (S, H, W) uint8, 0 what is no thing.
        focal_px: (S,). poses: (S, 4, 4) of the optical frames in the world.
        names, trained: per scene the family of each thing, and whether it is one that is trained on.
        noise: level of each scene.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.uint16]
    labels: NDArray[np.uint8]
    focal_px: NDArray[np.float64]
    poses: NDArray[np.float64]
    names: tuple[tuple[str, ...], ...]
    trained: tuple[tuple[bool, ...], ...]
    noise: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rgb)

    def depth_m(self, number: int) -> NDArray[np.float32]:
        """(H, W) of one scene, NaN where unknown."""
        metres = self.depth[number].astype(np.float32) * np.float32(STEP_M)
        metres[self.depth[number] == 0] = np.nan
        return metres

    def intrinsics(self, number: int) -> Intrinsics:
        """The lens of one scene."""
        height, width = self.labels.shape[1:]
        focal = float(self.focal_px[number])
        return Intrinsics(width, height, focal, focal, 0.5 * (width - 1), 0.5 * (height - 1))


def stored_scenes(folder: Path, split: str, count: int, seed: int = 0) -> Scenes:
    """The first scenes of a split from a folder; what is not there yet is rendered and written, with a progress bar.

    Args:
        folder: of the files; one folder may hold both splits and any seeds.
        split: one of ``SPLITS``.
        count: how many, rounded up to whole files of 50.
        seed: of the scenes.

    Raises:
        DexError: ``bad_argument``; ``bad_file``, naming a file that cannot be read.
    """
    if count < 1 or split not in SPLITS:
        raise DexError(f"{count} scenes of split {split!r}; at least 1 of {list(SPLITS)}", code="bad_argument")
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{split}_{seed}_{k:04d}.npz" for k in range(-(-count // SHARD))]
    missing = [k for k, file in enumerate(files) if not file.is_file()]
    if missing:
        with progress(f"renders {split} scenes", SHARD * len(missing)) as show:
            for done, k in enumerate(missing):
                _write(files[k], [render(np.random.default_rng([seed, SPLITS.index(split), SHARD * k + i]), split) for i in range(SHARD)])
                show(SHARD * (done + 1), files[k].name)
    return _join([_read(file) for file in files])


def pack(scenes: list[RenderedScene]) -> dict[str, NDArray]:
    """Arrays of one file."""
    depth = np.stack([np.nan_to_num(s.depth_m, nan=0.0) for s in scenes])
    return {
        "rgb": np.stack([s.rgb for s in scenes]), "depth": np.clip(np.rint(depth / STEP_M), 0, 65535).astype(np.uint16),
        "labels": np.stack([s.labels for s in scenes]).astype(np.uint8), "focal_px": np.array([s.intrinsics.fx for s in scenes]),
        "poses": np.stack([s.pose_camera_in_world for s in scenes]), "names": np.array([",".join(s.names) for s in scenes]),
        "trained": np.array([",".join("01"[t] for t in s.trained) for s in scenes]), "noise": np.array([s.noise for s in scenes]),
    }


def _write(file: Path, scenes: list[RenderedScene]) -> None:
    fresh = file.with_suffix(".new")
    with fresh.open("wb") as out:
        np.savez(out, **pack(scenes))
    fresh.replace(file)


def _read(file: Path) -> dict[str, NDArray]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DexError(f"{file}: {error}; remove it, and it is rendered again", code="bad_file") from error


def _join(parts: list[dict[str, NDArray]]) -> Scenes:
    whole = {name: np.concatenate([part.pop(name) for part in parts]) for name in tuple(parts[0])}
    names = tuple(tuple(text.split(",")) for text in whole["names"])
    trained = tuple(tuple(mark == "1" for mark in text.split(",")) for text in whole["trained"])
    return Scenes(whole["rgb"], whole["depth"], whole["labels"], whole["focal_px"], whole["poses"], names, trained, tuple(map(str, whole["noise"])))
