# SPDX-License-Identifier: Apache-2.0
"""Recordings of another version of a message are read by the definition that they hold."""

from __future__ import annotations

from io import BytesIO

import pytest
from mcap.reader import make_reader
from mcap.writer import Writer as Raw
from mcap_ros2.writer import Writer
from rclpy.serialization import serialize_message

from dex_eval.bag import BagError, Recording
from dex_eval.episode import decode
from dex_eval.schemas import ros2msg, type_hash
from dex_eval.versions import reader
from dex_msgs.msg import ActionChunk, ActionSlice, ChunkReport

CHUNK, REPORT = "dex_msgs/msg/ActionChunk", "dex_msgs/msg/ChunkReport"
OLD_HASH = "RIHS01_" + 64 * "0"


def without(definition: str, *fields: str) -> str:
    """The definition as it was before these fields came."""
    kept = [line for line in definition.splitlines() if not any(f" {field}" in f" {line.split('#')[0].strip()} " for field in fields)]
    assert len(kept) < len(definition.splitlines())
    return "\n".join(kept) + "\n"


def as_recorded(type_name: str, definition: str, values: dict) -> bytes:
    """The bytes of a message of that definition."""
    stream = BytesIO()
    writer = Writer(stream)
    schema = writer.register_msgdef(type_name, definition)
    writer.write_message("t", schema, values, 1, 1, 0)
    writer.finish()
    return next(message.data for _, _, message in make_reader(BytesIO(stream.getvalue())).iter_messages())


def test_fields_that_came_later_keep_their_defaults_and_the_others_their_values() -> None:
    old = without(ros2msg(CHUNK), "observation_digest", "streams", "stream_digests")
    values = {
        "goal_id": "g", "sequence": 7, "dt_s": 0.05, "header": {"frame_id": "world", "stamp": {"sec": 3, "nanosec": 4}},
        "slices": [{"interface": "left_arm", "space": "joint_position", "data": [0.25, 0.5], "names": ["a", "b"]}, {"interface": "right_arm"}],
        "timing": {"observed": {"sec": 5, "nanosec": 6}},
    }
    message = reader(CHUNK, OLD_HASH, old.encode())(as_recorded(CHUNK, old, values))
    assert isinstance(message, ActionChunk) and (message.goal_id, message.sequence, message.dt_s) == ("g", 7, 0.05)
    assert (message.header.frame_id, message.header.stamp.sec, message.timing.observed.nanosec) == ("world", 3, 6)
    assert [s.interface for s in message.slices] == ["left_arm", "right_arm"] and all(isinstance(s, ActionSlice) for s in message.slices)
    assert list(message.slices[0].data) == [0.25, 0.5] and list(message.slices[0].names) == ["a", "b"]
    assert message.observation_digest == 0 and not message.streams


def test_fields_that_are_no_more_are_left_out() -> None:
    text = ros2msg(REPORT)
    old = text.replace("string goal_id", "float64[3] gone\nstring goal_id", 1)
    message = reader(REPORT, OLD_HASH, old.encode())(as_recorded(REPORT, old, {"gone": [1.0, 2.0, 3.0], "goal_id": "g", "steps_skipped": 4}))
    assert isinstance(message, ChunkReport) and (message.goal_id, message.steps_skipped) == ("g", 4)


def test_the_same_version_is_read_as_it_is() -> None:
    data = serialize_message(ChunkReport(goal_id="g"))
    for known in (type_hash(REPORT), ""):
        assert reader(REPORT, known, b"no definition at all")(data).goal_id == "g"


def test_another_version_without_definition_is_refused() -> None:
    with pytest.raises(BagError, match="another version") as refused:
        reader(REPORT, OLD_HASH, b"")
    assert refused.value.code == "type_unknown"


def test_bytes_that_do_not_fit_their_definition_have_a_name(tmp_path) -> None:
    path = tmp_path / "old.mcap"
    old = without(ros2msg(REPORT), "steps_skipped")
    with path.open("wb") as stream:
        raw = Raw(stream)
        raw.start(profile="ros2")
        schema = raw.register_schema(REPORT, "ros2msg", old.encode())
        channel = raw.register_channel("t", "cdr", schema, {"topic_type_hash": OLD_HASH})
        raw.add_message(channel, 1, b"\0\1\0\0\xff\xff\xff\xff\xff", 1)
        raw.finish()
    message = next(Recording(path).messages())
    with pytest.raises(BagError, match="does not decode") as refused:
        decode(message, REPORT)
    assert refused.value.code == "bag_corrupt"
