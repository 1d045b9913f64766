# SPDX-License-Identifier: Apache-2.0
"""What every policy is: two methods and a spec. Local, remote and recorded policies are the same to their caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dex_core.decode.mounted import MountedHand
from dex_core.types import ActionChunk, Array, JointState


@dataclass(frozen=True)
class Observation:
    """Everything a policy may look at, collected around one stamp.

    Attributes:
        stamp_ns: wall-clock time of the picture's exposure [ns]; the chunk will carry it.
        image: (H, W, 3) uint8 RGB as the camera publishes it.
        joints: interface -> measured joints, each the one nearest to the stamp.
        instruction: what the user asked for.
        poses: arm -> (4, 4) measured pose in ``world`` of the grasp frame of the hand it carries, at the same time as its joints.
        mounted: side -> the hand it carries; a policy that knows no hand is told so.
    """

    stamp_ns: int
    image: NDArray[np.uint8]
    joints: Mapping[str, JointState]
    instruction: str
    poses: Mapping[str, Array] = field(default_factory=dict)
    mounted: Mapping[str, MountedHand] = field(default_factory=dict)


@dataclass(frozen=True)
class PolicySpec:
    """What a policy needs and gives.

    Attributes:
        name, bundle_hash, provider: which model, and what runs it.
        image_hw: (height, width) of the pictures it expects [px].
        joint_interfaces: interfaces whose measured joints it, or the poses below, need.
        action_interfaces: interfaces it moves.
        chunk: steps of a chunk. dt_s: time between them [s]. first_action_offset: steps from the stamp to action 0.
        instructions: sentences it was trained on.
        pose_interfaces: arms whose measured grasp-frame poses it needs.
        mounted_sides: sides of which it must be told the mounted hand.
    """

    name: str
    bundle_hash: str
    provider: str
    image_hw: tuple[int, int]
    joint_interfaces: tuple[str, ...]
    action_interfaces: tuple[str, ...]
    chunk: int
    dt_s: float
    first_action_offset: float
    instructions: tuple[str, ...]
    pose_interfaces: tuple[str, ...] = ()
    mounted_sides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """A chunk and how it came about.

    Attributes:
        chunk: with ``observed``, ``inference_started`` and ``inferred`` in its timing.
        inference_ms: of the network alone.
        flags: what was odd but allowed, e.g. ``chunk/left_arm outside its training range``.
    """

    chunk: ActionChunk
    inference_ms: float
    flags: tuple[str, ...] = ()


@runtime_checkable
class Policy(Protocol):
    """Observation in, chunk out."""

    spec: PolicySpec

    def reset(self) -> None:
        """Forgets everything of the goal before; to be called when a goal begins."""
        ...

    def infer(self, observation: Observation, goal_id: str = "", sequence: int = 0) -> Prediction:
        """The next chunk. Raises DexError with a reason code; its memory is then as before."""
        ...
