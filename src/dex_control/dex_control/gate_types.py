# SPDX-License-Identifier: Apache-2.0
"""What goes into and comes out of the gate."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from dex_control.outcome import ChunkOutcome
from dex_core.chunks.join import decoder_of
from dex_core.config import CellConfig
from dex_core.limits import SafeCommand
from dex_core.safety import Reason, SafetyStatus, Watch


class CommandMode(IntEnum):
    """Values as in dex_msgs/JointCommand."""

    IDLE = 0
    TRACK = 1
    HOLD = 2
    STOP = 3


class Reply(NamedTuple):
    """Answer to a request: reason code and sentence when refused."""

    accepted: bool
    reason: str = ""
    detail: str = ""


class Tick(NamedTuple):
    """What one tick made: the command to publish, and what is new since the last tick."""

    mode: CommandMode
    command: SafeCommand
    status: SafetyStatus
    status_changed: bool
    outcomes: tuple[ChunkOutcome, ...]


def watched_nodes(cell: CellConfig) -> tuple[Watch, ...]:
    """Nodes that must live while a goal runs in this cell."""
    hands = [name for name, interface in cell.interfaces.items() if interface.robot.kind == "hand"]
    return (
        Watch("policy", Reason.POLICY_LOST),
        *(Watch(decoder_of(hand), Reason.DECODER_LOST) for hand in hands),
        *((Watch("camera", Reason.CAMERA_LOST),) if "camera" in cell.camera_nodes else ()),
        *(Watch(name, Reason.DRIVER_LOST, complaints_trip=True) for name in cell.interfaces),
        Watch("task", Reason.TASK_LOST),
    )
