# SPDX-License-Identifier: Apache-2.0
"""Reads an MCAP recording in file order, also one that was cut off; everything wrong with it has a name."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from mcap.exceptions import EndOfFile, InvalidMagic, McapError
from mcap.records import Attachment, Channel, Chunk, Footer, Message, Metadata, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from zstandard import ZstdError

from dex_core.errors import DexError

MAX_RECORD_BYTES = 256 << 20
_CUT = (EndOfFile, struct.error, EOFError)


class BagError(DexError):
    """A recording cannot be used. ``code``: bag_missing, bag_not_mcap, bag_corrupt, bag_truncated, bag_empty, topic_missing,
    type_unknown, stamps_not_monotonic."""

    code = "bag_corrupt"


@dataclass(frozen=True)
class RawMessage:
    """One serialized message: topic, type, bytes, when it was sent [ns], and what tells the version of its type: RIHS01 hash, definition."""

    topic: str
    type_name: str
    data: bytes
    log_ns: int
    type_hash: str = ""
    definition: bytes = b""


class Recording:
    """One recording, read from its beginning on every pass.

    Args:
        path: the folder that ``ros2 bag`` would take, or an ``.mcap`` file. metadata.yaml is not needed.

    Attributes:
        attachments: file name -> content. metadata: name -> key -> value. type_hashes: topic -> RIHS01 hash.
        offered_qos: topic -> QoS of its publishers. counts: topic -> messages. types: topic -> type. truncated: the end was cut off (power, SIGKILL).
        first_ns, last_ns: span of send times [ns].

    Raises:
        BagError: not there, not MCAP, damaged in its middle, or without a single message.
    """

    def __init__(self, path: Path) -> None:
        self.path = find_mcap(path)
        self.attachments: dict[str, bytes] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self.type_hashes: dict[str, str] = {}
        self.offered_qos: dict[str, list[dict]] = {}
        self.counts: dict[str, int] = {}
        self.types: dict[str, str] = {}
        self.truncated = False
        self.first_ns, self.last_ns = 0, 0
        for message in self.messages():
            self.counts[message.topic] = self.counts.get(message.topic, 0) + 1
            self.types[message.topic] = message.type_name
            self.first_ns = min(self.first_ns or message.log_ns, message.log_ns)
            self.last_ns = max(self.last_ns, message.log_ns)
        if not self.counts:
            raise BagError(f"{self.path} holds no message" + (" (its end was cut off)" if self.truncated else ""), code="bag_empty")

    @property
    def duration_s(self) -> float:
        """From the first to the last message [s]."""
        return (self.last_ns - self.first_ns) * 1e-9

    def require(self, *topics: str) -> None:
        """Raises BagError naming the first topic that has no message, and those there are."""
        for topic in topics:
            if not self.counts.get(topic):
                raise BagError(f"{self.path} has no message on {topic!r}; there is: {sorted(self.counts)}", code="topic_missing")

    def messages(self, topics: frozenset[str] | None = None) -> Iterator[RawMessage]:
        """Every message of ``topics`` (None: all) in the order of the file; a cut end ends the pass and sets ``truncated``."""
        channels: dict[int, Channel] = {}
        schemas: dict[int, Schema] = {}
        with self.path.open("rb") as file:
            try:
                for record in StreamReader(file, emit_chunks=True, record_size_limit=MAX_RECORD_BYTES).records:
                    if isinstance(record, Chunk):
                        yield from self._chunk(record, channels, schemas, topics)
                    else:
                        yield from self._record(record, channels, schemas, topics)
                    if isinstance(record, Footer):
                        return
                self.truncated = True
            except InvalidMagic as error:
                if not channels and not schemas and not self.attachments:
                    raise BagError(f"{self.path} is not an MCAP file", code="bag_not_mcap") from error
                self.truncated = True
            except _CUT:
                self.truncated = True
            except (McapError, ValueError, MemoryError, OverflowError, RuntimeError, yaml.YAMLError) as error:
                raise BagError(f"{self.path} is damaged: {error}") from error

    def _chunk(self, chunk: Chunk, channels: dict[int, Channel], schemas: dict[int, Schema], topics: frozenset[str] | None) -> Iterator[RawMessage]:
        if chunk.uncompressed_size > MAX_RECORD_BYTES:
            raise BagError(f"{self.path} is damaged: a chunk claims {chunk.uncompressed_size} bytes")
        try:
            records = breakup_chunk(chunk, validate_crc=True)
        except (*_CUT, zlib.error, ZstdError) as error:
            raise BagError(f"{self.path} is damaged inside a chunk: {error}") from error
        for record in records:
            yield from self._record(record, channels, schemas, topics)

    def _record(
        self, record: object, channels: dict[int, Channel], schemas: dict[int, Schema], topics: frozenset[str] | None
    ) -> Iterator[RawMessage]:
        if isinstance(record, Schema):
            schemas[record.id] = record
        elif isinstance(record, Channel):
            channels[record.id] = record
            self.type_hashes[record.topic] = record.metadata.get("topic_type_hash", "")
            self.offered_qos[record.topic] = yaml.safe_load(record.metadata.get("offered_qos_profiles", "")) or []
        elif isinstance(record, Attachment):
            self.attachments[record.name] = record.data
        elif isinstance(record, Metadata):
            self.metadata[record.name] = dict(record.metadata)
        elif isinstance(record, Message):
            channel = channels.get(record.channel_id)
            schema = schemas.get(channel.schema_id) if channel else None
            if channel is None or schema is None:
                raise BagError(f"{self.path} is damaged: a message of the unknown channel {record.channel_id}")
            if topics is None or channel.topic in topics:
                yield RawMessage(channel.topic, schema.name, record.data, record.log_time, self.type_hashes[channel.topic], schema.data)


def find_mcap(path: Path) -> Path:
    """The one ``.mcap`` file of a recording folder, of a run folder that holds ``bag``, or the file itself. Raises BagError."""
    if path.is_file():
        return path
    for folder in (path, path / "bag"):
        found = sorted(folder.glob("*.mcap")) if folder.is_dir() else []
        if len(found) == 1:
            return found[0]
        if found:
            raise BagError(f"{folder} holds {len(found)} files; name one of {[f.name for f in found]}", code="bag_missing")
    raise BagError(f"{path} is no recording: no .mcap file there", code="bag_missing")


def repair(source: Path, target: Path) -> int:
    """Writes what is readable of a cut recording as a whole one; returns the number of messages. Raises BagError, RecordingError."""
    from dex_eval.bag_writer import BagWriter

    recording = Recording(source)
    writer = BagWriter(target, recording.attachments, {k: v for k, v in recording.metadata.items() if k != "rosbag2"})
    for message in recording.messages():
        if not writer.has_topic(message.topic):
            writer.add_topic(message.topic, message.type_name, recording.offered_qos.get(message.topic, []))
        writer.write(message.topic, message.data, message.log_ns, message.log_ns)
    writer.close()
    return writer.message_count
