# SPDX-License-Identifier: Apache-2.0
"""What a dataset takes from a recording: pictures, measured joints, commands, and when which instruction was followed. The rest need not be whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dex_core.config import CellConfig
from dex_eval.bag import BagError, RawMessage, Recording
from dex_eval.episode import JOINT_STATE, TYPES, decode, image_stamp_ns, recorded_cell
from dex_eval.schemas import type_hash
from dex_msgs.msg import SafetyState
from dex_ros import names
from dex_ros.convert import chunk_from_msg, image_from_msg, time_from_msg

Stamps = NDArray[np.int64]
COMMANDS = "commands"


class Goal(NamedTuple):
    """An instruction, and when it was followed [ns]."""

    goal_id: str
    task: str
    begin_ns: int
    end_ns: int


class Joints(NamedTuple):
    """(k,) growing stamps [ns], (k, n) positions [rad]."""

    stamps_ns: Stamps
    position_rad: NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """One recording, read.

    Attributes:
        recording, cell: where it came from, as it was resolved then.
        stamps_ns: camera -> exposures of its pictures [ns].
        measured: interface -> its joints in the cell's order. commanded: all joints of the cell.
        goals: in order.
    """

    recording: Recording
    cell: CellConfig
    stamps_ns: dict[str, Stamps]
    measured: dict[str, Joints]
    commanded: Joints
    goals: list[Goal]

    @property
    def streams(self) -> dict[str, Stamps]:
        """Camera, interface, or ``commands`` -> its stamps."""
        return {**self.stamps_ns, **{name: joints.stamps_ns for name, joints in self.measured.items()}, COMMANDS: self.commanded.stamps_ns}

    def pictures(self, camera: str, picks: NDArray[np.intp]) -> Iterator[NDArray[np.uint8]]:
        """(H, W, 3) uint8 RGB of every pick, growing indices of the camera's pictures; each picture is decoded once."""
        wanted = dict(zip(*np.unique(picks, return_counts=True), strict=True))
        for number, message in enumerate(self.recording.messages(frozenset({_image_topic(self.recording, self.cell, camera)}))):
            if number in wanted:
                yield from itertools.repeat(image_from_msg(decode(message, TYPES[names.IMAGE])), int(wanted[number]))
            elif number > picks[-1]:
                return


def read_source(recording: Recording, task: str = "") -> Source:
    """Reads a recording.

    Args:
        recording: opened.
        task: instruction for the whole of it, instead of those of its goals.

    Raises:
        BagError: a topic is missing, of another type, or its stamps run backwards; nobody says what the task was.
    """
    cell = recorded_cell(recording)
    cameras = {_image_topic(recording, cell, name): name for name in cell.cameras}
    states = {_topic(recording, names.device_states(name)): name for name in cell.interfaces}
    command = _topic(recording, names.JOINT_COMMAND)
    recording.require(*cameras, *states, command)
    stamps: dict[str, list[int]] = {name: [] for name in cell.cameras}
    rows: dict[str, list[tuple[int, list[float]]]] = {name: [] for name in (*cell.interfaces, COMMANDS)}
    orders = {**{name: i.names for name, i in cell.interfaces.items()}, COMMANDS: cell.joint_names}
    for message in _typed(recording, {**dict.fromkeys(cameras, TYPES[names.IMAGE]), **dict.fromkeys(states, JOINT_STATE),
                                      command: TYPES[names.JOINT_COMMAND]}):
        if message.topic in cameras:
            stamps[cameras[message.topic]].append(image_stamp_ns(message))
            continue
        name = states.get(message.topic, COMMANDS)
        value = decode(message, TYPES[names.JOINT_COMMAND] if name == COMMANDS else JOINT_STATE)
        found = zip(value.names, value.positions, strict=False) if name == COMMANDS else zip(value.name, value.position, strict=False)
        row = dict(found)
        if name == COMMANDS and set(row) != set(orders[name]):
            continue  # the gate holds less than the whole cell: no action of the whole
        if set(row) != set(orders[name]):
            raise BagError(f"joint states of {name} name {list(row)}; the cell has {list(orders[name])}", code="type_unknown")
        rows[name].append((time_from_msg(value.header.stamp), [row[joint] for joint in orders[name]]))
    joints = {name: _joints(found, len(orders[name]), name) for name, found in rows.items()}
    exposures = {name: _growing(np.array(found, dtype=np.int64), f"pictures of camera {name}") for name, found in stamps.items()}
    return Source(recording, cell, exposures, {name: joints[name] for name in cell.interfaces}, joints[COMMANDS], _goals(recording, task))


