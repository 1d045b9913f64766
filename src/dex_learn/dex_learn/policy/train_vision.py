# SPDX-License-Identifier: Apache-2.0
"""Trains the eyes: heat maps of known points, the objects' positions, and which objects are there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dex_learn.policy.draw import Pictures
from dex_learn.policy.layout import OBJECTS
from dex_learn.policy.vision import GRID, TAUGHT, VisionNet
from dex_learn.progress import progress


@dataclass(frozen=True)
class VisionTraining:
    """How the eyes are trained.

    Attributes:
        steps, batch: optimiser steps and pictures per step.
        learning_rate: of AdamW, rises for 5 % of the steps, then falls along a cosine.
        seed: of weights and order.
    """

    steps: int = 2000
    batch: int = 32
    learning_rate: float = 3e-3
    seed: int = 1


def train_vision(pictures: Pictures, training: VisionTraining, start: VisionNet | None = None) -> tuple[VisionNet, list[dict[str, float]]]:
    """Trains from scratch or goes on from ``start``; a twentieth of the pictures, at least 64 if there are, is kept for the curve.

    Returns:
        The net in eval mode, and every 100 steps the loss and the errors on kept pictures.
    """
    torch.manual_seed(training.seed)
    rng = np.random.default_rng(training.seed)
    net = (start or VisionNet()).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), lr=training.learning_rate, weight_decay=1e-4)
    warm = 0.05 if start is None else 0.15
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, training.learning_rate, total_steps=training.steps + 1, pct_start=warm, cycle_momentum=False
    )
    held, pool = _split(len(pictures))
    curve: list[dict[str, float]] = []
    with progress("eyes", training.steps) as show:
        for step in range(training.steps):
            rows = pool[rng.integers(len(pool), size=training.batch)]
            loss = _step(net, pictures, rows, optimiser, rng, coarse=step < 0.8 * training.steps)
            schedule.step()
            if (step + 1) % 100 == 0 or step + 1 == training.steps:
                curve.append({"step": step + 1, "loss": loss, **seen_errors(net, pictures, held)})
                show(step + 1, f"loss {loss:.3f}, {curve[-1]['median_mm']:.1f} mm, 95 % {curve[-1]['q95_mm']:.1f} mm")
    return net.eval(), curve


def seen_errors(net: VisionNet, pictures: Pictures, rows: np.ndarray) -> dict[str, float]:
    """Distance between true and seen place of the objects that are there [mm], per object and over all, and the share of wrong presences."""
    was_training = net.training
    net.eval()
    places, there = [], []
    with torch.no_grad():
        for part in np.array_split(rows, max(1, len(rows) // 32)):
            seen = net(torch.from_numpy(pictures.image[part]), tools_tensor(pictures.tools[part]))
            places.append(seen[0].numpy())
            there.append(seen[1].numpy() > 0.5)
    net.train(was_training)
    error = 1e3 * np.linalg.norm(np.concatenate(places) - pictures.objects[rows], axis=2)
    truth = pictures.there[rows].astype(bool)
    out = {f"{name}_mm": float(np.median(error[truth[:, k], k])) for k, name in enumerate(OBJECTS) if truth[:, k].any()}
    shown = error[truth] if truth.any() else np.zeros(1)
    return {
        "median_mm": float(np.median(shown)), "q95_mm": float(np.quantile(shown, 0.95)), "worst_mm": float(shown.max()),
        "presence_wrong": float(np.mean(np.concatenate(there) != truth)), **out,
    }


def _step(net: VisionNet, pictures: Pictures, rows: np.ndarray, optimiser: torch.optim.Optimizer, rng: np.random.Generator, *, coarse: bool) -> float:
    """One step; ``coarse``: convolutions in bfloat16, a third faster."""
    image = torch.from_numpy(_tinted(pictures.image[rows], rng))
    points, visible = torch.from_numpy(pictures.points[rows]), torch.from_numpy(pictures.visible[rows])
    objects, there = torch.from_numpy(pictures.objects[rows]), torch.from_numpy(pictures.there[rows])
    tools = tools_tensor(pictures.tools[rows])
    net.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=coarse):
        logits = net.heat_maps(image)
    logits = logits.float()
    found = net.keypoints(logits)
    loss = point_loss(logits, found[0], points, visible) + object_loss(*net.objects(*found, tools), objects, there)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 2.0)
    optimiser.step()
    return float(loss.detach())


def refit_heads(net: VisionNet, pictures: Pictures, steps: int, seed: int, batch: int = 256) -> list[dict[str, float]]:
    """Trains the last layers alone, on the keypoints that the rest finds: minutes instead of an hour when there are new pictures.

    Every picture is read twice, as it is and tinted. Returns the curve.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    held, pool = _split(len(pictures))
    net.eval().requires_grad_(False)
    for head in (net.locate, net.tell):
        head.requires_grad_(True)
    points, peaks, rows = _read(net, pictures, pool, rng)
    objects, there, tools = (torch.from_numpy(x[rows]) for x in (pictures.objects, pictures.there, _five(pictures.tools)))
    optimiser = torch.optim.AdamW([*net.locate.parameters(), *net.tell.parameters()], lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps + 1, pct_start=0.1, cycle_momentum=False)
    curve: list[dict[str, float]] = []
    with progress("eyes, last layers", steps) as show:
        for step in range(steps):
            some = torch.from_numpy(rng.integers(len(rows), size=batch))
            near = points[some] + 0.002 * torch.randn(points[some].shape)
            loss = object_loss(*net.objects(near, peaks[some], tools[some]), objects[some], there[some])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            if (step + 1) % 500 == 0 or step + 1 == steps:
                curve.append({"step": step + 1, "loss": float(loss.detach()), **seen_errors(net, pictures, held)})
                show(step + 1, f"{curve[-1]['median_mm']:.1f} mm, 95 % {curve[-1]['q95_mm']:.1f} mm")
    net.eval().requires_grad_(True)
    return curve


