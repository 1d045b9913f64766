# SPDX-License-Identifier: Apache-2.0
"""A chunk is judged whole, before its first step: when it is for, which joints, finite, inside limits, no leap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dex_core.chunks.spline import NS
from dex_core.errors import DexError, LimitError
from dex_core.limits.base import JointLimits
from dex_core.types import ActionChunk, ActionSlice, Array, index_map

MAX_FUTURE_S = 0.05
"""A stamp may lie this far in the future: clocks of one host differ by less."""


class ChunkRefused(DexError):
    """A chunk that is not followed; ``code`` is the reason of its report."""

    code = "chunk_rejected"


def monotonic_start_ns(chunk: ActionChunk, now_ns: int, wall_ns: int, max_age_s: float) -> int:
    """Monotonic time of action 0, mapped once from the chunk's wall-clock stamp.

    Args:
        chunk: with its wall-clock stamp.
        now_ns: monotonic time of arrival [ns].
        wall_ns: wall-clock time of arrival [ns].
        max_age_s: oldest allowed stamp [s].

    Raises:
        ChunkRefused: the stamp lies in the future (``future``) or is too old, or every action is past (``late``).
    """
    age_s = (wall_ns - chunk.stamp_ns) / NS
    if age_s < -MAX_FUTURE_S:
        raise ChunkRefused(f"chunk {chunk.sequence} is stamped {-age_s:.3f} s in the future; at most {MAX_FUTURE_S} s is allowed", code="future")
    if age_s > max_age_s:
        raise ChunkRefused(f"chunk {chunk.sequence} is {age_s:.3f} s old; at most {max_age_s} s is allowed", code="late")
    start_ns = now_ns + chunk.time_of_step_ns(0) - wall_ns
    if start_ns + (chunk.steps - 1) * chunk.dt_s * NS <= now_ns:
        raise ChunkRefused(f"chunk {chunk.sequence} ends before it arrived: all {chunk.steps} actions are past", code="late")
    return start_ns


def check_chunk(chunk: ActionChunk, interfaces: Sequence[tuple[str, tuple[str, ...]]], limits: JointLimits, tolerance_rad: float) -> Array:
    """Positions of all joints of the cell, (T, n) [rad], in the order of ``limits.names``.

    Positions outside their range by up to ``tolerance_rad`` are left to the position limit, which reports them.

    Args:
        chunk: joined: one ``joint_position`` slice per interface.
        interfaces: (interface, joint names) in the cell's order.
        limits: of all joints.
        tolerance_rad: how far outside its range a position may be [rad].

    Raises:
        JointNameError: names of a slice are not exactly the interface's (``joint_names``).
        ChunkRefused: an interface is missing (``incomplete``), a number is not finite (``non_finite``).
        LimitError: a position outside its range, or two neighbours further apart than the joint's step (``limit``).
    """
    parts = [_ordered(chunk, name, joints) for name, joints in interfaces]
    knots = np.concatenate(parts, axis=1)
    if not np.isfinite(knots).all():
        raise ChunkRefused(f"chunk {chunk.sequence} holds a number that is not finite", code="non_finite")
    outside = np.maximum(limits.lower_rad - knots, knots - limits.upper_rad)
    _refuse_worst(chunk, limits, outside, tolerance_rad, "is {:.4f} rad outside its range, allowed {:.4f}")
    if len(knots) > 1:
        leap = np.abs(np.diff(knots, axis=0)) - limits.step_rad
        _refuse_worst(chunk, limits, leap, 0.0, "leaps {:.4f} rad further than its step, allowed {:.4f}")
    return knots


def _ordered(chunk: ActionChunk, interface: str, joints: tuple[str, ...]) -> Array:
    part: ActionSlice | None = chunk.slice_of(interface)
    if part is None or part.space != "joint_position":
        raise ChunkRefused(f"chunk {chunk.sequence} has no joint_position slice for {interface}", code="incomplete")
    return part.data[:, index_map(part.names, joints, f"chunk {chunk.sequence} slice {interface!r}")]


def _refuse_worst(chunk: ActionChunk, limits: JointLimits, excess: Array, allowed: float, text: str) -> None:
    worst = np.unravel_index(int(np.argmax(excess)), excess.shape)
    if excess[worst] > allowed:
        raise LimitError(f"chunk {chunk.sequence} action {worst[0]}: {limits.names[worst[1]]} {text.format(excess[worst], allowed)}")
