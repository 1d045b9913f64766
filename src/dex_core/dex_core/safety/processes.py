# SPDX-License-Identifier: Apache-2.0
"""Deaths of processes on this machine, told by the kernel at once; heartbeats tell the rest (hangs, other machines)."""

from __future__ import annotations

import os
import select
from pathlib import Path


def machine_id() -> str:
    """Names this boot of this machine and this process namespace, inside which a pid means one process; empty where /proc tells neither."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


class ProcessBook:
    """Watches one process per node by pidfd (Linux 5.3); where the kernel has none it watches nothing. One thread."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._fds: dict[str, tuple[int, int]] = {}

    def watch(self, node: str, pid: int) -> bool:
        """Watches ``pid`` as ``node``, another pid than before replaces it; False where it cannot, so that silence must tell."""
        known = self._fds.get(node)
        if known is not None and known[0] == pid:
            return True
        self._forget(node)
        try:
            fd = os.pidfd_open(pid)
        except (AttributeError, OSError):
            return False
        self._fds[node] = (pid, fd)
        self._poll.register(fd, select.POLLIN)
        return True

    def died(self) -> list[tuple[str, int]]:
        """(node, pid) of every watched process that ended since the last call; costs one system call."""
        if not self._fds:
            return []
        ended = {fd for fd, _event in self._poll.poll(0)}
        dead = [(node, pid) for node, (pid, fd) in self._fds.items() if fd in ended]
        for node, _pid in dead:
            self._forget(node)
        return dead

    def close(self) -> None:
        """Watches nothing any more."""
        for node in list(self._fds):
            self._forget(node)

    def _forget(self, node: str) -> None:
        known = self._fds.pop(node, None)
        if known is not None:
            self._poll.unregister(known[1])
            os.close(known[1])
