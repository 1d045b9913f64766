# SPDX-License-Identifier: Apache-2.0
"""Shared memory that killed processes leave behind: 67 MiB of RAM each, until somebody removes it.

Fast DDS keeps one file `fastrtps_<id>` per process in /dev/shm and holds a lock on `fastrtps_<id>_el` beside it.
The lock ends with the process, the files do not when it is killed.
"""
from __future__ import annotations

import fcntl
import os
import re
import time
from pathlib import Path

FOLDER = Path('/dev/shm')
MIN_AGE_S = 5.0  # a younger file may belong to a process that is about to take its lock
_LOCK_NAME = re.compile(r'fastrtps_[0-9a-f]{16}_el')


def _is_free(lock: Path) -> bool:
    """Whether no process holds the lock."""
    descriptor = os.open(lock, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def stale_segments(folder: Path = FOLDER, min_age_s: float = MIN_AGE_S) -> list[Path]:
    """Segments of this user whose process is gone, at least ``min_age_s`` old [s]."""
    if not folder.is_dir():
        return []
    found = []
    for lock in sorted(path for path in folder.iterdir() if _LOCK_NAME.fullmatch(path.name)):
        segment = lock.with_name(lock.name[:-len('_el')])
        try:
            status = lock.stat()
            old = time.time() - status.st_mtime >= min_age_s
            if old and status.st_uid == os.geteuid() and _is_free(lock):
                found.append(segment)
        except FileNotFoundError:  # its process has just ended in good order
            continue
    return found


def remove_stale_segments(folder: Path = FOLDER, min_age_s: float = MIN_AGE_S) -> int:
    """Remove them, with their locks; gives the bytes that were freed."""
    freed = 0
    for segment in stale_segments(folder, min_age_s):
        for path in (segment, segment.with_name(segment.name + '_el')):
            try:
                freed += path.stat().st_size
                path.unlink()
            except FileNotFoundError:
                continue
    return freed
