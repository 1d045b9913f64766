# SPDX-License-Identifier: Apache-2.0
"""Several chunks as one, in the space the policy speaks: rotations on SO(3), latents in latent space, what is binary held.

For mixing after decoding, in joint space, there are the schedules. Imported by who mixes, not with the package: the gate needs none of it.
All times wall-clock [ns].
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from dex_core.chunks.committed import Committed
from dex_core.chunks.rotation import mean_rotation
from dex_core.chunks.schedule.ensemble import CHUNKS_MAX
from dex_core.config import EnsembleConfig
from dex_core.errors import ShapeError
from dex_core.rot6d import rot6d_columns, rotation_from_columns
from dex_core.types import POSE_COLUMNS, ActionChunk, ActionSlice, Array

HELD_SPACES = ("token",)
"""Numbers that name something: the mean of two of them is a third thing."""
_TURN = slice(3, len(POSE_COLUMNS))


def rows_at(chunk: ActionChunk, interface: str, times_ns: NDArray[np.int64], held: Collection[str] = ()) -> Array:
    """(k, columns) what a chunk says of one interface at k times, between its steps; before the first and after the last it is that one.

    Args:
        chunk: with a slice of that interface.
        interface: e.g. ``left_arm``.
        times_ns: (k,) wall-clock times [ns].
        held: columns that keep their step's value until the next step, e.g. of a gripper that is open or closed.

    Raises:
        DexError: ``rotation``, six numbers that are no rotation.
    """
    part = _slice(chunk, interface)
    place = np.clip((np.asarray(times_ns) - chunk.time_of_step_ns(0)) / (chunk.dt_s * 1e9), 0.0, part.steps - 1.0)
    low = np.floor(place + 1e-9).astype(np.intp)  # a step begins at its own nanosecond, whatever the rounding
    share = np.clip(place - low, 0.0, 1.0)
    high = np.minimum(low + 1, part.steps - 1)
    out = _mean(part, np.stack([part.data[low], part.data[high]]), np.stack([1.0 - share, share]))
    stay = _held(part, held)
    out[:, stay] = part.data[low][:, stay]
    return out


def ensemble_chunks(chunks: Sequence[ActionChunk], decay: float, held: Collection[str] = ()) -> ActionChunk:
    """The newest chunk, each of its steps the weighted mean of all chunks that cover its time: exp(-m i), i = 0 the oldest (arXiv 2304.13705).

    Args:
        chunks: of one goal, oldest first, with the same interfaces, spaces and columns.
        decay: m; 0 weighs all alike, more lets the oldest count for more.
        held: columns that are not mixed: the newest chunk decides, as with tokens.

    Returns:
        The newest chunk with other numbers.

    Raises:
        ShapeError: there is no chunk, or they do not speak of the same.
        DexError: ``rotation``, six numbers that are no rotation.
    """
    if not chunks:
        raise ShapeError("an ensemble needs at least one chunk")
    newest = chunks[-1]
    times = np.array([newest.time_of_step_ns(k) for k in range(newest.steps)], dtype=np.int64)
    weights = np.stack([
        math.exp(-decay * (i + 1 - len(chunks))) * ((times >= c.time_of_step_ns(0)) & (times <= c.time_of_step_ns(c.steps - 1)))
        for i, c in enumerate(chunks)
    ])  # (m, T)
    slices = tuple(_ensemble_slice(chunks, part, times, weights, held) for part in newest.slices)
    return dataclasses.replace(newest, slices=slices)


class ChunkEnsemble:
    """Temporal ensembling as chunks come: what the policy said goes in, what to send comes out. Not thread-safe.

    Args:
        config: None: every chunk is sent as it is.
    """

    def __init__(self, config: EnsembleConfig | None) -> None:
        self._config = config
        self._members: deque[ActionChunk] = deque(maxlen=CHUNKS_MAX)

    def clear(self) -> None:
        """Forgets every chunk: a goal begins."""
        self._members.clear()

    def forget(self, sequence: int) -> None:
        """That chunk is not executed."""
        self._members = deque((m for m in self._members if m.sequence != sequence), maxlen=CHUNKS_MAX)

    def add(self, chunk: ActionChunk) -> ActionChunk:
        """The chunk to send for the newest one of the policy. A hand was exchanged, or the policy changed what it moves: it stands alone.

        Raises:
            DexError: ``rotation``, six numbers of the newest that are no rotation; it is not kept.
        """
        if self._config is None:
            return chunk
        first_ns = chunk.time_of_step_ns(0)
        while self._members and self._members[0].time_of_step_ns(self._members[0].steps - 1) < first_ns:
            self._members.popleft()
        if any(_spoken(member) != _spoken(chunk) or member.goal_id != chunk.goal_id for member in self._members):
            self._members.clear()
        mixed = ensemble_chunks([*self._members, chunk], self._config.decay, self._config.held)
        self._members.append(chunk)
        return mixed


def _spoken(chunk: ActionChunk) -> list[tuple[object, ...]]:
    """What a chunk speaks of; two of the same can be mixed."""
    return [(s.interface, s.space, s.names, s.frame_id, s.data.shape[1], s.space_hash) for s in chunk.slices]


def fade_chunks(before: ActionChunk, newest: ActionChunk, from_ns: int, duration_s: float, held: Collection[str] = ()) -> ActionChunk:
    """The newest chunk, its steps in ``duration_s`` after ``from_ns`` coming gradually from the chunk before, by a minimum-jerk weight.

    Steps before ``from_ns`` are the chunk's before: they are past, or committed. Raises as :func:`ensemble_chunks`.
    """
    times = np.array([newest.time_of_step_ns(k) for k in range(newest.steps)], dtype=np.int64)
    u = np.clip((times - from_ns) / max(duration_s * 1e9, 1.0), 0.0, 1.0)
    share = u * u * u * (10.0 + u * (6.0 * u - 15.0))
    weights = np.stack([1.0 - share, share])
    slices = tuple(_ensemble_slice((before, newest), part, times, weights, held) for part in newest.slices)
    return dataclasses.replace(newest, slices=slices)


def commit(before: ActionChunk, stamp_ns: int, frozen: int, held: Collection[str] = ()) -> Committed | None:
    """What ``before`` commits the chunk to that will be made from the observation of ``stamp_ns``; both of one policy.

    Args:
        before: the policy's chunk before, of the same goal.
        stamp_ns: wall-clock stamp of the new observation [ns].
        frozen: steps that will be executed before the new chunk can arrive, from :class:`~dex_core.chunks.Pacing`.
        held: columns that are not interpolated.

    Returns:
        None where ``before`` ends before the first step of the chunk to come: nothing binds it.
    """
    first_ns = stamp_ns + round(before.first_action_offset * before.dt_s * 1e9)
    rows = int(np.floor((before.time_of_step_ns(before.steps - 1) - first_ns) / (before.dt_s * 1e9) + 1e-6)) + 1
    if rows <= 0 or stamp_ns < before.stamp_ns:
        return None
    times = first_ns + np.round(np.arange(min(rows, before.steps)) * before.dt_s * 1e9).astype(np.int64)
    steps = {part.interface: rows_at(before, part.interface, times, held) for part in before.slices}
    return Committed(steps, 0, min(frozen, len(times)))


def _ensemble_slice(
    chunks: Sequence[ActionChunk], part: ActionSlice, times_ns: NDArray[np.int64], weights: Array, held: Collection[str]
) -> ActionSlice:
    for chunk in chunks:
        other = _slice(chunk, part.interface)
        if (other.space, other.names, other.data.shape[1], other.space_hash) != (part.space, part.names, part.data.shape[1], part.space_hash):
            raise ShapeError(f"{part.interface}: chunk {chunk.sequence} speaks {other.space} {other.names}, the newest {part.space} {part.names}")
    values = np.stack([rows_at(chunk, part.interface, times_ns, held) for chunk in chunks])  # (m, T, columns)
    out = _mean(part, values, weights)
    stay = _held(part, held)
    deciding = len(chunks) - 1 - np.argmax(weights[::-1] > 0.0, axis=0)  # the newest that counts
    out[:, stay] = values[deciding, np.arange(len(times_ns))][:, stay]
    return dataclasses.replace(part, data=out, residual_m=np.zeros(0))


def _mean(part: ActionSlice, values: Array, weights: Array) -> Array:
    """(T, columns) weighted mean of (m, T, columns), rotations as rotations; weights (m, T)."""
    share = weights / np.sum(weights, axis=0)
    out = np.einsum("mt,mtc->tc", share, values)
    if part.space == "wrist_pose":
        out[:, _TURN] = rot6d_columns(mean_rotation(rotation_from_columns(values[..., _TURN]), share))
    return out


def _held(part: ActionSlice, held: Collection[str]) -> NDArray[np.bool_]:
    """(columns,) which are never mixed."""
    if part.space in HELD_SPACES:
        return np.ones(part.data.shape[1], dtype=bool)
    return np.array([name in held for name in part.names] or [False] * part.data.shape[1], dtype=bool)


def _slice(chunk: ActionChunk, interface: str) -> ActionSlice:
    part = chunk.slice_of(interface)
    if part is None:
        raise ShapeError(f"chunk {chunk.sequence} says nothing of {interface}; it moves {[s.interface for s in chunk.slices]}")
    return part
