# SPDX-License-Identifier: Apache-2.0
"""Definitions carry everything that a type uses, once."""

from __future__ import annotations

import dataclasses

import pytest
from mcap_ros2._dynamic import generate_dynamic

from dex_core.config import load_cell
from dex_core.config.perception import PerceptionConfig
from dex_eval.schemas import SchemaError, ros2msg, type_hash
from dex_eval.topics import topics_of


@pytest.mark.parametrize("type_name", sorted({topic.type_name for topic in topics_of(load_cell("xarm_bimanual"))}))
def test_every_recorded_type_has_a_whole_definition(type_name: str) -> None:
    assert generate_dynamic(type_name, ros2msg(type_name))
    assert type_hash(type_name).startswith("RIHS01_")


def test_what_costs_the_cell_its_latency_is_not_recorded_unasked() -> None:
    """Skin and currents are read from the devices only while somebody listens, on the lines that the commands take."""
    assert not [topic.name for topic in topics_of(load_cell("xarm_bimanual")) if topic.name.endswith(("/touch", "/motor_currents"))]


def test_what_segmentation_says_is_recorded_where_it_runs() -> None:
    base = load_cell("xarm_bimanual")
    cell = dataclasses.replace(base, cameras={name: dataclasses.replace(camera, depth=True) for name, camera in base.cameras.items()})
    with_it = dataclasses.replace(cell, perception=PerceptionConfig())
    assert {topic.name for topic in topics_of(with_it)} - {topic.name for topic in topics_of(cell)} == {"segmentation/result"}
    assert generate_dynamic("dex_msgs/msg/Segmentation", ros2msg("dex_msgs/msg/Segmentation"))


def test_dependencies_come_once() -> None:
    text = ros2msg("dex_msgs/msg/ActionChunk")
    assert text.count("MSG: builtin_interfaces/Time") == 1 and text.count("MSG: dex_msgs/ActionSlice") == 1


def test_unknown_type_says_where_it_was_searched() -> None:
    with pytest.raises(SchemaError, match="share/"):
        ros2msg("dex_msgs/msg/Nothing")
