# SPDX-License-Identifier: Apache-2.0
"""Reads serialized messages out of an MCAP recording, also one in several files or with its end cut off, without ROS."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mcap.exceptions import EndOfFile, McapError
from mcap.reader import make_reader
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader
from zstandard import ZstdError

from dex_core.errors import DeviceError

MAX_RECORD_BYTES = 256 << 20
_CUT = (EndOfFile, struct.error, EOFError)
_DAMAGED = (McapError, ValueError, MemoryError, OverflowError, RuntimeError, ZstdError)
_STAMP_END = 12


@dataclass(frozen=True)
class BagMessage:
    """One serialized message whose first field is a std_msgs/Header.

    Attributes:
        data: CDR. log_ns: when it was recorded [ns].
    """

    topic: str
    type_name: str
    data: bytes
    log_ns: int

    @property
    def stamp_ns(self) -> int:
        """Of its header, read without decoding the rest; where that is zero or missing, when it was recorded [ns]."""
        if len(self.data) < _STAMP_END:
            return self.log_ns
        little = self.data[1] & 1  # second byte of the encapsulation: CDR_LE or CDR_BE
        seconds, nanoseconds = struct.unpack_from("<iI" if little else ">iI", self.data, 4)
        return seconds * 1_000_000_000 + nanoseconds or self.log_ns


class BagReader:
    """One recording.

    Args:
        path: an ``.mcap`` file, or the folder of a rosbag2 recording; its files are read in the order of their numbers.

    Attributes:
        files: what is read. truncated: a pass has met an end that was cut off (power, SIGKILL); what was before it is good.

    Raises:
        DeviceError: ``bag_missing``: nothing that can be read is there; says what is.
    """

    def __init__(self, path: Path) -> None:
        self.files = _find(path)
        self.truncated = False

    def topics(self) -> dict[str, str]:
        """Topic -> type of everything recorded. Raises DeviceError: ``bag_damaged``."""
        found: dict[str, str] = {}
        for file in self.files:
            summary = self._summary(file)
            found |= {message.topic: message.type_name for message in self._messages(file, None)} if summary is None else summary
        return found

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Every message of ``topics`` in the order of the files. Raises DeviceError: ``bag_damaged``."""
        for file in self.files:
            yield from self._messages(file, topics)

    def _summary(self, path: Path) -> dict[str, str] | None:
        """Topics by the index at the file's end; None where it has none, as after a crash."""
        try:
            with path.open("rb") as file:
                summary = make_reader(file).get_summary()
        except (*_CUT, *_DAMAGED, OSError):
            return None  # reading from the front says what is wrong
        if summary is None or summary.statistics is None:
            return None
        counts = summary.statistics.channel_message_counts
        return {channel.topic: summary.schemas[channel.schema_id].name for channel in summary.channels.values()
                if counts.get(channel.id) and channel.schema_id in summary.schemas}

    def _messages(self, path: Path, topics: Collection[str] | None) -> Iterator[BagMessage]:
        try:
            with path.open("rb") as file:
                yield from _read(file, topics)
        except _CUT:
            self.truncated = True
        except OSError as error:
            raise DeviceError(f"{path} cannot be read: {error.strerror}", code="bag_damaged") from error
        except _DAMAGED as error:
            raise DeviceError(f"{path} is damaged or no MCAP file: {error}", code="bag_damaged") from error


def _read(file: BinaryIO, topics: Collection[str] | None) -> Iterator[BagMessage]:
    channels: dict[int, Channel] = {}
    schemas: dict[int, Schema] = {}
    for record in StreamReader(file, validate_crcs=True, record_size_limit=MAX_RECORD_BYTES).records:
        if isinstance(record, Schema):
            schemas[record.id] = record
        elif isinstance(record, Channel):
            channels[record.id] = record
        elif isinstance(record, Message):
            channel = channels.get(record.channel_id)
            if channel is None or channel.schema_id not in schemas:
                raise ValueError(f"a message of the unknown channel {record.channel_id}")
            if topics is None or channel.topic in topics:
                yield BagMessage(channel.topic, schemas[channel.schema_id].name, record.data, record.log_time)


def _find(path: Path) -> tuple[Path, ...]:
    if path.is_file() and path.suffix == ".mcap":
        return (path,)
    if not path.is_dir():
        what = "is no MCAP file" if path.exists() else "does not exist"
        raise DeviceError(f"recording {path} {what}; give an .mcap file or the folder that ros2 bag made", code="bag_missing")
    found = sorted(path.glob("*.mcap"), key=_number)
    if not found:
        there = sorted(entry.name for entry in path.iterdir())[:8]
        hint = "; ros2 bag convert makes one" if any(name.endswith((".db3", ".zstd")) for name in there) else ""
        raise DeviceError(f"{path} holds no .mcap file{hint}; it holds {there or 'nothing'}", code="bag_missing")
    return tuple(found)


def _number(path: Path) -> tuple[str, int]:
    """``run_2.mcap`` comes before ``run_10.mcap``."""
    match = re.fullmatch(r"(.*?)(\d*)", path.stem)
    assert match is not None
    return match[1], int(match[2] or 0)
