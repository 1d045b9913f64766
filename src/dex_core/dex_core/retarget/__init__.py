# SPDX-License-Identifier: Apache-2.0
"""Retargeting: keypoints of a human hand -> joints of any robot hand; pinches from one robot hand to another."""
from dex_core.retarget.keypoints import from_mano
from dex_core.retarget.objectives import Pinches
from dex_core.retarget.pinch import Pinched, closest_pinch, pinch_oracle
from dex_core.retarget.retargeter import Retargeted, RetargetedTrack, Retargeter
from dex_core.retarget.target import TargetHand

__all__ = ["Pinched", "Pinches", "Retargeted", "RetargetedTrack", "Retargeter", "TargetHand", "closest_pinch", "from_mano", "pinch_oracle"]
