# SPDX-License-Identifier: Apache-2.0
"""Every code a stop or a refusal can carry."""

from __future__ import annotations

from typing import NamedTuple


class Reason:
    """Codes as they appear in SafetyState.reason, SetGoal.reason and RunTask's result."""

    POLICY_LOST = "policy_lost"
    DECODER_LOST = "decoder_lost"
    CAMERA_LOST = "camera_lost"
    DRIVER_LOST = "driver_lost"
    TASK_LOST = "task_lost"
    STATE_STALE = "state_stale"
    JOINT_NAMES = "joint_names"
    CHUNK_STARVED = "chunk_starved"
    CHUNK_REJECTED = "chunk_rejected"
    NON_FINITE = "non_finite"
    FIRST_COMMAND_FAR = "first_command_far"
    LIMIT_STEP = "limit_step"
    STOP_REQUESTED = "stop_requested"
    GOAL_ENDED = "goal_ended"
    WRONG_GOAL = "wrong_goal"
    BUSY = "busy"
    LATCHED = "latched"
    MOVING = "moving"
    DUPLICATE_PUBLISHER = "duplicate_publisher"
    DEADMAN = "deadman"
    WORKSPACE = "workspace"
    COLLISION = "collision"
    SINGULARITY = "singularity"


class Trip(NamedTuple):
    """Something that forbids motion: reason code, the node, joint or topic that caused it, a sentence for people."""

    reason: str
    cause: str
    detail: str
