# SPDX-License-Identifier: Apache-2.0
"""Whether there is room for a bundle, asked before any of it is read, and what it took."""

from __future__ import annotations

import os
from pathlib import Path

from dex_core.bundle.manifest import Manifest
from dex_core.errors import BundleError

MIB = 1 << 20


def resident_bytes() -> int:
    """What this process holds in memory now; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def available_bytes() -> int | None:
    """What the machine could still give without swapping; None where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def check_room(manifest: Manifest, allowed_mb: int) -> None:
    """The bundle's files fit beside what the process holds, and into what the machine has. Raises BundleError ``no_memory``.

    Args:
        allowed_mb: what the process may hold resident; 0: no limit but the machine's.
    """
    size, resident, available = sum(f.bytes for f in manifest.files.values()), resident_bytes(), available_bytes()
    if available is not None and size > available:
        text = f"{size / MIB:.0f} MiB of files, the machine has {available / MIB:.0f} MiB free"
        raise BundleError(f"bundle {manifest.name!r}: {text}", code="no_memory")
    if allowed_mb and resident + size > allowed_mb * MIB:
        raise BundleError(
            f"bundle {manifest.name!r}: {size / MIB:.0f} MiB of files on top of {resident / MIB:.0f} MiB resident; memory_mb allows {allowed_mb}",
            code="no_memory",
        )


def check_taken(name: str, before: int, allowed_mb: int) -> str:
    """What the process holds now that the bundle runs. Raises BundleError ``no_memory`` above the limit."""
    after = resident_bytes()
    text = f"{before / MIB:.0f} MiB resident before, {after / MIB:.0f} MiB after"
    if allowed_mb and after > allowed_mb * MIB:
        raise BundleError(f"bundle {name!r}: {text}; memory_mb allows {allowed_mb}", code="no_memory")
    return text
