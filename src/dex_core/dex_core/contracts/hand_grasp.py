# SPDX-License-Identifier: Apache-2.0
"""The check of a hand's grasp frame: what its file says is what its kinematics give."""
from __future__ import annotations

import numpy as np

from dex_core.contracts.hand_case import FAILED, PASSED, SKIPPED, HandCase, Outcome
from dex_core.kinematics.tree import rotation_rpy
from dex_core.retarget.grasp import GRASP_GAP_M, PinchingHand, pinch_direction

SAME_M, SAME = 1e-4, 1e-9
MISS_M = 4e-3


def grasp_frame_as_computed(case: HandCase) -> Outcome:
    """Origin and axes are those of :class:`PinchingHand`, and the hand does hold that pinch."""
    if case.robot.grasp is None:
        return Outcome(SKIPPED, "no grasp frame in the configuration")
    given, pinching = case.robot.grasp[case.side], PinchingHand(case.name, case.side)
    computed, q = pinching.frame(), pinching.pinch()
    away = float(np.linalg.norm(np.subtract(given.xyz_m, computed.xyz_m)))
    turned = float(np.abs(rotation_rpy(given.rpy_rad) - rotation_rpy(computed.rpy_rad)).max())
    if given.link != computed.link or away > SAME_M or turned > SAME:
        return Outcome(FAILED, f"{given} in the configuration, {computed} from the kinematics")
    missed = float(np.linalg.norm(pinching.vector(q) - GRASP_GAP_M * pinch_direction(case.side)))
    if missed > MISS_M:
        return Outcome(FAILED, f"the pinch it is in the middle of is missed by {1e3 * missed:.1f} mm")
    below = pinching.reach(q) - float(pinching.hand.palm[:, 2] @ pinching.centre(q))
    return Outcome(PASSED, f"pinch missed by {1e3 * missed:.1f} mm, the hand reaches {1e3 * below:.0f} mm below it")