def _read(net: VisionNet, pictures: Pictures, pool: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor, np.ndarray]:
    """Keypoints and peaks of the pictures of ``pool``, plain and tinted, and the row of each."""
    points, peaks, rows = [], [], []
    with torch.no_grad(), progress("reading pictures", 2 * len(pool)) as show:
        for tinted in (False, True):
            for part in np.array_split(pool, max(1, len(pool) // 64)):
                image = pictures.image[part]
                found = net.keypoints(net.heat_maps(torch.from_numpy(_tinted(image, rng) if tinted else image)))
                points.append(found[0])
                peaks.append(found[1])
                rows.append(part)
                show(sum(map(len, rows)), "")
    return torch.cat(points), torch.cat(peaks), np.concatenate(rows)


def tools_tensor(tools: np.ndarray) -> Tensor:
    """(B, 2, 4) tool poses -> (B, 2, 5) x, y, z, cos and sin of the yaw."""
    return torch.from_numpy(_five(tools))


def _five(tools: np.ndarray) -> np.ndarray:
    return np.concatenate([tools[..., :3], np.cos(tools[..., 3:]), np.sin(tools[..., 3:])], axis=-1).astype(np.float32)


def _split(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows kept for the curve, the same for every training on as many pictures, and rows to learn from."""
    kept = min(count // 2, max(64, count // 20), 512)
    order = np.random.default_rng(1).permutation(count)
    return order[:kept], order[kept:]


def point_loss(logits: Tensor, places: Tensor, points: Tensor, visible: Tensor) -> Tensor:
    """Cross entropy to a small Gaussian per taught keypoint of an object that is there and inside the picture, and its position error.

    Args:
        logits: (B, 18, 56, 56). places: (B, 18, 2). points: (B, 12, 2) true places. visible: (B, 12) whether the point exists.
    """
    taught = len(TAUGHT)
    inside = (points.abs() < 0.98).all(dim=2).to(torch.float32) * visible.to(torch.float32)  # (B, 12)
    line = torch.linspace(-1.0, 1.0, GRID)
    near_x = torch.exp(-0.5 * ((line - points[..., :1]) * (GRID / 2) / 1.2).square())  # (B, 12, 56)
    near_y = torch.exp(-0.5 * ((line - points[..., 1:]) * (GRID / 2) / 1.2).square())
    target = (near_y.unsqueeze(-1) * near_x.unsqueeze(-2)).flatten(2)
    target = target / target.sum(dim=2, keepdim=True).clamp(min=1e-6)
    log_share = torch.log_softmax(logits[:, :taught].flatten(2), dim=2)
    count = inside.sum().clamp(min=1.0)
    cross = (-(target * log_share).sum(dim=2) * inside).sum() / count
    off = ((places[:, :taught] - points).abs().sum(dim=2) * inside).sum() / count
    return 0.3 * cross + 5.0 * off


def object_loss(places: Tensor, logits: Tensor, objects: Tensor, there: Tensor) -> Tensor:
    """Error of the objects that are there in centimetres, and cross entropy of being there.

    Args:
        places, objects: (B, 5, 3) seen and true [m]. logits, there: (B, 5).
    """
    present = there.to(torch.float32)
    off = functional.smooth_l1_loss(100.0 * places, 100.0 * objects, beta=1.0, reduction="none").mean(dim=2)
    return (off * present).sum() / present.sum().clamp(min=1.0) + functional.binary_cross_entropy_with_logits(logits, present)


def _tinted(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Small changes of brightness, contrast and noise, as another sensor would show the scene."""
    n = len(image)
    gain = rng.uniform(0.88, 1.12, (n, 1, 1, 3)).astype(np.float32)
    shift = rng.uniform(-12.0, 12.0, (n, 1, 1, 1)).astype(np.float32)
    noise = rng.normal(0.0, 2.0, (*image.shape[:3], 1)).astype(np.float32)
    return np.clip(image * gain + shift + noise, 0.0, 255.0).astype(np.uint8)
