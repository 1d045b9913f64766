# SPDX-License-Identifier: Apache-2.0
"""Feeds a recording to a policy through the very code that runs on the robot: observation, policy, decoder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dex_core.config import CellConfig
from dex_core.decode import MountedHand, SideDecoder
from dex_core.decode.side import DECODED
from dex_core.errors import DexError
from dex_core.policy import MeasuredPoses, Observation, Policy
from dex_core.policy.runtime import load_side_decoder
from dex_core.types import ActionChunk, Array, JointState, index_map
from dex_eval.bag import BagError
from dex_eval.episode import Episode
from dex_ros.convert import joint_state_from_msg, time_from_msg


@dataclass(frozen=True)
class Instant:
    """One moment at which the policy is asked.

    Attributes:
        stamp_ns: exposure of the picture [ns]. goal_id, sequence, instruction: as recorded.
        known_ns: what was received later than this the policy could not know [ns].
    """

    stamp_ns: int
    goal_id: str
    sequence: int
    instruction: str
    known_ns: int


@dataclass(frozen=True)
class Predicted:
    """What the policy gives at one instant.

    Attributes:
        instant: when it was asked.
        position_rad: (T, n) decoded joints in the cell's order; start_ns: time of step 0; dt_s: step.
        inference_ms, decode_ms: of this replay.
        refused: reason code when it gave nothing; position_rad is empty then.
    """

    instant: Instant
    position_rad: Array
    start_ns: int
    dt_s: float
    inference_ms: float
    decode_ms: float
    refused: str = ""


def instants_of(episode: Episode, instruction: str = "") -> list[Instant]:
    """The instants the recorded policy used; without recorded chunks every replan period.

    Args:
        episode: loaded.
        instruction: replaces the recorded one; needed where the recording names none.

    Raises:
        BagError: nobody says what the task was.
    """
    if not episode.chunks and not instruction:
        raise BagError("the recording holds no action_chunk; give --instruction to evaluate a policy on its pictures", code="topic_missing")
    if episode.chunks:
        return [
            Instant(
                c.stamp_ns, c.goal_id, c.sequence, instruction or _instruction(episode, c), c.timing_ns.get("observation_ready") or c.stamp_ns + 10**8
            )
            for c in episode.chunks
        ]
    period_ns = round(episode.cell.policy.replan_period_s * 1e9)
    chosen: list[int] = []
    for stamp in episode.image_stamps_ns:
        if not chosen or stamp - chosen[-1] >= period_ns:
            chosen.append(stamp)
    return [Instant(stamp, "offline", number, instruction, stamp + 10**8) for number, stamp in enumerate(chosen)]


def _instruction(episode: Episode, chunk: ActionChunk) -> str:
    if chunk.goal_id not in episode.instructions:
        raise BagError(f"the recording does not say the instruction of goal {chunk.goal_id!r}; give --instruction", code="topic_missing")
    return episode.instructions[chunk.goal_id]


def replay(episode: Episode, policy: Policy, instants: list[Instant]) -> Iterator[Predicted]:
    """Asks the policy at every instant whose picture is in the recording; a new goal resets it first."""
    sides = [name.split("_", 1)[0] for name in policy.spec.action_interfaces if name.endswith("_hand")]
    decoders = {side: load_side_decoder(episode.cell, side) for side in sides}
    told = {side: d.mounted for side, d in decoders.items() if side in policy.spec.mounted_sides and d.mounted is not None}
    measured = MeasuredPoses(episode.cell, policy.spec.pose_interfaces)
    wanted = {instant.stamp_ns: instant for instant in instants}
    states = {interface: _States(found) for interface, found in episode.states.items()}
    goal: str | None = None
    camera = next(iter(policy.spec.cameras))
    for stamp_ns, image in episode.pictures(set(wanted)):
        instant = wanted[stamp_ns]
        if instant.goal_id != goal:
            policy.reset()
            goal = instant.goal_id
        joints = {name: state for name in episode.cell.interfaces if (state := states[name].nearest(stamp_ns, instant.known_ns)) is not None}
        seen = Observation(stamp_ns, {camera: image}, joints, instant.instruction)
        yield _predict(episode.cell, policy, decoders, instant, seen, _Body(measured, told))


class _Body(NamedTuple):
    """What a policy is told of arms and hands besides their joints."""

    measured: MeasuredPoses
    mounted: dict[str, MountedHand]


def _predict(
    cell: CellConfig, policy: Policy, decoders: dict[str, SideDecoder], instant: Instant, observation: Observation, body: _Body,
) -> Predicted:
    try:
        prediction = policy.infer(body.measured.complete(observation, body.mounted), instant.goal_id, instant.sequence)
        started = time.perf_counter()
        chunk = prediction.chunk
        parts = {s.interface: s for s in chunk.slices if s.space == DECODED}
        for decoder in decoders.values():
            decoded = decoder.decode(chunk, lambda name: _in_order(cell, name, observation))
            parts.update({s.interface: s for s in (decoded.slices if decoded else ())})
        columns = []
        for name, interface in cell.interfaces.items():
            if name not in parts:
                raise DexError(f"the policy does not move {name}", code="incomplete")
            columns.append(parts[name].data[:, [parts[name].names.index(n) for n in interface.names]])
        return Predicted(
            instant,
            np.concatenate(columns, axis=1),
            chunk.time_of_step_ns(0),
            chunk.dt_s,
            prediction.inference_ms,
            (time.perf_counter() - started) * 1e3,
        )
    except DexError as error:
        return Predicted(instant, np.zeros((0, len(cell.joint_names))), instant.stamp_ns, 1.0, float("nan"), float("nan"), error.code)


def _in_order(cell: CellConfig, name: str, observation: Observation) -> Array:
    """Measured joints of an interface in the order of its names. Raises DexError ``state_stale``, ``joint_names``."""
    state = observation.joints.get(name)
    if state is None:
        raise DexError(f"no joint state of {name}", code="state_stale")
    return state.position_rad[index_map(state.names, cell.interface(name).names, f"joint state of {name}")]


class _States:
    """Received joint states of one interface; converts only those that are asked for."""

    def __init__(self, found: list[tuple[int, object]]) -> None:
        self._messages = [message for _, message in found]
        self._received_ns = np.array([received for received, _ in found], dtype=np.int64)
        self._stamps_ns = np.array([time_from_msg(message.header.stamp) for message in self._messages], dtype=np.int64)  # type: ignore[attr-defined]

    def nearest(self, stamp_ns: int, known_ns: int) -> JointState | None:
        """The state nearest to ``stamp_ns`` among those received by ``known_ns``."""
        known = np.flatnonzero(self._received_ns <= known_ns)
        if not len(known):
            return None
        return joint_state_from_msg(self._messages[known[np.argmin(np.abs(self._stamps_ns[known] - stamp_ns))]])
