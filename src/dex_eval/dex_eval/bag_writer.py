# SPDX-License-Identifier: Apache-2.0
"""Writes one MCAP recording as rosbag2 does, readable up to the last flush however the process ends."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from mcap.writer import CompressionType, Writer

from dex_core.errors import DexError
from dex_eval.schemas import ros2msg, type_hash

CHUNK_BYTES = 2 << 20
METADATA_PERIOD_S = 1.0
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
Qos = Mapping[str, Any]


class _PlainDumper(_DUMPER):  # type: ignore[misc, valid-type]
    """No anchors: rosbag2 reads plain YAML."""

    def ignore_aliases(self, data: object) -> bool:
        return True


class RecordingError(DexError):
    """A recording cannot be written; names the file and the cause."""

    code = "recorder_failed"


@dataclass
class _Topic:
    channel_id: int
    type_name: str
    qos: list[Qos]
    count: int = 0


@dataclass
class _Span:
    first_ns: int = 0
    last_ns: int = 0
    count: int = 0
    topics: dict[str, _Topic] = field(default_factory=dict)


class BagWriter:
    """A new recording folder with one ``.mcap`` and ``metadata.yaml``.

    Args:
        folder: must not exist; it is made. A recording is never overwritten.
        attachments: file name -> content, written first so that they survive.
        metadata: name -> key -> value, written first as well.

    Raises:
        RecordingError: the folder exists or cannot be made or written.
    """

    def __init__(self, folder: Path, attachments: Mapping[str, bytes] | None = None, metadata: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self.folder = folder
        self.path = folder / f"{folder.name}_0.mcap"
        self._span = _Span()
        self._schemas: dict[str, int] = {}
        self._metadata_s = -METADATA_PERIOD_S
        try:
            folder.mkdir(parents=True)
            self._file = self.path.open("xb")
        except FileExistsError as error:
            raise RecordingError(f"recording {folder} is there already and is never overwritten") from error
        except OSError as error:
            raise RecordingError(f"recording {folder} cannot be made: {error.strerror}") from error
        try:
            self._writer = Writer(self._file, chunk_size=CHUNK_BYTES, compression=CompressionType.LZ4)
            self._writer.start(profile="ros2", library="dex_eval")
            for name, data in (attachments or {}).items():
                media = "application/yaml" if name.endswith((".yaml", ".yml")) else "application/octet-stream"
                self._writer.add_attachment(0, 0, name, media, data)
            for name, values in (metadata or {}).items():
                self._writer.add_metadata(name, dict(values))
            self.flush()
        except OSError as error:
            raise self._failed(error) from error

    @property
    def message_count(self) -> int:
        """Messages written so far."""
        return self._span.count

    def has_topic(self, name: str) -> bool:
        """True once ``add_topic`` was called for it."""
        return name in self._span.topics

    def add_topic(self, name: str, type_name: str, qos: list[Qos]) -> None:
        """Declares a topic with the QoS its publishers offer (rosbag2's field names)."""
        if type_name not in self._schemas:
            self._schemas[type_name] = self._writer.register_schema(type_name, "ros2msg", ros2msg(type_name).encode())
        metadata = {
            "offered_qos_profiles": yaml.dump([dict(q) for q in qos], Dumper=_PlainDumper, sort_keys=False),
            "topic_type_hash": type_hash(type_name),
        }
        channel_id = self._writer.register_channel(name, "cdr", self._schemas[type_name], metadata)
        self._span.topics[name] = _Topic(channel_id, type_name, qos)

    def write(self, topic: str, data: bytes, log_ns: int, publish_ns: int) -> None:
        """Appends one serialized message. Raises RecordingError when the disk refuses."""
        entry, span = self._span.topics[topic], self._span
        try:
            self._writer.add_message(entry.channel_id, log_ns, data, publish_ns, entry.count)
        except OSError as error:
            raise self._failed(error) from error
        entry.count += 1
        span.first_ns = min(span.first_ns, log_ns) if span.count else log_ns
        span.last_ns = max(span.last_ns, log_ns)
        span.count += 1

    def flush(self) -> None:
        """Ends the chunk and brings it to the operating system; metadata.yaml follows at most a second later."""
        try:
            self._writer.flush()
            if time.monotonic() - self._metadata_s > METADATA_PERIOD_S:
                self._write_metadata()
        except OSError as error:
            raise self._failed(error) from error

    def _write_metadata(self) -> None:
        self._metadata_s = time.monotonic()
        temporary = self.folder / ".metadata.yaml.part"
        temporary.write_text(self.metadata_yaml(), encoding="utf-8")
        os.replace(temporary, self.folder / "metadata.yaml")

    def close(self) -> None:
        """Writes the index and closes; the recording is whole then."""
        try:
            self._writer.flush()
            self._writer.add_metadata("rosbag2", {"serialized_metadata": self.metadata_yaml()})
            self._writer.finish()
            self._file.close()
            self._write_metadata()
        except OSError as error:
            raise self._failed(error) from error

    def abandon(self) -> None:
        """After a failure: closes the file as it is."""
        try:
            self._file.close()
        except OSError:
            return  # what could not be written is lost; what was flushed stays readable

    def _failed(self, error: OSError) -> RecordingError:
        return RecordingError(f"recording {self.path} stopped after {self._span.count} messages: {error.strerror}")

    def metadata_yaml(self) -> str:
        """metadata.yaml of rosbag2, version 9 (Jazzy)."""
        span = self._span
        start = {"nanoseconds_since_epoch": span.first_ns}
        duration = {"nanoseconds": span.last_ns - span.first_ns}
        topics = [
            {"topic_metadata": {"name": name, "type": t.type_name, "serialization_format": "cdr",
                                "offered_qos_profiles": [dict(q) for q in t.qos], "type_description_hash": type_hash(t.type_name)},
             "message_count": t.count}
            for name, t in span.topics.items()
        ]
        information = {
            "version": 9, "storage_identifier": "mcap", "duration": duration, "starting_time": start, "message_count": span.count,
            "topics_with_message_count": topics, "compression_format": "", "compression_mode": "", "relative_file_paths": [self.path.name],
            "files": [{"path": self.path.name, "starting_time": start, "duration": duration, "message_count": span.count}],
            "custom_data": None, "ros_distro": os.environ.get("ROS_DISTRO", "jazzy"),
        }
        return yaml.dump({"rosbag2_bagfile_information": information}, Dumper=_PlainDumper, sort_keys=False)
