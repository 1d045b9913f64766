# SPDX-License-Identifier: Apache-2.0
"""How chunks follow each other: one file per schedule, each with the paper it is after; `control.schedule` names one."""

from dex_core.chunks.schedule.asynchronous import Asynchronous
from dex_core.chunks.schedule.base import Accepted, Schedule, ScheduleSettings
from dex_core.chunks.schedule.blending import Blending
from dex_core.chunks.schedule.ensemble import Ensemble
from dex_core.chunks.schedule.real_time import RealTime
from dex_core.chunks.schedule.synchronous import Synchronous

SCHEDULES: dict[str, type[Schedule]] = {kind.name: kind for kind in (Synchronous, Asynchronous, Ensemble, Blending, RealTime)}

__all__ = [
    "SCHEDULES", "Accepted", "Asynchronous", "Blending", "Ensemble", "RealTime", "Schedule", "ScheduleSettings", "Synchronous",
]
