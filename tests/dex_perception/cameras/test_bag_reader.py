# SPDX-License-Identifier: Apache-2.0
"""Messages out of MCAP files: compressed ones, several, damaged ones, and what is said where there is none."""
from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

import pytest

from dex_core.errors import DeviceError
from dex_perception.cameras.bag_reader import BagMessage, BagReader

spec = importlib.util.spec_from_file_location("make_bag", Path(__file__).with_name("make_bag.py"))
make_bag = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
spec.loader.exec_module(make_bag)  # type: ignore[union-attr]
COLOUR = "/camera/camera/color/image_raw"


def text_bag(folder: Path, texts: list[str], compression: bool = False) -> Path:
    recording = make_bag.Recording()
    for k, text in enumerate(texts):
        recording.add("/text", make_bag.TEXT, make_bag.message(make_bag.TEXT, data=text), 1000 + k)
    return recording.write(folder, compression)


def texts_of(reader: BagReader) -> list[str]:
    return [message.data[8:-1].decode() for message in reader.messages({"/text"})]


@pytest.mark.parametrize("compression", [False, True])
def test_topics_and_messages_of_a_folder_and_of_a_file(tmp_path: Path, compression: bool) -> None:
    folder = text_bag(tmp_path / "run", ["one", "two"], compression)
    for path in (folder, next(folder.glob("*.mcap"))):
        reader = BagReader(path)
        assert reader.topics() == {"/text": "std_msgs/msg/String"}
        assert texts_of(reader) == ["one", "two"] == texts_of(reader), "each pass begins anew"
        assert not list(reader.messages({"/other"})) and not reader.truncated


def test_files_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    for number in (10, 2, 0):
        part = text_bag(tmp_path / f"part{number}", [f"text {number}"])
        next(part.glob("*.mcap")).rename(whole / f"run_{number}.mcap")
    assert texts_of(BagReader(whole)) == ["text 0", "text 2", "text 10"]


def test_topics_of_a_file_without_an_index(tmp_path: Path) -> None:
    file = next(text_bag(tmp_path / "run", ["one"]).glob("*.mcap"))
    file.write_bytes(file.read_bytes()[:-20])
    reader = BagReader(file)
    assert reader.topics() == {"/text": "std_msgs/msg/String"} and reader.truncated


def test_stamps_are_those_of_the_headers(tmp_path: Path) -> None:
    reader = BagReader(make_bag.realsense(tmp_path / "run", 3))
    found = list(reader.messages({COLOUR}))
    assert [message.stamp_ns for message in found] == [make_bag.FIRST_NS + k * 20_000_000 for k in range(3)]
    assert all(message.log_ns == message.stamp_ns + 1_000_000 for message in found)


@pytest.mark.parametrize("data, stamp_ns", [
    (b"\x00\x01\x00\x00" + struct.pack("<iI", 5, 7), 5_000_000_007),
    (b"\x00\x00\x00\x00" + struct.pack(">iI", 5, 7), 5_000_000_007),
    (b"\x00\x01\x00\x00" + bytes(8), 42),
    (b"\x00\x01\x00", 42),
])
def test_stamp_of_either_byte_order_zero_or_missing(data: bytes, stamp_ns: int) -> None:
    assert BagMessage("/a", "t", data, 42).stamp_ns == stamp_ns


def test_nothing_to_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="does not exist; give an .mcap file or the folder") as caught:
        BagReader(tmp_path / "nowhere")
    assert caught.value.code == "bag_missing"
    (tmp_path / "old_0.db3").touch()
    with pytest.raises(DeviceError, match=r"no .mcap file; ros2 bag convert makes one; it holds \['old_0.db3'\]"):
        BagReader(tmp_path)
    with pytest.raises(DeviceError, match="old_0.db3 is no MCAP file"):
        BagReader(tmp_path / "old_0.db3")


def test_damage_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.mcap"
    file.write_bytes(b"these are not the bytes you are looking for" * 10)
    with pytest.raises(DeviceError, match="a.mcap is damaged or no MCAP file") as caught:
        BagReader(file).topics()
    assert caught.value.code == "bag_damaged"
    good = next(make_bag.realsense(tmp_path / "run", 20, compression=True).glob("*.mcap"))
    whole = good.read_bytes()
    refused = 0
    for at in range(0, len(whole), 7):  # rosbags writes no checksums, so a byte of a picture may change unseen; any other error fails the test
        good.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            BagReader(good).topics()
            list(BagReader(good).messages({COLOUR}))
        except DeviceError as error:
            assert error.code == "bag_damaged" and str(good) in str(error)
            refused += 1
    assert refused > 20
