# SPDX-License-Identifier: Apache-2.0
"""Fingertip positions of a hand, for scores."""

from __future__ import annotations

import numpy as np
import pinocchio
from numpy.typing import NDArray

from dex_core.config import Interface
from dex_description import interface_urdf, parse_urdf


def fingertips_m(hand: Interface, joints_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B, n) actuated joints [rad], hardware order -> (B, fingers, 3) tips [m] in the hand's root frame; couplings are followed."""
    urdf = interface_urdf(hand)
    model = pinocchio.buildModelFromXML(urdf)
    data = model.createData()
    mimics = [(j.name, j.mimic) for j in parse_urdf(urdf).joints if j.mimic is not None]
    place = {name: model.joints[model.getJointId(name)].idx_q for name in (*hand.robot.actuated, *(n for n, _ in mimics))}
    frames = [model.getFrameId(finger.tip) for finger in (hand.robot.fingers or {}).values()]
    out = np.zeros((len(joints_rad), len(frames), 3))
    q = pinocchio.neutral(model)
    for row, joints in enumerate(joints_rad):
        for name, value in zip(hand.robot.actuated, joints, strict=True):
            q[place[name]] = value
        for name, mimic in mimics:
            q[place[name]] = mimic.multiplier * q[place[mimic.joint]] + mimic.offset_rad
        pinocchio.framesForwardKinematics(model, data, q)
        out[row] = [data.oMf[frame].translation for frame in frames]
    return out
