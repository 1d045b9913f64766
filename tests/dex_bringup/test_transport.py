# SPDX-License-Identifier: Apache-2.0
"""An untuned way for pictures is told, with what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dex_bringup.resolve import process_environment
from dex_bringup.transport import KEPT_MEMORY, RECEIVE_BUFFER_BYTES, findings


def found(environment: dict[str, str], **kernel: Path) -> dict[str, tuple[str, str]]:
    return {topic: (level, text) for topic, level, text in findings(environment, **kernel)}


def test_the_profile_that_our_own_nodes_get_is_a_tuned_one() -> None:
    level, text = found(process_environment(pictures=True))["picture transport"]
    assert level == "ok" and "64 MiB" in text


FAULTS = """
import resource
def pictures(count):
    for _ in range(count):
        four = [bytearray(1 << 20) for _ in range(4)]
        del four
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(pictures(10) * -1 + pictures(50))
"""


def test_memory_of_a_picture_is_kept_for_the_next_one() -> None:
    bare = {key: value for key, value in os.environ.items() if key not in KEPT_MEMORY}
    faults = {
        kept: int(subprocess.run([sys.executable, "-c", FAULTS], env=bare | (KEPT_MEMORY if kept else {}), capture_output=True, check=True).stdout)
        for kept in (True, False)
    }
    assert faults[False] > 50 * 256 and faults[True] < 256, faults  # of 50 times four pictures of 256 pages


def test_a_shell_whose_programs_fault_in_every_picture_is_told() -> None:
    level, text = found({})["picture memory"]
    assert level == "note" and all(name in text for name in KEPT_MEMORY)
    assert "picture memory" not in found(process_environment(pictures=True))


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
