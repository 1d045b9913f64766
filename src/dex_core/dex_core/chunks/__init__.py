# SPDX-License-Identifier: Apache-2.0
"""Chunks over time: joined from their slices, checked whole, interpolated by time and blended into each other."""

from dex_core.chunks.approach import Approach
from dex_core.chunks.blend import Blend, BlendLimits, blend_duration
from dex_core.chunks.check import ChunkRefused, check_chunk, monotonic_start_ns
from dex_core.chunks.committed import Committed
from dex_core.chunks.join import ChunkJoiner, Incomplete, Joined, decoder_of
from dex_core.chunks.pacing import LatencyEstimate, Pacing
from dex_core.chunks.schedule import SCHEDULES, Accepted, Schedule, ScheduleSettings
from dex_core.chunks.seam import Seam, command_seams, seam_between
from dex_core.chunks.spline import Point, Spline

__all__ = [
    "SCHEDULES", "Accepted", "Approach", "Blend", "BlendLimits", "ChunkJoiner", "ChunkRefused", "Committed", "Incomplete", "Joined",
    "LatencyEstimate", "Pacing", "Point", "Schedule", "ScheduleSettings", "Seam", "Spline", "blend_duration", "check_chunk", "command_seams",
    "decoder_of", "monotonic_start_ns", "seam_between",
]
