# SPDX-License-Identifier: Apache-2.0
"""A recording as values: what was measured, commanded, predicted and reported, and the pictures the policy saw."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dex_core.config import CellConfig, load_cell
from dex_core.types import ActionChunk, Array
from dex_eval.bag import BagError, RawMessage, Recording
from dex_eval.versions import reader
from dex_ros import names
from dex_ros.convert import chunk_from_msg, image_from_msg, time_from_msg

TYPES = {
    names.JOINT_COMMAND: "dex_msgs/msg/JointCommand",
    names.ACTION_CHUNK: "dex_msgs/msg/ActionChunk",
    names.DECODED_CHUNK: "dex_msgs/msg/ActionChunk",
    names.CHUNK_REPORT: "dex_msgs/msg/ChunkReport",
    names.CHUNK_LATENCY: "dex_msgs/msg/ChunkLatency",
    names.COMMAND_REPORT: "dex_msgs/msg/CommandReport",
    names.POLICY_STATUS: "dex_msgs/msg/PolicyStatus",
    names.SAFETY_STATE: "dex_msgs/msg/SafetyState",
    names.TASK_STATE: "dex_msgs/msg/TaskState",
    names.IMAGE: "sensor_msgs/msg/Image",
}
JOINT_STATE = "sensor_msgs/msg/JointState"
_CDR_LITTLE_ENDIAN = 1


class RecordedPicture(NamedTuple):
    """One picture: camera, exposure and time of reception [ns], and how to read its (H, W, 3) uint8 RGB."""

    camera: str
    stamp_ns: int
    received_ns: int
    read: Callable[[], NDArray[np.uint8]]


@dataclass
class Track:
    """Joints over time: ``stamp_ns`` (k,) growing, ``position_rad`` (k, n) in the order of ``names``."""

    names: tuple[str, ...]
    stamp_ns: NDArray[np.int64]
    position_rad: Array

    def at(self, stamp_ns: NDArray[np.int64]) -> Array:
        """Linear interpolation at (m,) stamps -> (m, n) [rad]; NaN outside the track."""
        out = np.full((len(stamp_ns), len(self.names)), np.nan)
        if len(self.stamp_ns) < 2:
            return out
        origin = self.stamp_ns[0]
        known, wanted = (self.stamp_ns - origin) * 1e-9, (np.asarray(stamp_ns) - origin) * 1e-9
        for j in range(len(self.names)):
            out[:, j] = np.interp(wanted, known, self.position_rad[:, j], left=np.nan, right=np.nan)
        return out


@dataclass
class Episode:
    """One recording, loaded.

    Attributes:
        recording: where it came from. cell: as it was resolved then.
        states: interface -> received (log time [ns], JointState message), in order of arrival.
        measured, commanded: all joints of the cell over time.
        chunks: as published by the policy; decoded: (goal, sequence) -> hand slices in joint_position.
        chunk_reports, chunk_latencies, command_reports, safety, tasks: messages.
        instructions: goal id -> sentence. bundle_hash: of the policy that ran.
    """

    recording: Recording
    cell: CellConfig
    states: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)
    measured: Track = None  # type: ignore[assignment]
    commanded: Track = None  # type: ignore[assignment]
    chunks: list[ActionChunk] = field(default_factory=list)
    decoded: dict[tuple[str, int], list[ActionChunk]] = field(default_factory=dict)
    chunk_reports: list[Any] = field(default_factory=list)
    chunk_latencies: list[Any] = field(default_factory=list)
    command_reports: list[Any] = field(default_factory=list)
    safety: list[Any] = field(default_factory=list)
    tasks: list[Any] = field(default_factory=list)
    instructions: dict[str, str] = field(default_factory=dict)
    image_stamps_ns: list[int] = field(default_factory=list)

    def topic(self, name: str) -> str:
        """Full name, under the namespace of the recorded cell."""
        namespace = self.recording.metadata.get("dex", {}).get("namespace", "/").rstrip("/")
        return name if name.startswith("/") else f"{namespace}/{name}"

    def pictures(self, cameras: Iterable[str]) -> Iterator[RecordedPicture]:
        """The pictures of some of the cell's cameras, in order of the recording. Raises BagError where a camera's topic is missing."""
        topics = {self.topic(names.of_camera(names.IMAGE, self.cell.camera_scope(camera))): camera for camera in cameras}
        self.recording.require(*topics)
        for message in self.recording.messages(frozenset(topics)):
            yield RecordedPicture(topics[message.topic], image_stamp_ns(message), message.log_ns, partial(_pixels, message))


def _pixels(message: RawMessage) -> NDArray[np.uint8]:
    return image_from_msg(decode(message, TYPES[names.IMAGE]))


def load_episode(recording: Recording, cell: CellConfig | None = None) -> Episode:
    """Loads a recording.

    Args:
        recording: opened.
        cell: None takes the cell in the recording.

    Raises:
        BagError: a topic is missing, of another type, or its stamps run backwards.
    """
    episode = Episode(recording, cell or recorded_cell(recording))
    states = {episode.topic(names.device_states(interface)): interface for interface in episode.cell.interfaces}
    recording.require(episode.topic(names.IMAGE), *states)
    episode.states = {interface: [] for interface in episode.cell.interfaces}
    check_types(episode, {episode.topic(name): kind for name, kind in TYPES.items()} | dict.fromkeys(states, JOINT_STATE))
    commands: list[Any] = []
    short = {episode.topic(name): name for name in TYPES}
    for message in recording.messages(frozenset({*short, *states})):
        if message.topic in states:
            episode.states[states[message.topic]].append((message.log_ns, decode(message, JOINT_STATE)))
        else:
            _sort_in(episode, short[message.topic], message, commands)
    _check_monotonic(episode)
    episode.measured = _measured_track(episode)
    episode.commanded = _command_track(episode.cell, commands)
    return episode


def _sort_in(episode: Episode, name: str, message: RawMessage, commands: list[Any]) -> None:
    if name == names.IMAGE:
        episode.image_stamps_ns.append(image_stamp_ns(message))
        return
    value = decode(message, TYPES[name])
    if name == names.JOINT_COMMAND:
        commands.append(value)
    elif name == names.ACTION_CHUNK:
        episode.chunks.append(chunk_from_msg(value))
    elif name == names.DECODED_CHUNK:
        chunk = chunk_from_msg(value)
        episode.decoded.setdefault((chunk.goal_id, chunk.sequence), []).append(chunk)
    elif name == names.POLICY_STATUS:
        if value.goal_id:
            episode.instructions[value.goal_id] = value.instruction
    else:
        {names.CHUNK_REPORT: episode.chunk_reports, names.CHUNK_LATENCY: episode.chunk_latencies, names.COMMAND_REPORT: episode.command_reports,
         names.SAFETY_STATE: episode.safety, names.TASK_STATE: episode.tasks}[name].append(value)


def decode(message: RawMessage, type_name: str) -> Any:
    """Serialized bytes, of whatever version of the type -> message. Raises BagError when they do not fit the type."""
    try:
        return reader(type_name, message.type_hash, message.definition)(message.data)
    except BagError:
        raise
    except Exception as error:  # noqa: BLE001 - of a broken recording, whatever its decoder meets
        raise BagError(f"a message on {message.topic} does not decode as {type_name}: {error}") from error


def image_stamp_ns(message: RawMessage) -> int:
    """header.stamp of a serialized message that begins with a header, without decoding the rest [ns]."""
    if len(message.data) < 12 or message.data[1] != _CDR_LITTLE_ENDIAN:
        raise BagError(f"a message on {message.topic} has no little-endian CDR header")
    seconds, nanoseconds = np.frombuffer(message.data, dtype="<u4", count=2, offset=4)
    return int(seconds) * 10**9 + int(nanoseconds)


def recorded_cell(recording: Recording) -> CellConfig:
    """The resolved cell inside the recording. Raises BagError when there is none."""
    data = recording.attachments.get("cell.yaml")
    if data is None:
        raise BagError(f"{recording.path} holds no cell.yaml; name the cell it was recorded with by --cell", code="bag_missing")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cell.yaml"
        path.write_bytes(data)
        return load_cell(path)


def check_types(episode: Episode, expected: dict[str, str]) -> None:
    """Raises BagError ``type_unknown`` for a topic (full name) that was recorded as another type. Another version of it is read as today's."""
    for topic, type_name in expected.items():
        found = episode.recording.types.get(topic)
        if found not in (None, type_name):
            raise BagError(f"{topic} was recorded as {found}; here it is {type_name}", code="type_unknown")


