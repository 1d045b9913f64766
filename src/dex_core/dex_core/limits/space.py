# SPDX-License-Identifier: Apache-2.0
"""Limits of the whole cell: speed of the tools, their workspaces, singularities, and what comes near what.

All of them slow the cell down as one: every joint takes the same share of the step it wanted, so arms and hands stay together and on their
way. What counts is where the cell would come to rest if it braked now, so a motion ends before the place where it must not be, and the share
falls evenly over a zone before it. What leads out of a zone is never slowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dex_core.config.cell import BODY, CellConfig
from dex_core.config.safety import SafetyProfile, Zone
from dex_core.limits.base import Change, JointLimits, Motion
from dex_core.limits.meetings import CellModel
from dex_core.types import Array

SINGULARITY_EVERY = 5
"""Ticks between two looks at the Jacobians: at 2 rad/s a joint turns 0.1 rad in five ticks of 10 ms, a zone takes longer to cross."""
MOVES_M = 1e-6
MOVES_RAD = 1e-9


class Slowed(NamedTuple):
    """Share of the wanted step that is left, and what took the rest."""

    share: float
    changes: tuple[Change, ...] = ()


FREE = Slowed(1.0)


class Finding(NamedTuple):
    """What a limit of the cell has against a chunk: the worst step, as a Change."""

    step: int
    change: Change


class SpaceLimits:
    """Limits of one cell. Keeps the last look at its singularities; ``clear`` forgets it.

    Args:
        model: kinematics and collision of the cell.
        limits: of all joints, for how they brake.
        profiles: arm -> profile of its robot.
    """

    def __init__(self, model: CellModel, limits: JointLimits, profiles: dict[str, SafetyProfile]) -> None:
        self._model, self._braking = model, limits.acceleration_rad_s2
        self._profiles = [profiles.get(arm, SafetyProfile()) for arm in model.arms]
        self._watched = [i for i, profile in enumerate(self._profiles) if profile.singularity is not None]
        self.clear()

    @classmethod
    def of_cell(cls, cell: CellConfig, urdf_text: str, limits: JointLimits) -> SpaceLimits:
        """Limits of a cell, from its safety and the URDF of the whole of it."""
        model = CellModel(cell, urdf_text)
        return cls(model, limits, {arm: cell.profile_of(BODY if BODY in cell.interfaces else arm) for arm in model.arms})

    def clear(self) -> None:
        """A new motion begins."""
        self._ticks, self._singular = 0, FREE

    def slow(self, previous: Motion, wanted_rad: Array, dt_s: float) -> Slowed:
        """What is left of the step from ``previous`` to ``wanted_rad`` (n,) within ``dt_s``."""
        velocity = (wanted_rad - previous.position_rad) / dt_s
        if np.abs(velocity).max(initial=0.0) <= MOVES_RAD / dt_s:
            return FREE
        change = self._braking * dt_s
        next_velocity = np.clip(velocity, previous.velocity_rad_s - change, previous.velocity_rad_s + change)
        rest = previous.position_rad + next_velocity * (dt_s + np.abs(next_velocity) / (2.0 * self._braking))
        places = self._model.places(np.stack([previous.position_rad, wanted_rad, rest]))
        found = [
            self._tool_speed(places.flange_m[0], places.flange_m[1], dt_s), self._workspace(places.tool_m[0], places.tool_m[2]),
            self._collision(rest, velocity), self._singularity(previous.position_rad, rest),
        ]
        return Slowed(min(s.share for s in found), tuple(change for s in found for change in s.changes))

    def examine(self, knots_rad: Array, dt_s: float, now_rad: Array, stride: int = 1) -> tuple[Finding | None, list[Finding]]:
        """Looks at a whole chunk before its first step.

        Args:
            knots_rad: (T, n) its postures [rad].
            dt_s: time between them [s].
            now_rad: (n,) where the cell is: a chunk that leads out of a place where it must not be is a good one.
            stride: distances and Jacobians are looked at every so many steps.

        Returns:
            What speaks against the chunk, or None; and what the cell would be slowed for on its way.
        """
        places = self._model.places(np.concatenate([now_rad[None], knots_rad]))
        against = self._leaves(places.tool_m) or self._hits(knots_rad, now_rad, stride)
        speeds = np.linalg.norm(np.diff(places.flange_m[1:], axis=0), axis=2) / dt_s
        remarks = []
        for row, (arm, profile) in enumerate(zip(self._model.arms, self._profiles, strict=True)):
            step = int(np.argmax(speeds[:, row])) if len(speeds) else 0
            if profile.tool_speed_m_s is not None and len(speeds) and speeds[step, row] > profile.tool_speed_m_s:
                remarks.append(Finding(step, Change(arm, "tool_speed", float(speeds[step, row]), profile.tool_speed_m_s)))
        return against, remarks

    def _tool_speed(self, before_m: Array, after_m: Array, dt_s: float) -> Slowed:
        speeds, share, changes = np.linalg.norm(after_m - before_m, axis=1) / dt_s, 1.0, []
        for arm, profile, speed in zip(self._model.arms, self._profiles, speeds.tolist(), strict=True):
            allowed = profile.tool_speed_m_s
            if allowed is not None and speed > allowed:
                share = min(share, allowed / speed)
                changes.append(Change(arm, "tool_speed", speed, allowed))
        return Slowed(share, tuple(changes))

    def _workspace(self, before_m: Array, rest_m: Array) -> Slowed:
        share, changes = 1.0, []
        for row, box in self._model.boxes:
            room_before, room = _room(before_m[row], box), _room(rest_m[row], box)
            toward = room < room_before - MOVES_M
            shares = np.where(toward, np.clip(room / self._model.zone_m, 0.0, 1.0), 1.0)
            if shares.min() < 1.0:
                worst = np.unravel_index(int(np.argmin(shares)), shares.shape)
                share = min(share, float(shares[worst]))
                changes.append(_box_change(self._model.arms[row], rest_m[row], box, worst))
        return Slowed(share, tuple(changes))

    def _collision(self, rest_rad: Array, velocity: Array) -> Slowed:
        share, changes = 1.0, []
        for meeting in self._model.meetings(rest_rad):
            zone, near = meeting.zone, meeting.nearest
            if near.distance_m < zone.slow and float(near.gradient @ velocity) < 0.0:
                share = min(share, zone.share(near.distance_m))
                changes.append(Change("-".join(near.links), "collision", near.distance_m, zone.stop))
        return Slowed(share, tuple(changes))

    def _singularity(self, now_rad: Array, rest_rad: Array) -> Slowed:
        self._ticks += 1
        if not self._watched or self._ticks % SINGULARITY_EVERY != 1:
            return self._singular
        at_rest, share, changes = self._model.singular_values(rest_rad), 1.0, []
        zones: list[tuple[int, Zone]] = [(i, self._profiles[i].singularity) for i in self._watched]  # type: ignore[misc]
        if any(at_rest[i] < zone.slow for i, zone in zones):
            now = self._model.singular_values(now_rad)
            for i, zone in zones:
                if at_rest[i] < min(zone.slow, now[i] - MOVES_RAD):
                    share = min(share, zone.share(float(at_rest[i])))
                    changes.append(Change(self._model.arms[i], "singularity", float(at_rest[i]), zone.stop))
        self._singular = Slowed(share, tuple(changes))
        return self._singular

    def _leaves(self, tool_m: Array) -> Finding | None:
        """The worst step of a chunk outside a box, unless the cell is out there already; row 0 is where it is now."""
        for row, box in self._model.boxes:
            room = _room(tool_m[:, row], box)
            outside = np.minimum(room[0], 0.0) - MOVES_M - room[1:]
            worst = np.unravel_index(int(np.argmax(outside)), outside.shape)
            if outside[worst] > 0.0:
                return Finding(int(worst[0]), _box_change(self._model.arms[row], tool_m[worst[0] + 1, row], box, worst[1:]))
        return None

    def _hits(self, knots_rad: Array, now_rad: Array, stride: int) -> Finding | None:
        """The first step of a chunk nearer than its ``stop``, and nearer than now."""
        steps = np.arange(stride - 1, len(knots_rad), stride)
        near = self._model.nearest_of(knots_rad[steps])
        suspicious: Sequence[int] = steps[near < self._model.widest_stop_m].tolist()
        if not suspicious:
            return None
        now = {meeting.parts: meeting.nearest.distance_m for meeting in self._model.meetings(now_rad)}
        for step in suspicious:
            for meeting in self._model.meetings(knots_rad[step]):
                distance = meeting.nearest.distance_m
                if distance < min(meeting.zone.stop, now[meeting.parts] - MOVES_M):
                    return Finding(step, Change("-".join(meeting.nearest.links), "collision", distance, meeting.zone.stop))
        return None


def _room(point_m: Array, box: Array) -> Array:
    """(..., 2, 3) distance inwards from the lower and the upper faces of ``box`` (2, 3) [m]."""
    return np.stack([point_m - box[0], box[1] - point_m], axis=-2)


def _box_change(arm: str, point_m: Array, box: Array, face: Sequence[int]) -> Change:
    side, axis = int(face[0]), int(face[1])
    return Change(f"{arm} {'xyz'[axis]}", "workspace", float(point_m[axis]), float(box[side][axis]))
