# SPDX-License-Identifier: Apache-2.0
"""Serialized messages through a DDS domain of their own: two links hear each other, and nobody needs an executor."""
from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

from dex_core.devices.topic_link import Topic, TopicLink, split_dds_address
from dex_core.devices.unitree_wire import HAND_CMD, pack_motors
from dex_core.errors import ConfigError, ConnectionLostError
from dex_ros.testing import wait_for
from dex_ros.topic_link import RosTopicLink

pytest.importorskip("unitree_go.msg", reason="unitree_go is not built: make setup")
pytestmark = pytest.mark.ros

TOPIC = Topic("test/inspire/cmd", "unitree_go/MotorCmds", depth=4)
ADDRESS = f"dds:{os.environ.get('ROS_DOMAIN_ID', '55')}@localhost"


@pytest.fixture
def ends() -> Iterator[tuple[TopicLink, TopicLink]]:
    writer, reader = RosTopicLink("link_writer", ADDRESS, (TOPIC,), ()), RosTopicLink("link_reader", ADDRESS, (), (TOPIC,))
    writer.open()
    reader.open()
    yield writer, reader
    writer.close()
    reader.close()


def message(q: float) -> bytes:
    motors = np.zeros(12, HAND_CMD)
    motors["q"] = q
    return pack_motors(motors)


def test_bytes_arrive_as_they_were_sent_oldest_first_and_the_newest_are_kept(ends: tuple[TopicLink, TopicLink]) -> None:
    writer, reader = ends
    wait_for(lambda: writer.readers(TOPIC) == 1 and reader.writers(TOPIC) == 1, "both ends found each other", 20.0)
    got = []

    def heard() -> bool:
        writer.publish(TOPIC, message(0.0))
        got.extend(reader.take(TOPIC))
        return bool(got)

    wait_for(heard, "a first message", 20.0)
    assert got[0].data == message(0.0) and got[0].stamp_ns > 1_500_000_000 * 10**9
    for number in range(1, 9):
        writer.publish(TOPIC, message(float(number)))
    newest: list[bytes] = []

    def last_arrived() -> bool:
        newest.extend(sample.data for sample in reader.take(TOPIC))
        return message(8.0) in newest

    wait_for(last_arrived, "the last message", 20.0)
    assert newest == sorted(newest, key=lambda data: np.frombuffer(data[12:16], "<f4")[0]), "in order"


def test_before_open_and_after_close_it_says_so(ends: tuple[TopicLink, TopicLink]) -> None:
    writer, _ = ends
    writer.close()
    writer.close()
    with pytest.raises(ConnectionLostError, match="link_writer has not joined"):
        writer.publish(TOPIC, message(0.0))
    writer.open()
    writer.publish(TOPIC, message(0.0))


@pytest.mark.parametrize("address", ["", "0", "dds:", "dds:233", "dds:-1", "dds:1@robot", "127.0.0.1:7400"])
def test_another_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="is not dds:DOMAIN"):
        RosTopicLink("who", address, (), ())


def test_addresses() -> None:
    assert split_dds_address("dds:0", "who") == (0, False) and split_dds_address("dds:232@localhost", "who") == (232, True)


def test_a_message_that_is_not_installed_is_named() -> None:
    with pytest.raises(ConfigError, match="carries no_such/Kind, which is not installed"):
        RosTopicLink("who", ADDRESS, (Topic("t", "no_such/Kind"),), ())
