# SPDX-License-Identifier: Apache-2.0
"""An untuned way for pictures is told, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from dex_bringup.resolve import process_environment
from dex_bringup.transport import RECEIVE_BUFFER_BYTES, findings


def found(environment: dict[str, str], **kernel: Path) -> dict[str, tuple[str, str]]:
    return {topic: (level, text) for topic, level, text in findings(environment, **kernel)}


def test_the_profile_that_our_own_nodes_get_is_a_tuned_one() -> None:
    level, text = found(process_environment(pictures=True))["picture transport"]
    assert level == "ok" and "64 MiB" in text


@pytest.mark.parametrize(("environment", "words"), [
    ({}, "untuned transport, which loses pictures"), ({"FASTRTPS_DEFAULT_PROFILES_FILE": ""}, "export FASTRTPS_DEFAULT_PROFILES_FILE="),
    ({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, "tune rmw_cyclonedds_cpp"),
    (process_environment(pictures=False), "no shared memory of its own"),
])
def test_an_untuned_shell_is_told_what_to_do(environment: dict[str, str], words: str) -> None:
    level, text = found(environment)["picture transport"]
    assert level == "note" and words in text


@pytest.mark.parametrize(("xml", "level", "words"), [
    ("<dds><a><segment_size>524288</segment_size></a></dds>", "note", "512 KiB of shared memory"), ("<dds>", "missing", "cannot be read"),
    ("<dds><segment_size>many</segment_size></dds>", "missing", "cannot be read"),
    ('<dds xmlns="x"><segment_size>33554432</segment_size></dds>', "ok", "32 MiB"),
])
def test_a_profile_of_the_users_own_is_read(tmp_path: Path, xml: str, level: str, words: str) -> None:
    (tmp_path / "own.xml").write_text(xml, encoding="utf-8")
    got = found({"FASTDDS_DEFAULT_PROFILES_FILE": str(tmp_path / "own.xml")})["picture transport"]
    assert got[0] == level and words in got[1]


def test_small_socket_buffers_are_named(tmp_path: Path) -> None:
    limit = tmp_path / "sys" / "net" / "core" / "rmem_max"
    limit.parent.mkdir(parents=True)
    limit.write_text("212992\n", encoding="ascii")
    level, text = found({}, proc=tmp_path)["socket buffers"]
    assert level == "note" and f"net.core.rmem_max={RECEIVE_BUFFER_BYTES}" in text
    limit.write_text(f"{RECEIVE_BUFFER_BYTES}\n", encoding="ascii")
    assert "socket buffers" not in found({}, proc=tmp_path)
