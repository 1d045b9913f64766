# SPDX-License-Identifier: Apache-2.0
"""The first measured motion after a chunk's first command: which joints the chunk tells to move, and when the first of them was seen to."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from dex_core.clock import NS
from dex_core.types import ActionChunk, Array

ChunkKey = tuple[str, int]
"""Goal and sequence."""

FLOOR_RAD = 2e-4
"""Less than this is no motion on any encoder."""
NOISE_FACTOR = 6.0
"""A motion is more than so many standard deviations of the encoder's noise."""
NOISE_SAMPLES, NOISE_BLOCKS = 25, 40
"""Noise is looked at in blocks of so many measurements; the quiet quarter of so many newest blocks counts, i.e. those at rest."""
BEFORE_NS = 100_000_000
"""The joints count as resting when neither they nor their plan moved in this time before the first command."""
HORIZON_NS = 500_000_000
"""A joint that has not moved by then did not follow."""
DEPTH, PLANS = 1024, 8
"""Measurements and chunks that are kept."""
GRID_NS = 10_000_000
"""A plan is looked at this finely."""


class MotionKind(IntEnum):
    """Values as in dex_msgs/ChunkLatency."""

    NONE = 0
    SEEN = 1
    MISSED = 2
    UNKNOWN = 3


class Motion(NamedTuple):
    """``stamp_ns`` of the measurement that shows the first motion (0 unless SEEN), the joint, and whether all rested before."""

    kind: MotionKind
    stamp_ns: int = 0
    joint: str = ""
    from_rest: bool = False


class _Track:
    """Stamped rows of some joints, newest last."""

    def __init__(self) -> None:
        self.stamps: deque[int] = deque(maxlen=DEPTH)
        self.rows: deque[Array] = deque(maxlen=DEPTH)

    def add(self, stamp_ns: int, row: Array) -> None:
        if not self.stamps or stamp_ns > self.stamps[-1]:
            self.stamps.append(stamp_ns)
            self.rows.append(row)

    def between(self, first_ns: int, last_ns: int) -> tuple[np.ndarray, Array]:
        """(k,) stamps and (k, n) rows within [first_ns, last_ns]."""
        kept = [(s, r) for s, r in zip(self.stamps, self.rows, strict=True) if first_ns <= s <= last_ns]
        return np.array([s for s, _ in kept], dtype=np.int64), np.array([r for _, r in kept])


class _Plan(NamedTuple):
    """Joints of one device over time: (T, n) rows [rad] from ``start_ns`` on, ``dt_ns`` apart."""

    start_ns: int
    dt_ns: int
    rows: Array

    def at(self, times_ns: np.ndarray) -> Array:
        """(k, n), linear between rows; the first and last rows beyond the ends."""
        place = np.clip((times_ns - self.start_ns) / self.dt_ns, 0.0, len(self.rows) - 1)
        low = np.minimum(place.astype(int), max(len(self.rows) - 2, 0))
        share = (place - low)[:, None]
        return self.rows[low] + share * (self.rows[np.minimum(low + 1, len(self.rows) - 1)] - self.rows[low])


