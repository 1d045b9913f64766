# SPDX-License-Identifier: Apache-2.0
"""Golden cases of a Point-SAM's graphs: clouds in which no rounding decides who is whose neighbour, and what torch makes of them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dex_core.errors import DexError
from dex_learn.export import Arrays, Case, run_torch
from dex_learn.point_sam.graphs import DecoderGraph, EncoderGraph, MaskedDecoderGraph
from dex_learn.point_sam.net import PointSam
from dex_learn.point_sam.shape import PointSamShape
from dex_learn.points import farthest_points, gather, interpolation_weights, nearest

ENCODED = ("embeddings", "centers", "knn_index", "interp_index", "interp_weight")
DECODED = ("masks", "iou")
DECODER_TAKES = ("embeddings", "centers", "interp_index", "interp_weight")
MASKED_TAKES = ("coords", "embeddings", "centers", "knn_index", "interp_index", "interp_weight")
JITTER = 1e-6
"""Of coordinates in the unit sphere: more than two runtimes' distances differ by."""
TRIES = 400


def golden_cloud(shape: PointSamShape, count: int, seed: int) -> Arrays:
    """One cloud, mean 0 and largest norm 1, whose samples and neighbours stay the same when every point moves by 1e-6.

    Raises:
        DexError: ``no_golden_case``: none of 400 random clouds is like that.
    """
    rng = np.random.default_rng(seed)
    for _ in range(TRIES):
        coords = unit_sphere(rng.normal(size=(1, count, 3)))
        moved = coords + rng.uniform(-JITTER, JITTER, coords.shape)
        if all(torch.equal(a, b) for a, b in zip(_chosen(coords, shape), _chosen(moved, shape), strict=True)):
            return {"coords": coords.astype(np.float32), "colors": rng.uniform(0.0, 1.0, coords.shape).astype(np.float32)}
    raise DexError(f"{TRIES} random clouds of {count} points, and rounding decides about a neighbour in each", code="no_golden_case")


def unit_sphere(points: NDArray) -> NDArray:
    """(B, N, 3) points with mean 0 and largest norm 1, rounded to float32 and given as float64."""
    centred = points - points.mean(1, keepdims=True)
    return (centred / np.linalg.norm(centred, axis=2).max()).astype(np.float32).astype(np.float64)


def _chosen(coords: NDArray, shape: PointSamShape) -> tuple[Tensor, ...]:
    points = torch.from_numpy(coords)
    taken = farthest_points(points, shape.patches)
    centers = gather(points, taken)
    return taken, nearest(centers, points, shape.patch_size)[0].sort(-1).values, interpolation_weights(points, centers)[0]


def golden_cases(net: PointSam, colour_mean: float, colour_std: float, seed: int = 7) -> dict[str, list[Case]]:
    """Graph name -> cases: clouds of exactly as many points as patches and of a few more; one, three and two clicks, one and two at a time."""
    least = max(net.shape.patches, net.shape.patch_size)
    out: dict[str, list[Case]] = {"encoder": [], "decoder": [], "decoder_mask": []}
    for case, (count, batch, clicks) in enumerate(((least, 1, 1), (least + 37, 2, 3))):
        cloud = golden_cloud(net.shape, count, seed + case)
        encoded = run_torch(EncoderGraph(net, colour_mean, colour_std), cloud, ENCODED)
        out["encoder"].append((cloud, encoded))
        prompts, mask = _prompts(cloud["coords"], batch, clicks, seed + case)
        known = {name: np.repeat(value, batch, axis=0) for name, value in {**cloud, **encoded}.items()}
        given = {**prompts, **{name: known[name] for name in DECODER_TAKES}}
        out["decoder"].append((given, run_torch(DecoderGraph(net), given, DECODED)))
        given = {**prompts, **mask, **{name: known[name] for name in MASKED_TAKES}}
        out["decoder_mask"].append((given, run_torch(MaskedDecoderGraph(net), given, DECODED)))
    return out


def _prompts(coords: NDArray, batch: int, clicks: int, seed: int) -> tuple[Arrays, Arrays]:
    """Clicks on points of the cloud, the first positive; and the logits of a mask."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (batch, clicks))
    labels[:, 0] = 1
    points = coords[0, rng.integers(0, coords.shape[1], (batch, clicks))]
    mask = rng.normal(0.0, 4.0, (batch, coords.shape[1])).astype(np.float32)
    return {"prompt_coords": points, "prompt_labels": labels}, {"prompt_mask": mask}