def _check_monotonic(episode: Episode) -> None:
    tracks = {f"{interface} joint_states": [time_from_msg(m.header.stamp) for _, m in found] for interface, found in episode.states.items()}
    tracks["camera"] = episode.image_stamps_ns
    for name, stamps in tracks.items():
        back = next((i for i in range(1, len(stamps)) if stamps[i] < stamps[i - 1]), None)
        if back is not None:
            raise BagError(
                f"stamps of {name} run backwards by {(stamps[back - 1] - stamps[back]) * 1e-9:.3f} s at message {back}", code="stamps_not_monotonic"
            )


def _measured_track(episode: Episode) -> Track:
    """All interfaces on the stamps of the first one."""
    parts = []
    for interface, found in episode.states.items():
        order = episode.cell.interface(interface).names
        stamps = np.array([time_from_msg(m.header.stamp) for _, m in found], dtype=np.int64)
        rows = []
        for _, message in found:
            if sorted(message.name) != sorted(order) or len(message.position) != len(order):
                raise BagError(f"joint states of {interface} name {list(message.name)}; the cell has {list(order)}")
            position = dict(zip(message.name, message.position, strict=True))
            rows.append([position[n] for n in order])
        parts.append(Track(order, stamps, np.array(rows)))
    stamps = parts[0].stamp_ns
    return Track(episode.cell.joint_names, stamps, np.concatenate([p.at(stamps) for p in parts], axis=1))


def _command_track(cell: CellConfig, commands: list[Any]) -> Track:
    order = cell.joint_names
    stamps, rows = [], []
    for message in commands:
        position = dict(zip(message.names, message.positions, strict=False))
        if set(position) == set(order):
            stamps.append(time_from_msg(message.header.stamp))
            rows.append([position[n] for n in order])
    return Track(order, np.array(stamps, dtype=np.int64), np.array(rows).reshape(len(rows), len(order)))
