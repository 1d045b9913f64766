# SPDX-License-Identifier: Apache-2.0
"""Whether pictures have room on their way: the middleware's profile of this shell, shared memory, socket buffers. Each answer says what to do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

from dex_core.config import find_share

PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
PROFILE = "fastdds_shm.xml"
KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
"""glibc gives the memory of a picture back to the kernel as soon as it is freed, and faults it in again, page by page, for the next one: 644 faults
and half of a reader's time per picture of 640 x 480. Blocks up to 32 MiB (glibc's own bound) then come from the heap, which keeps 256 MiB."""
FAST_DDS = ("", "rmw_fastrtps_cpp", "rmw_fastrtps_dynamic_cpp")
SEGMENT_BYTES = 16 << 20
"""Room for several pictures of 1280 x 720 with depth."""
SHARED_MEMORY_MIB = 256
RECEIVE_BUFFER_BYTES = 2 << 20
"""A picture of 640 x 480 in one burst, and again as much."""


def picture_environment(profile: str = "") -> dict[str, str]:
    """What a process needs that sends or takes pictures: the middleware's profile (default: the stack's), and memory that stays."""
    path = profile or str(find_share("config", "dds", PROFILE))
    return {**dict.fromkeys(PROFILE_VARIABLES, path), **KEPT_MEMORY}


def findings(environment: Mapping[str, str], shared_memory: Path = Path("/dev/shm"), proc: Path = Path("/proc")) -> Iterator[tuple[str, str, str]]:
    """(topic, level, text) of everything on a picture's way.

    Args:
        environment: of the shell that asks.
        shared_memory, proc: where the kernel has them.
    """
    yield "picture transport", *_profile(environment)
    if not all(environment.get(name) for name in KEPT_MEMORY):
        words = " ".join(f"{name}={value}" for name, value in KEPT_MEMORY.items())
        yield "picture memory", "note", f"this shell's programs fault in every picture anew, half of a reader's time; export {words}"
    free_mib = shutil.disk_usage(shared_memory).free >> 20
    if free_mib < SHARED_MEMORY_MIB:
        words = f"{shared_memory} has {free_mib} MiB free; at least {SHARED_MEMORY_MIB} are needed (docker run --shm-size=1g)"
        yield "shared memory", "missing", words
    else:
        yield "shared memory", "ok", f"{shared_memory} has {free_mib} MiB free"
    limit = proc / "sys" / "net" / "core" / "rmem_max"
    room = int(limit.read_text(encoding="ascii")) if limit.is_file() else 0
    if 0 < room < RECEIVE_BUFFER_BYTES:
        more = f"sudo sysctl -w net.core.rmem_max={RECEIVE_BUFFER_BYTES}"
        words = f"net.core.rmem_max is {room} bytes: pictures from another machine overflow it; {more}"
        yield "socket buffers", "note", words


def _profile(environment: Mapping[str, str]) -> tuple[str, str]:
    """What this shell's own ROS programs use. `dex up` and the launch files choose for their nodes themselves."""
    ours = find_share("config", "dds", PROFILE)
    advice = f"dex up and the launch files see to their own nodes; for your own nodes, rviz2 and ros2: export {PROFILE_VARIABLES[1]}={ours}"
    middleware = environment.get("RMW_IMPLEMENTATION", "")
    if middleware not in FAST_DDS:
        return "note", f"RMW_IMPLEMENTATION is {middleware}: config/dds is for Fast DDS, tune {middleware} by its own manual"
    given = next((environment[name] for name in PROFILE_VARIABLES if environment.get(name)), "")
    if not given:
        return "note", f"this shell uses the untuned transport, which loses pictures above 512 KiB under best effort; {advice}"
    try:
        sizes = [int(node.text or 0) for node in ElementTree.parse(given).iter() if node.tag.rpartition("}")[2] == "segment_size"]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        return "missing", f"{given} cannot be read: {error}; {advice}"
    if max(sizes, default=0) < SEGMENT_BYTES:
        found = f"{max(sizes) >> 10} KiB of shared memory" if sizes else "no shared memory of its own"
        return "note", f"{given} gives {found}; pictures need at least {SEGMENT_BYTES >> 20} MiB; {advice}"
    return "ok", f"{given}, {max(sizes) >> 20} MiB of shared memory"