class _Device:
    """One interface: what was measured, what is planned, and what its encoders cannot tell from noise."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.track = _Track()
        self.plans: OrderedDict[ChunkKey, _Plan] = OrderedDict()
        self._noise: deque[Array] = deque(maxlen=NOISE_BLOCKS)
        self._block: list[Array] = []

    def add(self, stamp_ns: int, row: Array) -> None:
        self.track.add(stamp_ns, row)
        self._block.append(row)
        if len(self._block) == NOISE_SAMPLES:
            bends = np.diff(np.array(self._block), n=2, axis=0)  # they see noise, and little of a smooth motion
            self._noise.append(np.sqrt((bends**2).mean(axis=0) / 6.0))
            self._block = []

    def threshold(self) -> Array:
        """(n,) [rad]."""
        if not self._noise:
            return np.full(len(self.names), FLOOR_RAD)
        return np.maximum(FLOOR_RAD, NOISE_FACTOR * np.quantile(np.array(self._noise), 0.25, axis=0))

    def told(self, key: ChunkKey, before: ChunkKey | None, first_ns: int, end_ns: int) -> tuple[Array, bool] | None:
        """(n,) +1 or -1 where the chunk moves a joint away from where it was told to be before, else 0, and whether that stood still.

        None where neither a plan before nor a measurement says where it was.
        """
        old = self.plans.get(before) if before else None
        limit, still = self.threshold(), True
        if old is not None:
            ahead = old.at(np.arange(first_ns - BEFORE_NS, first_ns + 1, GRID_NS))
            last, still = ahead[-1], bool((np.abs(ahead - ahead[-1]) <= limit).all())
        else:
            _, rows = self.track.between(first_ns - BEFORE_NS, first_ns)
            if not len(rows):
                return None
            last = rows[-1]
        directions = np.zeros(len(self.names))
        for row in self.plans[key].at(np.arange(first_ns, end_ns + 1, GRID_NS)) - last:
            fresh = (directions == 0.0) & (np.abs(row) > limit)
            directions[fresh] = np.sign(row[fresh])
        return directions, still

    def first_motion(self, directions: Array, first_ns: int, end_ns: int) -> Motion | None:
        """SEEN or MISSED, ``from_rest`` by the measurements before alone; None where there are none before ``first_ns``."""
        _, before = self.track.between(first_ns - BEFORE_NS, first_ns)
        if not len(before):
            return None
        limit, chosen = self.threshold(), directions != 0.0
        quiet = bool((np.ptp(before[:, chosen], axis=0) <= limit[chosen]).all())
        stamps, rows = self.track.between(first_ns + 1, end_ns)
        moved = (rows - before[-1]) * directions > limit if len(rows) else np.zeros((0, len(limit)), bool)
        when = np.flatnonzero(moved.any(axis=1))
        if not len(when):
            return Motion(MotionKind.MISSED, from_rest=quiet)
        return Motion(MotionKind.SEEN, int(stamps[when[0]]), self.names[int(np.argmax(moved[when[0]]))], quiet)


class MotionFinder:
    """Finds the motion after each chunk's first command. One thread at a time; all stamps on one clock [ns].

    A joint is told to move when the chunk takes it further than its threshold from where the chunk before would have it then. It moved when it was
    measured further than the threshold from where it was at the first command, the same way. While the robot follows the chunk before, that
    motion counts: what the new chunk added to it cannot be told apart. The threshold is 0.0002 rad or six standard deviations of the encoder's
    noise, whichever is more; the noise is learnt from the measurements.

    Plans are looked at, not commands: listening to those would cost the gate a delivery in every tick.

    Args:
        interfaces: interface -> its joints, as chunks and measurements name them.
    """

    def __init__(self, interfaces: Mapping[str, Sequence[str]]) -> None:
        self._devices = {interface: _Device(names) for interface, names in interfaces.items()}

    def measured(self, interface: str, stamp_ns: int, names: Sequence[str], position_rad: Array) -> None:
        """Takes one measurement; one that does not name all joints of the interface is left out."""
        device = self._devices[interface]
        rows = _ordered(names, position_rad[None], device.names)
        if rows is not None:
            device.add(stamp_ns, rows[0])

    def planned(self, chunk: ActionChunk) -> None:
        """Takes a chunk, or a decoded part of one: its slices in joint space."""
        start_ns = chunk.stamp_ns + round(chunk.first_action_offset * chunk.dt_s * NS)
        for part in chunk.slices:
            device = self._devices.get(part.interface)
            rows = _ordered(part.names, part.data, device.names) if device and part.space == "joint_position" else None
            if device and rows is not None:
                device.plans[chunk.goal_id, chunk.sequence] = _Plan(start_ns, round(chunk.dt_s * NS), rows)
                while len(device.plans) > PLANS:
                    device.plans.popitem(last=False)

    def find(self, key: ChunkKey, before: ChunkKey | None, first_command_ns: int, next_ns: int | None, now_ns: int) -> Motion | None:
        """What moved first after a chunk's first command; None while it is too early to say.

        Args:
            key: goal and sequence of the chunk. before: of the chunk that was followed until then, where there was one.
            first_command_ns: when its first command went out. next_ns: the next chunk's, where there is one. now_ns: time now.
        """
        end_ns = min(first_command_ns + HORIZON_NS, next_ns or first_command_ns + HORIZON_NS)
        over = now_ns > end_ns + BEFORE_NS  # what is still to come cannot count, messages on their way neither
        found = self._earliest(key, before, first_command_ns, end_ns)
        if found is None:
            return Motion(MotionKind.UNKNOWN) if over else None
        heard_ns = min(d.track.stamps[-1] for d in self._devices.values() if key in d.plans)
        return found if over or found.kind is MotionKind.SEEN and heard_ns >= found.stamp_ns else None

    def _earliest(self, key: ChunkKey, before: ChunkKey | None, first_ns: int, end_ns: int) -> Motion | None:
        """Among all devices; None where a device of the chunk was not measured around the first command, or no plan is known."""
        found, rested, known = Motion(MotionKind.NONE), True, False
        for device in self._devices.values():
            if key not in device.plans:
                continue
            known = True
            told = device.told(key, before, first_ns, end_ns)
            if told is None or not device.track.stamps:
                return None
            directions, still = told
            rested = rested and still
            if not directions.any():
                continue
            own = device.first_motion(directions, first_ns, end_ns)
            if own is None:
                return None
            rested = rested and own.from_rest
            if found.kind is not MotionKind.SEEN or (own.kind is MotionKind.SEEN and own.stamp_ns < found.stamp_ns):
                found = own
        return found._replace(from_rest=rested and found.kind is not MotionKind.NONE) if known else None


def _ordered(names: Sequence[str], rows: Array, wanted: Sequence[str]) -> Array | None:
    """(T, n) columns in the order of ``wanted``; None when one is missing or not finite."""
    place = {name: i for i, name in enumerate(names)}
    if rows.shape[1] != len(names) or any(name not in place for name in wanted):
        return None
    ordered = np.asarray(rows, dtype=float)[:, [place[name] for name in wanted]]
    return ordered if np.isfinite(ordered).all() else None
