# SPDX-License-Identifier: Apache-2.0
"""What a latent space is worth on unseen uniform postures: reconstruction, pinches between every two hands, smoothness, the guard's quantile."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dex_learn.latent import losses
from dex_learn.latent.hand import FINGERS
from dex_learn.latent.net import LatentNets
from dex_learn.latent.sampling import uniform

SEED = 20_000
COUNT = 2000
NOISE = 0.05
POINTS = 16
PINCH_M = (0.005, 0.06)
TABLES = ("pinch_distance_mm", "pinch_direction_deg", "all_distance_mm", "all_direction_deg")
DEFINITIONS = {
    "samples": f"{COUNT} postures per hand, uniform inside the limits, seed {SEED}, not used for training",
    "joint_mean_rad": "mean over postures and joints of |q' - q|, q' = D(E(q))",
    "joint_rmse_rad": "root mean square of the same",
    "joint_worst_rad": "largest of the same",
    "tip_mean_mm": "mean over postures and fingertips of the distance between the fingertips of q' and q",
    "continuity_joint_rad": f"mean of ||D(z + n) - D(z)|| over all joints, n ~ N(0, {NOISE}^2)",
    "continuity_tip_mm": "mean over postures and fingertips of how far that moves them",
    "interpolation_accel_mm": f"{POINTS} latents on a straight line between those of two postures, ends included: "
    "mean norm of the second difference of a fingertip",
    "interpolation_jerk_mm": "the same, third difference",
    "latent_std": "standard deviation of a latent's numbers over postures, mean of the 32",
    "residual_q99": "99 % quantile of ||E(D(z)) - z|| over the latents of the postures of all these hands, each decoded by this hand",
    "pinch_distance_mm": "source, then target: mean of | ||d_t|| - ||d_s|| | over thumb-to-finger vectors d of fingers both hands have, "
    "||d_s|| from 5 to 60 mm",
    "pinch_direction_deg": "mean angle between d_t and d_s, same pinches",
    "all_distance_mm": "as pinch_distance_mm, thumb-to-finger vectors of any length",
    "all_direction_deg": "as pinch_direction_deg, thumb-to-finger vectors of any length",
}


@torch.no_grad()
def score(nets: LatentNets, count: int = COUNT, seed: int = SEED) -> dict[str, Any]:
    """Every score of ``DEFINITIONS``: ``hands`` by name, and tables of ordered pairs."""
    generator = torch.Generator().manual_seed(seed)
    batch = losses.batch_of(nets, uniform(nets, count, generator))
    z = nets.encode(batch.u, batch.tips)
    decoded = losses.decode_all(nets, z)
    own = losses.own_of(decoded)
    noise = torch.randn(z.shape, generator=generator).to(z.device)
    nudged = losses.decode_own(nets, z + NOISE * noise)
    line = torch.linspace(0.0, 1.0, POINTS, device=z.device)[:, None]
    ends = z[:, : 2 * (count // 2)].unflatten(1, (-1, 2))
    between = ends[:, :, :1] + line * (ends[:, :, 1:] - ends[:, :, :1])  # (H, B/2, 16, 32)
    path = losses.decode_own(nets, between.flatten(1, 2)).tips.unflatten(2, (-1, POINTS))  # (H, 5, B/2, 16, 3)
    hands = {}
    for k, hand in enumerate(nets.hands):
        n, fingers = len(hand.joints), [FINGERS.index(f) for f in hand.target.fingers]
        half = 0.5 * (nets.high - nets.low)[k, :, :n]
        back = own.u[k, :, :n].clamp(-1.0, 1.0)
        error, shift = (back - batch.u[k, :, :n]).abs() * half, (nudged.u[k, :, :n].clamp(-1.0, 1.0) - back) * half
        second = path[k, fingers].diff(n=2, dim=2).norm(dim=-1)
        third = path[k, fingers].diff(n=3, dim=2).norm(dim=-1)
        hands[hand.name] = {
            "joint_mean_rad": float(error.mean()), "joint_rmse_rad": float(error.square().mean().sqrt()), "joint_worst_rad": float(error.max()),
            "tip_mean_mm": _mm((own.tips - batch.tips)[k, fingers].norm(dim=-1)),
            "continuity_joint_rad": float(shift.norm(dim=-1).mean()), "continuity_tip_mm": _mm((nudged.tips - own.tips)[k, fingers].norm(dim=-1)),
            "interpolation_accel_mm": _mm(second), "interpolation_jerk_mm": _mm(third),
            "latent_std": float(z[k].std(dim=0).mean()), "residual_q99": _residual_q99(nets, k, z.flatten(0, 1)),
        }
    return {"hands": hands, **pair_tables(nets, decoded, batch.pinches)}


def _mm(metres: Tensor) -> float:
    return 1e3 * float(metres.mean())


def _residual_q99(nets: LatentNets, row: int, z: Tensor) -> float:
    """Of latents of every hand's postures (N, 32): what the guard of a decoder sees when a policy of any hands speaks to it."""
    alone = nets.cut(row).to(z.device)
    u = alone.decode(z[None]).clamp(-1.0, 1.0)
    back = alone.encode(u, alone.chains(alone.joints(u)))[0]
    return float(torch.quantile((back - z).norm(dim=-1), 0.99))


def pair_tables(nets: LatentNets, decoded: losses.Decoded, wanted: Tensor) -> dict[str, Any]:
    """Tables source -> target -> score."""
    reached, names = decoded.pinches, [h.name for h in nets.hands]
    tables: dict[str, Any] = {key: {a: {} for a in names} for key in TABLES}
    for s, source in enumerate(names):
        for t, target in enumerate(names):
            if s == t:
                continue
            both = (nets.present[s] * nets.present[t]) > 0.0
            a, b = wanted[s][:, both], reached[t, s][:, both]
            length, got = a.norm(dim=-1), b.norm(dim=-1)
            distance, angle = (got - length).abs(), _angle_deg(a, b)
            near = (length > PINCH_M[0]) & (length < PINCH_M[1])
            tables["pinch_distance_mm"][source][target] = _mm(distance[near])
            tables["pinch_direction_deg"][source][target] = float(angle[near].mean())
            tables["all_distance_mm"][source][target] = _mm(distance)
            tables["all_direction_deg"][source][target] = float(angle.mean())
    return tables


def _angle_deg(a: Tensor, b: Tensor) -> Tensor:
    """Angle between vectors of any length, exact for small ones."""
    unit_a, unit_b = a / a.norm(dim=-1, keepdim=True).clamp(min=1e-9), b / b.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    return torch.rad2deg(2.0 * torch.atan2((unit_a - unit_b).norm(dim=-1), (unit_a + unit_b).norm(dim=-1)))


def mean_of_pairs(table: dict[str, dict[str, float]]) -> float:
    """Mean over ordered pairs."""
    values = [v for row in table.values() for v in row.values()]
    return sum(values) / len(values)
