# SPDX-License-Identifier: Apache-2.0
"""Sensors that go on publishing what they no longer measure: the very same numbers while something else moved."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dex_core.clock import NS
from dex_core.policy.base import Observation
from dex_core.policy.observation import ObservationRefused
from dex_core.types import Array, JointState

MOVE_RAD = 0.05
STATE_S = 0.3
"""A joint state is called frozen when it has repeated itself for at least this long."""


class FrozenGuard:
    """Looks at one observation after another.

    A picture is frozen when not one pixel changed although an arm moved by more than 0.05 rad since it first came. A joint state is frozen
    when position, velocity and effort repeat themselves to the last bit for 0.3 s, in observations of different stamps, while another
    interface moved so far. Effort is analogue: a device that reports one never repeats itself, even at rest. A device that reports none
    may well, whole counts of a register at rest are always the same, and is left alone.
    """

    def __init__(self) -> None:
        self._images: dict[str, tuple[NDArray[np.uint8], dict[str, Array]]] = {}
        self._states: dict[str, tuple[JointState, dict[str, Array]]] = {}

    def reset(self) -> None:
        """Forgets what was seen."""
        self._images, self._states = {}, {}

    def check(self, observation: Observation) -> None:
        """Raises ObservationRefused ``camera_frozen`` or ``state_frozen``, naming every frozen sensor."""
        now = {name: state.position_rad for name, state in observation.joints.items()}
        pictures, states = list(self._frozen_pictures(observation, now)), list(self._frozen_states(observation, now))
        if pictures or states:
            raise ObservationRefused("; ".join(pictures + states), code="camera_frozen" if pictures else "state_frozen")

    def _frozen_pictures(self, observation: Observation, now: dict[str, Array]) -> Iterator[str]:
        for camera, image in observation.images.items():
            seen = self._images.get(camera)
            if seen is None or not np.array_equal(image, seen[0]):
                self._images[camera] = (image, now)
                continue
            who, moved = _furthest({name: q for name, q in seen[1].items() if name.endswith("_arm")}, now)
            if moved > MOVE_RAD:
                yield f"the picture of camera {camera!r} has not changed by one pixel while {who} moved {moved:.2f} rad"

    def _frozen_states(self, observation: Observation, now: dict[str, Array]) -> Iterator[str]:
        for name, state in observation.joints.items():
            seen = self._states.get(name)
            if seen is None or not np.isfinite(state.effort).all() or not _same(state, seen[0]):
                self._states[name] = (state, now)
                continue
            since_s = (state.stamp_ns - seen[0].stamp_ns) / NS
            who, moved = _furthest({other: q for other, q in seen[1].items() if other != name}, now)
            if since_s >= STATE_S and moved > MOVE_RAD:
                yield f"joint state of {name} has not changed by one bit for {since_s:.2f} s while {who} moved {moved:.2f} rad"


def _same(a: JointState, b: JointState) -> bool:
    """Equal in every number but the stamp."""
    return all(np.array_equal(getattr(a, part), getattr(b, part)) for part in ("position_rad", "velocity_rad_s", "effort"))


def _furthest(before: dict[str, Array], now: dict[str, Array]) -> tuple[str, float]:
    """Which interface moved most, and how far [rad]; one whose joints are others now, of an exchanged hand, is left out."""
    moved = {name: float(np.abs(now[name] - q).max()) for name, q in before.items() if name in now and now[name].shape == q.shape}
    return max(moved.items(), key=lambda pair: pair[1], default=("", 0.0))
