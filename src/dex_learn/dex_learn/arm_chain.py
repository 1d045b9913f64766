# SPDX-License-Identifier: Apache-2.0
"""Forward kinematics of the cell's arms as a torch module: features and loss in metres, exportable to ONNX."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from dex_core.config import CellConfig
from dex_description import compose_cell_urdf, parse_urdf


def _transform(xyz_m: tuple[float, ...], rpy_rad: tuple[float, ...]) -> np.ndarray:
    (cr, sr), (cp, sp), (cy, sy) = ((math.cos(a), math.sin(a)) for a in rpy_rad)
    out = np.eye(4)
    out[:3, :3] = np.array([
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ])
    out[:3, 3] = xyz_m
    return out


MIRROR = (-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0)  # an xArm7 seen in the mirror y -> -y: joints about vertical axes turn round


class ArmChain(nn.Module):
    """Pose of one hand's root link in ``world`` from its arm's joints.

    Each joint is the constant matrix sum ``A + sin(q) B + cos(q) C`` (Rodrigues), so a chain is a handful of 4 x 4 products.
    """

    def __init__(self, cell: CellConfig, side: str) -> None:
        super().__init__()
        description = parse_urdf(compose_cell_urdf(cell))
        parent = {joint.child: joint for joint in description.joints}
        arm, hand = cell.interface(f"{side}_arm"), cell.interface(f"{side}_hand")
        chain, link = [], f"{side}_{hand.robot.root_link}"
        while link in parent:
            chain.append(parent[link])
            link = parent[link].parent
        constants, names, pending = [], [], np.eye(4)
        for joint in reversed(chain):
            pending = pending @ _transform(joint.origin.xyz_m, joint.origin.rpy_rad)
            if joint.kind != "fixed":
                constants.append(_rotation_terms(pending, np.asarray(joint.axis, dtype=float)))
                names.append(joint.name)
                pending = np.eye(4)
        if tuple(names) != arm.names:
            raise ValueError(f"{side}: the chain to {hand.robot.root_link} has joints {names}, the arm {list(arm.names)}")
        self.register_buffer("terms", torch.tensor(np.stack(constants), dtype=torch.float32))  # (7, 3, 4, 4)
        self.register_buffer("tail", torch.tensor(pending, dtype=torch.float32))  # (4, 4)

    def forward(self, joints: Tensor) -> Tensor:
        """(B, 7) joints [rad] -> (B, 4, 4) hand root in world [m]."""
        sine, cosine = torch.sin(joints)[..., None, None], torch.cos(joints)[..., None, None]
        step = self.terms[:, 0] + sine * self.terms[:, 1] + cosine * self.terms[:, 2]  # (B, 7, 4, 4)
        pose = step[:, 0]
        for k in range(1, 7):
            pose = pose @ step[:, k]
        return pose @ self.tail


def check_mirror(cell: CellConfig, tolerance_m: float = 1e-4) -> None:
    """Raises ValueError unless the right arm is the left one's mirror image (y -> -y, joints times ``MIRROR``)."""
    q = torch.tensor(np.random.default_rng(0).uniform(-1.0, 1.0, (8, 7)), dtype=torch.float32)
    left, right = (ArmChain(cell, side)(joints)[:, :3, 3] for side, joints in (("left", q), ("right", q * torch.tensor(MIRROR))))
    off = float((left * torch.tensor([1.0, -1.0, 1.0]) - right).norm(dim=1).max())
    if off > tolerance_m:
        raise ValueError(f"cell {cell.name!r}: the arms are not mirror images, {off * 1e3:.1f} mm apart; this policy needs a symmetric cell")


def _rotation_terms(before: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """(3, 4, 4): before @ Rot(axis, q) = terms[0] + sin(q) terms[1] + cos(q) terms[2]."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    constant, sine, cosine = np.zeros((4, 4)), np.zeros((4, 4)), np.zeros((4, 4))
    constant[:3, :3] = np.eye(3) + cross @ cross
    constant[3, 3] = 1.0
    sine[:3, :3] = cross
    cosine[:3, :3] = -(cross @ cross)
    return np.stack([before @ constant, before @ sine, before @ cosine])
