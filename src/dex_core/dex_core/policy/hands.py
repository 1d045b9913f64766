# SPDX-License-Identifier: Apache-2.0
"""What a policy keeps of the hands: which are mounted, and the latents of the chunk before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dex_core.bundle.load import Bundle
from dex_core.bundle.space import check_mounted
from dex_core.decode.latent import LatentDecoder
from dex_core.decode.mounted import MountedHand
from dex_core.errors import BundleError
from dex_core.policy.base import Observation
from dex_core.policy.observation import ObservationRefused, joints_in_order
from dex_core.types import ActionSlice, Array


class HandLatents:
    """Latents of hands in one space. A hand's first ones are its encoded measured joints; another hand starts anew.

    Args:
        space: the latent space.
        interfaces: hands whose latents are kept.
        steps: of a chunk.

    Attributes:
        changes: how often another hand was found mounted.
    """

    def __init__(self, space: Bundle, interfaces: Sequence[str], steps: int) -> None:
        self._space, self._interfaces, self._steps = space, tuple(interfaces), steps
        self._encoders: dict[str, LatentDecoder] = {}
        self._mounted: dict[str, MountedHand] = {}
        self._previous: dict[str, Array] = {}
        self.changes = 0

    def reset(self) -> None:
        """Forgets the latents."""
        self._previous = {}

    def check(self, hand: MountedHand) -> None:
        """Raises ObservationRefused ``space_mismatch`` unless the space holds the very graph that decodes this hand."""
        try:
            check_mounted(self._space, hand)
        except BundleError as error:
            raise ObservationRefused(str(error), code=error.code) from error

    def follow(self, mounted: Mapping[str, MountedHand]) -> None:
        """Takes what is mounted now; latents of a hand that is no longer there are forgotten.

        Raises:
            ObservationRefused: ``hand_unknown``, nobody has told which hand a side carries; ``space_mismatch``.
        """
        for interface in self._interfaces:
            side = interface.split("_", 1)[0]
            hand = mounted.get(side)
            if hand is None:
                raise ObservationRefused(f"no decoder has told which hand is mounted on the {side} side", code="hand_unknown")
            if hand == self._mounted.get(side):
                continue
            self.check(hand)
            self.changes += side in self._mounted
            self._encoders[interface] = LatentDecoder(self._space, hand.embodiment)
            self._mounted[side] = hand
            self._previous.pop(interface, None)

    def previous(self, interface: str, observation: Observation) -> Array:
        """(steps, dim) latents of the chunk before; without one, the measured joints encoded. Raises ObservationRefused."""
        kept = self._previous.get(interface)
        return self._encode_measured(observation, interface) if kept is None else kept

    def keep(self, slices: Sequence[ActionSlice]) -> None:
        """Remembers the latents of a chunk."""
        self._previous = {part.interface: part.data for part in slices if part.space == "latent"}

    def _encode_measured(self, observation: Observation, interface: str) -> Array:
        encoder = self._encoders[interface]
        state = observation.joints.get(interface)
        if state is None:
            raise ObservationRefused(f"no joint state of {interface}", code="state_stale")
        names = tuple(f"{interface.split('_', 1)[0]}_{j}" for j in encoder.joints)
        q = joints_in_order(state, names, encoder.lower_rad, encoder.upper_rad, interface)
        latent = self._space.manifest.spaces.latent
        assert latent is not None  # the kind's manifest check
        return np.repeat(encoder.encode(np.repeat(q[None], latent.frames, axis=0)), self._steps, axis=0)