def _goals(recording: Recording, task: str) -> list[Goal]:
    """When which instruction was followed: the gate's word for it, else the chunks'."""
    if task:
        return [Goal("", task, recording.first_ns, recording.last_ns)]
    status, safety = _topic(recording, names.POLICY_STATUS), _topic(recording, names.SAFETY_STATE)
    told: dict[str, str] = {}
    modes: list[tuple[str, int]] = []
    for message in _typed(recording, {status: TYPES[names.POLICY_STATUS], safety: TYPES[names.SAFETY_STATE]}):
        value: Any = decode(message, TYPES[names.POLICY_STATUS if message.topic == status else names.SAFETY_STATE])
        if message.topic == status:
            told.update({value.goal_id: value.instruction} if value.goal_id else {})
        else:
            modes.append((value.goal_id if value.mode == SafetyState.RUNNING else "", time_from_msg(value.header.stamp)))
    spans = _running(modes, recording.last_ns) or _chunks(recording)
    unsaid = [goal for goal, _, _ in spans if goal not in told]
    if not spans or unsaid:
        what = f"the instruction of goal {unsaid[0]!r}" if unsaid else "of any goal"
        raise BagError(f"{recording.path} does not tell {what}; give --task to take it as a whole", code="topic_missing")
    return [Goal(goal, told[goal], begin, end) for goal, begin, end in spans]


def _running(modes: list[tuple[str, int]], last_ns: int) -> list[tuple[str, int, int]]:
    """(goal, begin, end) of every stretch in which the gate followed a goal [ns]."""
    out: list[tuple[str, int, int]] = []
    goal, since = "", 0
    for now, stamp in [*modes, ("", last_ns)]:
        if now != goal:
            if goal:
                out.append((goal, since, stamp))
            goal, since = now, stamp
    return out


def _chunks(recording: Recording) -> list[tuple[str, int, int]]:
    """The same from the first chunk of a goal to the end of its last [ns]."""
    chunks = [chunk_from_msg(decode(m, TYPES[names.ACTION_CHUNK]))
              for m in _typed(recording, {_topic(recording, names.ACTION_CHUNK): TYPES[names.ACTION_CHUNK]})]
    groups = [(goal, list(found)) for goal, found in itertools.groupby(chunks, lambda chunk: chunk.goal_id)]
    return [(goal, found[0].stamp_ns, min(found[-1].time_of_step_ns(found[-1].steps), recording.last_ns)) for goal, found in groups]


def _typed(recording: Recording, topics: dict[str, str]) -> Iterator[RawMessage]:
    """Messages of topics whose types are those of this stack. Raises BagError ``type_unknown``."""
    for topic, wanted in topics.items():
        found, recorded, own = recording.types.get(topic, wanted), recording.type_hashes.get(topic, ""), type_hash(wanted)
        if found != wanted or recorded and own and recorded != own:
            raise BagError(f"{topic} was recorded as {found} {recorded[:15]}; here it is {wanted} {own[:15]}", code="type_unknown")
    return recording.messages(frozenset(topics))


def _joints(rows: list[tuple[int, list[float]]], width: int, name: str) -> Joints:
    stamps = _growing(np.array([stamp for stamp, _ in rows], dtype=np.int64), f"joints of {name}")
    return Joints(stamps, np.array([row for _, row in rows]).reshape(len(rows), width))


def _growing(stamps: Stamps, what: str) -> Stamps:
    if len(stamps) and (np.diff(stamps) < 0).any():
        back = int(np.argmax(np.diff(stamps) < 0))
        raise BagError(f"stamps of {what} run backwards by {(stamps[back] - stamps[back + 1]) * 1e-9:.3f} s", code="stamps_not_monotonic")
    if not len(stamps):
        raise BagError(f"nothing of {what} is of use", code="topic_missing")
    return stamps


def _topic(recording: Recording, name: str) -> str:
    namespace = recording.metadata.get("dex", {}).get("namespace", "/").rstrip("/")
    return f"{namespace}/{name}"


def _image_topic(recording: Recording, cell: CellConfig, camera: str) -> str:
    return _topic(recording, names.of_camera(names.IMAGE, cell.camera_scope(camera)))
