# SPDX-License-Identifier: Apache-2.0
"""Colour, depth and lens of one exposure, in whatever order a recording holds them."""
from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pytest

from dex_core.errors import DeviceError
from dex_perception.cameras.bag_frames import MOST_WAITING, FrameAssembly, RecordedFrame
from dex_perception.cameras.bag_reader import BagMessage
from dex_perception.cameras.bag_topics import BagTopics

spec = importlib.util.spec_from_file_location("make_bag", Path(__file__).with_name("make_bag.py"))
make_bag = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
spec.loader.exec_module(make_bag)  # type: ignore[union-attr]
TOPICS = BagTopics("/colour", "/info", "/depth")
PERIOD_NS = 33_000_000


def image(topic: str, k: int, late_ns: int = 0) -> BagMessage:
    """The header of a picture is all that is looked at here."""
    seconds, nanoseconds = divmod(make_bag.FIRST_NS + k * PERIOD_NS + late_ns, 10**9)
    return BagMessage(topic, make_bag.IMAGE, b"\x00\x01\x00\x00" + seconds.to_bytes(4, "little") + nanoseconds.to_bytes(4, "little"), k)


def info(k: int, fx: float = 40.0) -> BagMessage:
    value = make_bag.info(make_bag.FIRST_NS + k * PERIOD_NS, fx=fx)
    return BagMessage("/info", make_bag.INFO, bytes(make_bag.TYPES.serialize_cdr(value, make_bag.INFO)), k)


def numbers(frames: list[RecordedFrame]) -> list[int]:
    return [(frame.stamp_ns - make_bag.FIRST_NS) // PERIOD_NS for frame in frames]


def test_whatever_order_the_three_come_in() -> None:
    dice = random.Random(0)
    for _ in range(50):
        messages = []
        for k in range(6):
            three = [image("/colour", k), image("/depth", k), info(k, 40.0 + k)]
            dice.shuffle(three)
            messages += three
        for at in range(0, len(messages) - 1, 4):  # and a little across exposures
            if messages[at].topic != messages[at + 1].topic:
                messages[at], messages[at + 1] = messages[at + 1], messages[at]
        frames = list(FrameAssembly(TOPICS, 0.005).frames(messages))
        assert numbers(frames) == list(range(6))
        assert all(frame.depth is not None and frame.depth.stamp_ns == frame.stamp_ns for frame in frames)
        assert [frame.intrinsics.fx for frame in frames] == [40.0 + k for k in range(6)]


def test_depth_at_half_the_rate_makes_frames_at_half_the_rate() -> None:
    assembly = FrameAssembly(TOPICS, 0.005)
    messages = [info(0)]
    for k in range(10):
        messages += [image("/colour", k), *([image("/depth", k, 2_000_000)] if k % 2 == 0 else [])]
    assert numbers(list(assembly.frames(messages))) == [0, 2, 4, 6, 8] and assembly.unpaired == 5


def test_a_stream_that_never_pairs_does_not_fill_the_memory() -> None:
    assembly = FrameAssembly(TOPICS, 0.005)
    messages = (image("/colour", k) for k in range(10 * MOST_WAITING))
    assert not list(assembly.frames(messages)) and assembly.unpaired == 10 * MOST_WAITING


def test_without_depth_every_picture_is_a_frame() -> None:
    frames = list(FrameAssembly(BagTopics("/colour", "/info"), 0.005).frames([image("/colour", 0), info(0), image("/colour", 1)]))
    assert numbers(frames) == [0, 1] and frames[0].depth is None and frames[1].intrinsics.fx == 40.0


def test_pictures_do_not_wait_for_ever_for_a_lens() -> None:
    messages = [image("/colour", k) for k in range(2 * MOST_WAITING)] + [info(0)]
    with pytest.raises(DeviceError, match="64 pictures on '/colour' came before the first CameraInfo on '/info'") as caught:
        list(FrameAssembly(BagTopics("/colour", "/info"), 0.005).frames(messages))
    assert caught.value.code == "topic_missing"
