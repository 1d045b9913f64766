# SPDX-License-Identifier: Apache-2.0
"""The check of a hand's grasp frame: what its file says is what its kinematics give."""
from __future__ import annotations

import numpy as np

from dex_core.contracts.hand_case import FAILED, PASSED, SKIPPED, HandCase, Outcome
from dex_core.kinematics.tree import rotation_rpy
from dex_core.retarget.grasp import WORST_SQUINT_RAD, PinchingHand, grasp_frame

SAME_M, SAME = 1e-4, 1e-9


def grasp_frame_as_computed(case: HandCase) -> Outcome:
    """Origin and axes are those of :class:`PinchingHand`, and the hand does hold the ball that they come from."""
    if case.robot.grasp is None:
        return Outcome(SKIPPED, "no grasp frame in the configuration")
    given, computed = case.robot.grasp[case.side], grasp_frame(case.name, case.side)
    away = float(np.linalg.norm(np.subtract(given.xyz_m, computed.xyz_m)))
    turned = float(np.abs(rotation_rpy(given.rpy_rad) - rotation_rpy(computed.rpy_rad)).max())
    if given.link != computed.link or away > SAME_M or turned > SAME:
        return Outcome(FAILED, f"{given} in the configuration, {computed} from the kinematics")
    squint = PinchingHand(case.name, case.side).hold().squint_rad
    found = f"contacts on a 50 mm ball face each other but for {np.degrees(squint):.0f} degrees"
    return Outcome(PASSED if squint <= WORST_SQUINT_RAD else FAILED, found)
