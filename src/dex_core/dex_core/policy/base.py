# SPDX-License-Identifier: Apache-2.0
"""What every policy is, local, remote or recorded: a spec, one verb, and words on what it knows, may move and how it fares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dex_core.decode.mounted import MountedHand
from dex_core.types import ActionChunk, Array, JointState

if TYPE_CHECKING:
    from dex_core.chunks import Committed


@dataclass(frozen=True)
class Observation:
    """Everything a policy may look at, collected around one stamp.

    Attributes:
        stamp_ns: wall-clock time of the first picture's exposure [ns]; the chunk will carry it.
        images: camera -> (H, W, 3) uint8 RGB as the cell's cameras publish it, each the one nearest to the stamp; the first camera of
            the policy's spec first.
        joints: interface -> measured joints, each the one nearest to the stamp.
        instruction: what the user asked for.
        poses: arm -> (4, 4) measured pose in ``world`` of the grasp frame of the hand it carries, at the same time as its joints.
        mounted: side -> the hand it carries; a policy that knows no hand is told so.
        image_stamps_ns: camera -> exposure of its picture [ns]; a camera that is not named was exposed at the stamp.
        past: observations before this one, oldest first, ``PolicySpec.history_dt_s`` apart; as many as the policy's history less one.
    """

    stamp_ns: int
    images: Mapping[str, NDArray[np.uint8]]
    joints: Mapping[str, JointState]
    instruction: str
    poses: Mapping[str, Array] = field(default_factory=dict)
    mounted: Mapping[str, MountedHand] = field(default_factory=dict)
    image_stamps_ns: Mapping[str, int] = field(default_factory=dict)
    past: tuple[Observation, ...] = ()

    def image_stamp_ns(self, camera: str) -> int:
        """When the picture of a camera was exposed [ns]."""
        return self.image_stamps_ns.get(camera, self.stamp_ns)


@dataclass(frozen=True)
class PolicySpec:
    """What a policy needs and gives.

    Attributes:
        name, bundle_hash, provider: which model, and what runs it.
        cameras: camera of the cell -> (height, width) of the pictures it expects [px]; the first one's exposure is the observation's stamp.
        joint_interfaces: interfaces whose measured joints it, or the poses below, need.
        action_interfaces: interfaces it moves.
        chunk: steps of a chunk. dt_s: time between them [s]. first_action_offset: steps from the stamp to action 0.
        instructions: sentences it was trained on.
        pose_interfaces: arms whose measured grasp-frame poses it needs.
        mounted_sides: sides of which it must be told the mounted hand.
        history: how many observations it sees at once, the newest included. history_dt_s: time between them [s].
        continues: it can begin a chunk with what is committed of the one before, and is told.
    """

    name: str
    bundle_hash: str
    provider: str
    cameras: Mapping[str, tuple[int, int]]
    joint_interfaces: tuple[str, ...]
    action_interfaces: tuple[str, ...]
    chunk: int
    dt_s: float
    first_action_offset: float
    instructions: tuple[str, ...]
    pose_interfaces: tuple[str, ...] = ()
    mounted_sides: tuple[str, ...] = ()
    history: int = 1
    history_dt_s: float = 0.0
    continues: bool = False


@dataclass(frozen=True)
class Prediction:
    """A chunk and how it came about.

    Attributes:
        chunk: with ``observed``, ``inference_started`` and ``inferred`` in its timing.
        inference_ms: of the network alone.
        flags: what was odd but allowed, e.g. ``chunk/left_arm outside its training range``.
        stamps_ns: stage of ChunkTiming -> wall-clock time of this host [ns], for the stages that only the policy knows, e.g. ``request_sent``,
            ``queued`` and ``received`` of a remote one.
    """

    chunk: ActionChunk
    inference_ms: float
    flags: tuple[str, ...] = ()
    stamps_ns: Mapping[str, int] = field(default_factory=dict)


@runtime_checkable
class Policy(Protocol):
    """Observation in, chunk out. One thread calls ``reset`` and ``infer``; the rest may be called from any."""

    spec: PolicySpec

    @property
    def hand_changes(self) -> int:
        """How often another hand than before was found mounted; 0 for a policy that knows its hands."""
        ...

    def check_instruction(self, instruction: str) -> str:
        """The sentence it will be taken for. Raises DexError ``instruction_invalid`` or ``instruction_unknown``."""
        ...

    def check_mounted(self, hand: MountedHand) -> None:
        """Raises DexError ``space_mismatch`` where the policy cannot move this hand."""
        ...

    def reset(self) -> None:
        """Forgets everything of the goal before; to be called when a goal begins."""
        ...

    def infer(self, observation: Observation, goal_id: str = "", sequence: int = 0, committed: Committed | None = None) -> Prediction:
        """The next chunk. Raises DexError with a reason code; its memory is then as before.

        Args:
            observation: whole and checked.
            goal_id, sequence: what the chunk will carry.
            committed: what of the chunk before will be executed until this one can arrive; policies that cannot condition on it ignore it.
        """
        ...

    def health(self) -> str | None:
        """None while it can infer; else why not, e.g. ``policy_lost: no answer of http://10.0.0.5:8080 for 3 s``. Returns at once."""
        ...

    def close(self) -> None:
        """Lets sessions and connections go; nothing is inferred afterwards. May be called twice."""
        ...
