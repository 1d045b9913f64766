# SPDX-License-Identifier: Apache-2.0
"""F34: every malformed recording has a named error; what is whole reads back the same, also by others."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
import yaml
from mcap.writer import CompressionType, Writer
from rosbags.highlevel import AnyReader

from dex_eval.bag import BagError, Recording, find_mcap, repair
from dex_eval.bag_writer import BagWriter, RecordingError


def small_bag(folder: Path, messages: int = 50) -> Path:
    """std_msgs/String on /a, one each 10 ms, flushed every tenth."""
    writer = BagWriter(folder, {"note.txt": b"hello"}, {"dex": {"cell": "x"}})
    writer.add_topic("/a", "std_msgs/msg/String", [])
    for k in range(messages):
        writer.write("/a", b"\x00\x01\x00\x00" + (6).to_bytes(4, "little") + b"%05d\x00" % k, 1000 + k * 10_000_000, 1000)
        if k % 10 == 9:
            writer.flush()
    writer.close()
    return folder


def test_reads_back_what_was_written(tmp_path: Path) -> None:
    recording = Recording(small_bag(tmp_path / "bag"))
    assert recording.counts == {"/a": 50} and not recording.truncated
    assert recording.attachments == {"note.txt": b"hello"} and recording.metadata["dex"] == {"cell": "x"}
    assert recording.duration_s == pytest.approx(0.49)
    assert [m.log_ns for m in recording.messages()] == [1000 + k * 10_000_000 for k in range(50)]


def test_rosbags_opens_it(tmp_path: Path) -> None:
    with AnyReader([small_bag(tmp_path / "bag")]) as reader:
        values = [reader.deserialize(raw, c.msgtype).data for c, _, raw in reader.messages()]
    assert values == [f"{k:05d}" for k in range(50)]


def test_metadata_is_that_of_rosbag2(tmp_path: Path) -> None:
    data = yaml.safe_load((small_bag(tmp_path / "bag") / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert data["version"] == 9 and data["storage_identifier"] == "mcap" and data["relative_file_paths"] == ["bag_0.mcap"]
    topic = data["topics_with_message_count"][0]
    assert topic["message_count"] == 50 and topic["topic_metadata"]["type_description_hash"].startswith("RIHS01_")


def test_metadata_is_not_needed(tmp_path: Path) -> None:
    folder = small_bag(tmp_path / "bag")
    (folder / "metadata.yaml").unlink()
    assert Recording(folder).counts == {"/a": 50}


def test_never_overwrites(tmp_path: Path) -> None:
    small_bag(tmp_path / "bag")
    with pytest.raises(RecordingError, match="never overwritten"):
        BagWriter(tmp_path / "bag")


def test_folder_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match="cannot be made"):
        BagWriter(tmp_path / "file" / "bag")


@pytest.mark.parametrize("keep", [0.999, 0.9, 0.6, 0.5])
def test_a_cut_recording_is_read_up_to_the_cut(tmp_path: Path, keep: float) -> None:
    path = find_mcap(small_bag(tmp_path / "bag", 500))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    recording = Recording(path)
    assert recording.truncated and recording.counts["/a"] % 10 == 0 and recording.counts["/a"] > 0


def test_repair_makes_a_cut_recording_whole(tmp_path: Path) -> None:
    path = find_mcap(small_bag(tmp_path / "bag", 500))
    path.write_bytes(path.read_bytes()[:-4000])
    written = repair(path.parent, tmp_path / "whole")
    whole = Recording(tmp_path / "whole")
    assert whole.counts["/a"] == written and not whole.truncated and whole.attachments == {"note.txt": b"hello"}
    with AnyReader([tmp_path / "whole"]) as reader:
        assert reader.message_count == written


def test_a_record_that_announces_more_than_there_can_be_is_named(tmp_path: Path) -> None:
    path = find_mcap(small_bag(tmp_path / "bag"))
    data = bytearray(path.read_bytes())
    at = data.index(b"hello") - 8  # the attachment's length
    assert data[at : at + 8] == (5).to_bytes(8, "little")
    data[at : at + 8] = b"\xff" * 8
    path.write_bytes(data)
    with pytest.raises(BagError, match=str(path)):
        Recording(path)


def test_random_damage_is_an_error_or_a_shorter_recording_and_never_a_crash(tmp_path: Path) -> None:
    path = find_mcap(small_bag(tmp_path / "bag"))
    whole, rng = path.read_bytes(), random.Random(1)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            assert sum(Recording(path).counts.values()) <= 50
        except BagError as error:
            assert str(path) in str(error)


def test_damage_inside_a_compressed_chunk_of_either_kind_is_named(tmp_path: Path) -> None:
    for compression in (CompressionType.ZSTD, CompressionType.LZ4):
        buffer = io.BytesIO()
        writer = Writer(buffer, compression=compression)
        writer.start()
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data\n")
        channel = writer.register_channel("/words", "cdr", schema)
        for number in range(50):
            writer.add_message(channel, number, b"\x00\x01\x00\x00\x05\x00\x00\x00word\x00" * 20, number)
        writer.finish()
        whole = buffer.getvalue()
        path = tmp_path / f"{compression.name}.mcap"
        for place in range(8, len(whole), 5):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
            try:
                list(Recording(path).messages())
            except BagError as error:
                assert str(path) in str(error)


@pytest.mark.parametrize(("content", "code"), [(b"", "bag_empty"), (b"SQLite format 3\x00" * 10, "bag_not_mcap")])
def test_what_is_no_recording(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "x.mcap"
    path.write_bytes(content)
    with pytest.raises(BagError) as caught:
        Recording(path)
    assert caught.value.code == code


def test_zero_messages(tmp_path: Path) -> None:
    BagWriter(tmp_path / "bag").close()
    with pytest.raises(BagError, match="no message") as caught:
        Recording(tmp_path / "bag")
    assert caught.value.code == "bag_empty"


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="no .mcap file") as caught:
        Recording(tmp_path / "nowhere")
    assert caught.value.code == "bag_missing"


def test_missing_topic_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="'/a'") as caught:
        Recording(small_bag(tmp_path / "bag")).require("/b")
    assert caught.value.code == "topic_missing"


def test_a_full_disk_is_an_error_and_what_was_flushed_stays(tmp_path: Path) -> None:
    import resource

    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/a", "std_msgs/msg/String", [])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(RecordingError, match="stopped after"):
            for k in range(4000):
                writer.write("/a", random.Random(k).randbytes(1000), k, k)
                if k % 20 == 0:
                    writer.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.abandon()
    assert Recording(tmp_path / "bag").counts["/a"] > 100
