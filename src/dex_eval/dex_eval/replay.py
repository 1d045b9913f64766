# SPDX-License-Identifier: Apache-2.0
"""Feeds a recording to a policy through the very code that runs on the robot: observation, policy, decoder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from dex_core.chunks.mixing import ChunkEnsemble
from dex_core.config import CellConfig
from dex_core.decode import MountedHand, SideDecoder
from dex_core.decode.side import DECODED
from dex_core.errors import DexError
from dex_core.policy import Observation, ObservationBuilder, Policy, PolicySpec, check_observation, stream_digests
from dex_core.policy.runtime import load_decoding_space, load_side_decoder
from dex_core.types import ActionChunk, Array, index_map
from dex_eval.bag import BagError
from dex_eval.episode import Episode
from dex_ros.convert import joint_state_from_msg, time_from_msg


@dataclass(frozen=True)
class Instant:
    """One moment at which the policy is asked.

    Attributes:
        stamp_ns: exposure of the picture [ns]. goal_id, sequence, instruction: as recorded.
        known_ns: what was received later than this the policy could not know [ns].
        digests: of the observation the live policy saw, by stream; none where they were not recorded.
    """

    stamp_ns: int
    goal_id: str
    sequence: int
    instruction: str
    known_ns: int
    digests: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Predicted:
    """What the policy gives at one instant.

    Attributes:
        instant: when it was asked.
        position_rad: (T, n) decoded joints in the cell's order; start_ns: time of step 0; dt_s: step.
        inference_ms, decode_ms: of this replay.
        refused: reason code when it gave nothing; position_rad is empty then.
        digests: of the observation that was put together, by stream; none where there was none.
    """

    instant: Instant
    position_rad: Array
    start_ns: int
    dt_s: float
    inference_ms: float
    decode_ms: float
    refused: str = ""
    digests: dict[str, int] = field(default_factory=dict)


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
                c.stamp_ns, c.goal_id, c.sequence, instruction or _instruction(episode, c),
                c.timing_ns.get("observation_ready") or c.stamp_ns + 10**8, c.stream_digests,
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
    spec, cell = policy.spec, episode.cell
    sides = [name.split("_", 1)[0] for name in spec.action_interfaces if name.endswith("_hand")]
    space = load_decoding_space(cell) if sides else None
    decoders = {side: load_side_decoder(cell, side, space) for side in sides}
    told = {side: d.mounted for side, d in decoders.items() if side in spec.mounted_sides and d.mounted is not None}
    seen, ensemble = _Seen(episode, spec, told), ChunkEnsemble(cell.policy.ensemble)
    goal: str | None = None
    for instant in seen.reached(instants):
        if instant.goal_id != goal:
            policy.reset()
            ensemble.clear()
            goal = instant.goal_id
        yield _predict(cell, policy, ensemble, decoders, instant, seen)


class _Seen:
    """The recording as the policy node saw it: streams, and observations put together by the node's own builder."""

    def __init__(self, episode: Episode, spec: PolicySpec, told: dict[str, MountedHand]) -> None:
        self._episode, self._spec = episode, spec
        self._builder = ObservationBuilder(episode.cell, spec)
        self._builder.mounted = told
        body = replace(spec, cameras={}, pose_interfaces=(), history=1, joint_interfaces=tuple(episode.cell.interfaces))
        self._body = ObservationBuilder(episode.cell, body)
        self._states = {name: iter(found) for name, found in episode.states.items()}
        self._next = {name: next(found, None) for name, found in self._states.items()}

    def reached(self, instants: list[Instant]) -> Iterator[Instant]:
        """The instants whose picture is there, each when everything that was known to it has been taken."""
        first, wanted = next(iter(self._spec.cameras)), {instant.stamp_ns: instant for instant in instants}
        waiting: list[Instant] = []
        for picture in self._episode.pictures(self._spec.cameras):
            while waiting and picture.received_ns > waiting[0].known_ns:
                yield waiting.pop(0)
            self._builder.add_picture(picture.camera, picture.stamp_ns, picture.read, picture.received_ns)
            if picture.camera == first and picture.stamp_ns in wanted:
                waiting.append(wanted[picture.stamp_ns])
        yield from waiting

    def observation(self, instant: Instant) -> Observation:
        """What the policy saw. Raises ObservationRefused, as live."""
        self._take_states(instant.known_ns)
        seen = self._builder.build(instant.stamp_ns, instant.instruction, instant.known_ns)
        check_observation(seen, self._spec, instant.known_ns, self._episode.cell.policy)
        return seen

    def joints(self, interface: str, instant: Instant) -> Array:
        """Measured joints of an interface in the order of its names. Raises DexError ``state_stale``, ``joint_names``."""
        state = self._body.build(instant.stamp_ns, known_ns=instant.known_ns).joints.get(interface)
        if state is None:
            raise DexError(f"no joint state of {interface}", code="state_stale")
        return state.position_rad[index_map(state.names, self._episode.cell.interface(interface).names, f"joint state of {interface}")]

    def _take_states(self, known_ns: int) -> None:
        for name, found in self._states.items():
            while (state := self._next[name]) is not None and state[0] <= known_ns:
                received_ns, message = state
                stamp_ns, read = time_from_msg(message.header.stamp), partial(joint_state_from_msg, message)
                for builder in (self._builder, self._body) if name in self._spec.joint_interfaces else (self._body,):
                    builder.add_state(name, stamp_ns, read, received_ns)
                self._next[name] = next(found, None)


def _predict(
    cell: CellConfig, policy: Policy, ensemble: ChunkEnsemble, decoders: dict[str, SideDecoder], instant: Instant, seen: _Seen,
) -> Predicted:
    digests: dict[str, int] = {}
    try:
        observation = seen.observation(instant)
        digests = stream_digests(observation)
        prediction = policy.infer(observation, instant.goal_id, instant.sequence)
        started = time.perf_counter()
        chunk = ensemble.add(prediction.chunk)
        parts = {s.interface: s for s in chunk.slices if s.space == DECODED}
        for decoder in decoders.values():
            decoded = decoder.decode(chunk, lambda name: seen.joints(name, instant))
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
            digests=digests,
        )
    except DexError as error:
        nothing = np.zeros((0, len(cell.joint_names)))
        return Predicted(instant, nothing, instant.stamp_ns, 1.0, float("nan"), float("nan"), error.code, digests)
