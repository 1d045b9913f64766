# SPDX-License-Identifier: Apache-2.0
"""Nodes of other processes are brought up and down together; who does not follow is named, and soon where waiting is no use."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from dex_bringup.client import CellClient
from dex_bringup.lifecycle import ACTIVE, UNCONFIGURED, bring
from dex_core.errors import ConnectionLostError, DeadlineError, DexError
from dex_ros.node import DexNode
from dex_ros.testing import ros_domain, spinning

pytestmark = pytest.mark.ros
DOMAIN = 62


class Actor(DexNode):
    """A node that refuses to activate as often as it is told to, with one reason."""

    def __init__(self, name: str, **kwargs: object) -> None:
        super().__init__(name, **kwargs)
        self.refusals = 0
        self.error: DexError = ConnectionLostError("the device is still starting")
        self.calls: list[str] = []

    def configure(self) -> None:
        self.calls.append("configure")

    def activate(self) -> None:
        self.calls.append("activate")
        if self.refusals:
            self.refusals -= 1
            raise self.error

    def deactivate(self) -> None:
        self.calls.append("deactivate")

    def cleanup(self) -> None:
        self.calls.append("cleanup")


@pytest.fixture
def actors() -> Iterator[tuple[Actor, Actor, CellClient]]:
    with ros_domain(DOMAIN) as context:
        one, two = Actor("one", context=context, namespace="cell"), Actor("two", context=context, namespace="cell")
        with spinning(one, two), CellClient("cell") as client:
            yield one, two, client
        one.destroy_node()
        two.destroy_node()


def test_all_go_up_and_down_through_every_state(actors: tuple[Actor, Actor, CellClient]) -> None:
    one, two, client = actors
    one.trigger_configure()  # they need not start alike
    ticks: list[int] = []
    bring(client, ["one", "two"], ACTIVE, 20.0, lambda: ticks.append(1))
    assert one.is_active and two.is_active and ticks
    bring(client, ["one", "two"], ACTIVE, 20.0)
    assert one.calls == two.calls == ["configure", "activate"], "who is there already is left alone"
    bring(client, ["two"], UNCONFIGURED, 20.0)
    assert one.is_active and two.state_id == UNCONFIGURED and two.calls[2:] == ["deactivate", "cleanup"]
    bring(client, [], UNCONFIGURED, 20.0)


def test_a_device_that_is_still_starting_is_waited_for(actors: tuple[Actor, Actor, CellClient]) -> None:
    one, two, client = actors
    one.refusals = 2
    bring(client, ["one", "two"], ACTIVE, 20.0)
    assert one.is_active and one.calls.count("activate") == 3 and two.calls.count("activate") == 1


def test_a_reason_that_does_not_go_away_ends_the_wait(actors: tuple[Actor, Actor, CellClient]) -> None:
    one, _two, client = actors
    one.refusals, one.error = 1000, DexError("somebody else listens there", code="address_in_use")
    start = time.monotonic()
    with pytest.raises(DexError, match="one refuses .address_in_use.") as caught:
        bring(client, ["one", "two"], ACTIVE, 60.0)
    assert caught.value.code == "address_in_use" and time.monotonic() - start < 30.0


def test_who_is_not_there_in_time_is_named_with_its_state(actors: tuple[Actor, Actor, CellClient]) -> None:
    one, _two, client = actors
    one.refusals = 1000
    with pytest.raises(DexError, match="not active after 6 s: one is inactive"):
        bring(client, ["one", "two"], ACTIVE, 6.0)


def test_who_is_silent_is_named(actors: tuple[Actor, Actor, CellClient], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dex_bringup.lifecycle.ANSWER_S", 2.0)
    with pytest.raises(DeadlineError, match="get_state of nobody"):
        bring(actors[2], ["one", "nobody"], ACTIVE, 1.0)
    assert os.environ["ROS_DOMAIN_ID"] == str(DOMAIN)
