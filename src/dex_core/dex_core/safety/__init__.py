# SPDX-License-Identifier: Apache-2.0
"""When the cell may move and why it stopped: the state machine, the watchdogs and the book of measured joints."""

from dex_core.safety.deadman import Deadman
from dex_core.safety.heartbeats import Beat, HeartbeatBook, Watch
from dex_core.safety.machine import ACTIVE, MOVES, Mode, SafetyMachine, SafetyStatus
from dex_core.safety.processes import ProcessBook, machine_id
from dex_core.safety.reasons import Reason, Trip
from dex_core.safety.states import StateBook

__all__ = [
    "ACTIVE", "MOVES", "Beat", "Deadman", "HeartbeatBook", "Mode", "ProcessBook", "Reason", "SafetyMachine", "SafetyStatus", "StateBook", "Trip",
    "Watch", "machine_id",
]
