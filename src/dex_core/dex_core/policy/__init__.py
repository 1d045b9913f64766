# SPDX-License-Identifier: Apache-2.0
"""Policies: what they see, what they give, and the one that runs an exported bundle."""

from dex_core.policy.base import Observation, Policy, PolicySpec, Prediction
from dex_core.policy.builder import ObservationBuilder
from dex_core.policy.chunk_policy import ChunkPolicy
from dex_core.policy.digest import differences, stream_digests, whole_digest
from dex_core.policy.frozen import FrozenGuard
from dex_core.policy.instruction import InstructionRefused, check_instruction
from dex_core.policy.measured import MeasuredPoses
from dex_core.policy.observation import ObservationRefused, check_observation
from dex_core.policy.runtime import load_policy

__all__ = [
    "ChunkPolicy",
    "FrozenGuard",
    "InstructionRefused",
    "MeasuredPoses",
    "Observation",
    "ObservationBuilder",
    "ObservationRefused",
    "Policy",
    "PolicySpec",
    "Prediction",
    "check_instruction",
    "check_observation",
    "differences",
    "load_policy",
    "stream_digests",
    "whole_digest",
]
