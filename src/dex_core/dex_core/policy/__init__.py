# SPDX-License-Identifier: Apache-2.0
"""Policies: what they see, what they give, and the one that runs an exported bundle."""

from dex_core.policy.base import Observation, Policy, PolicySpec, Prediction
from dex_core.policy.chunk_policy import ChunkPolicy
from dex_core.policy.instruction import InstructionRefused, check_instruction
from dex_core.policy.measured import MeasuredPoses
from dex_core.policy.observation import FrozenPictureGuard, ObservationRefused, StateHistory, check_observation
from dex_core.policy.runtime import load_policy

__all__ = [
    "ChunkPolicy",
    "FrozenPictureGuard",
    "InstructionRefused",
    "MeasuredPoses",
    "Observation",
    "ObservationRefused",
    "Policy",
    "PolicySpec",
    "Prediction",
    "StateHistory",
    "check_instruction",
    "check_observation",
    "load_policy",
]
