# SPDX-License-Identifier: Apache-2.0
"""From an observation to a policy network's inputs, batch 1: pictures through their pipelines, words as ids, measured columns, history."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dex_core.bundle.load import Bundle
from dex_core.bundle.manifest import ImageSpec, Slice
from dex_core.policy.base import Observation
from dex_core.policy.observation import ObservationRefused, check_picture, joints_in_order
from dex_core.rot6d import pose_columns
from dex_core.text import tokenize
from dex_core.transforms import picture_input, tensor_normaliser
from dex_core.types import Array, frozen_array

Arrays = dict[str, NDArray]


class PolicyInputs:
    """What one bundle's network is shown.

    With a history of N observations, pictures and measured columns have an axis of N after the batch, oldest first; with one they have none.

    Args:
        bundle: a policy with ``image``, ``instruction`` and ``timing``.

    Attributes:
        pictures: of the policy, the one whose exposure is the stamp first.
        measured_tensors: inputs made of measured joints and poses. latent_tensors: inputs made of the chunk before.
    """

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        assert manifest.image and manifest.instruction and manifest.timing and manifest.normalisation  # the kind's manifest check
        self.pictures: tuple[ImageSpec, ...] = manifest.pictures
        self._pipelines = {image.input: picture_input(image) for image in self.pictures}
        self._words, self._history = manifest.instruction, manifest.timing.observation_history
        rest = [t for t in manifest.seeing_graph.inputs if t.name not in (*self._pipelines, self._words.input)]
        self.measured_tensors = [t for t in rest if t.slices]
        self.latent_tensors = [t for t in rest if t.interfaces]
        outside = not manifest.normalisation.inside_graph
        self._normalisers = {t.name: tensor_normaliser(t, bundle.stats) for t in self.measured_tensors} if outside else {}
        self._limits = {e.name: e for e in bundle.embodiments.values()}

    def measured(self, observation: Observation) -> dict[str, Array]:
        """Input -> (N, columns) measured, in SI units, of the observation and those before it.

        Raises:
            ObservationRefused: ``state_stale``, ``joint_names``, ``joint_limits``, ``history_short``.
        """
        seen = self._seen(observation)
        return {t.name: np.stack([np.concatenate([self.column(o, s) for s in t.slices]) for o in seen]) for t in self.measured_tensors}

    def network(self, observation: Observation, measured: Mapping[str, Array], previous: Mapping[str, Array]) -> Arrays:
        """All inputs, batch 1.

        Args:
            observation: pictures and words.
            measured: of ``measured``.
            previous: hand interface -> (chunk, dim) latents of the chunk before.

        Raises:
            ObservationRefused: ``camera_lost``, ``image_shape``, ``image_blank``, ``history_short``.
        """
        seen = self._seen(observation)
        out: Arrays = {self._words.input: tokenize(observation.instruction)}
        for image in self.pictures:
            out[image.input] = self._batch([self._pipelines[image.input](_picture(o, image)) for o in seen])
        for name, columns in measured.items():
            normalise = self._normalisers.get(name)
            out[name] = self._batch(list((normalise(columns) if normalise else columns).astype(np.float32)))
        for tensor in self.latent_tensors:
            out[tensor.name] = np.stack([previous[i] for i in tensor.interfaces]).astype(np.float32)[None]  # (1, hands, chunk, dim)
        return out

    def column(self, observation: Observation, s: Slice) -> Array:
        """(columns,) of one measured slice, in SI units. Raises ObservationRefused."""
        return _pose(observation, s) if s.space == "wrist_pose" else self._joints(observation, s)

    def _seen(self, observation: Observation) -> tuple[Observation, ...]:
        seen = (*observation.past, observation)
        if len(seen) != self._history:
            raise ObservationRefused(f"{len(seen)} observations in a row; the policy sees {self._history}", code="history_short")
        return seen

    def _batch(self, parts: list[NDArray]) -> NDArray:
        """(1, ...) of one, (1, N, ...) of several."""
        return np.ascontiguousarray(parts[0])[None] if self._history == 1 else np.stack(parts)[None]

    def _joints(self, observation: Observation, s: Slice) -> Array:
        state = observation.joints.get(s.interface)
        if state is None:
            raise ObservationRefused(f"no joint state of {s.interface}", code="state_stale")
        e = next(e for e in self._limits.values() if e.side == s.side and set(e.joints) == set(s.names))
        order = [e.joints.index(n) for n in s.names]
        return joints_in_order(state, s.column_names, np.array(e.lower_rad)[order], np.array(e.upper_rad)[order], s.interface)


def _picture(observation: Observation, image: ImageSpec) -> NDArray[np.uint8]:
    found = observation.images.get(image.camera)
    if found is None:
        raise ObservationRefused(f"no picture of camera {image.camera!r}; there are {sorted(observation.images)}", code="camera_lost")
    check_picture(found, (image.source_height, image.source_width), image.camera)
    return found


def _pose(observation: Observation, s: Slice) -> Array:
    pose = observation.poses.get(s.interface)
    if pose is None:
        raise ObservationRefused(f"no measured pose of the hand on {s.interface}", code="state_stale")
    return pose_columns(frozen_array(pose, (4, 4), f"measured pose of {s.interface}"))
