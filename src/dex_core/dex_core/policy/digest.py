# SPDX-License-Identifier: Apache-2.0
"""A number for each part of an observation: equal numbers, equal parts. A live cell records them, a replay compares."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from dex_core.policy.base import Observation
from dex_core.types import Array, JointState

POSE_GRID = 1e9
"""Poses are computed, on whatever machine: they count to the nanometre, all that is measured counts to the last bit."""


def stream_digests(observation: Observation) -> dict[str, int]:
    """Part -> 64 bits: ``stamp``, ``instruction``, ``image/<camera>``, ``joints/<interface>``, ``pose/<arm>``, ``mounted/<side>``; those of an
    observation k steps before have ``-k/`` in front."""
    out = dict(_parts(observation))
    for back, before in enumerate(reversed(observation.past), start=1):
        out.update((f"-{back}/{name}", value) for name, value in _parts(before) if name != "instruction")
    return out


def whole_digest(parts: Mapping[str, int]) -> int:
    """64 bits of a whole observation, whatever the order of its parts; never 0."""
    return _hash(*(f"{name}={value}".encode() for name, value in sorted(parts.items()))) or 1


def differences(recorded: Mapping[str, int], found: Mapping[str, int]) -> tuple[str, ...]:
    """The parts, by name, that differ or that only one side has."""
    return tuple(name for name in sorted({*recorded, *found}) if recorded.get(name) != found.get(name))


def _parts(observation: Observation) -> Iterator[tuple[str, int]]:
    yield "stamp", _hash(str(observation.stamp_ns).encode())
    yield "instruction", _hash(observation.instruction.encode())
    for camera, image in observation.images.items():
        yield f"image/{camera}", _hash(str((image.shape, observation.image_stamp_ns(camera))).encode(), image)
    for interface, state in observation.joints.items():
        yield f"joints/{interface}", _of_state(state)
    for arm, pose in observation.poses.items():
        yield f"pose/{arm}", _hash(_on_grid(pose))
    for side, hand in observation.mounted.items():
        yield f"mounted/{side}", _hash(repr((hand.hand, hand.flange, hand.decoder_sha256)).encode(), _on_grid(hand.grasp_in_flange))


def _on_grid(pose: Array) -> NDArray[np.int64]:
    return np.round(np.asarray(pose, dtype=np.float64) * POSE_GRID).astype(np.int64)


def _of_state(state: JointState) -> int:
    return _hash(repr((state.stamp_ns, state.names)).encode(), state.position_rad, state.velocity_rad_s, state.effort)


def _hash(*parts: bytes | np.ndarray) -> int:
    made = hashlib.sha256()  # the fastest here: CPUs have instructions for it
    for part in parts:
        made.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).data)
        made.update(b"\x00")
    return int.from_bytes(made.digest()[:8], "little")
