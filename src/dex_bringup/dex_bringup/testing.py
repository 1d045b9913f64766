# SPDX-License-Identifier: Apache-2.0
"""A whole cell for a test: private domain, private loopback addresses, every process real."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import yaml

from dex_bringup.client import CellClient
from dex_bringup.resolve import DEFAULT_CELL, resolve
from dex_bringup.supervisor import Supervisor
from dex_core.config import find_share
from dex_core.errors import DeadlineError

PATIENT_CONTROL = {"state_timeout_s": 0.5, "chunk_join_timeout_s": 0.5}
PATIENT_POLICY = {"image_max_age_s": 1.0, "state_max_age_s": 0.5}


def private_cell(folder: Path, domain_id: int, cell: str = DEFAULT_CELL, host: int = 11) -> Path:
    """Writes a copy of a cell whose simulators listen on 127.0.<domain_id>.<host...>; returns its path.

    Data may be older than on a robot, since tests share the machine; the heartbeat's timeout is the cell's own.
    """
    data = yaml.safe_load(find_share("config", "cells", f"{cell}.yaml").read_text(encoding="utf-8"))
    hosts = iter(f"127.0.{domain_id}.{number}" for number in range(host, 255))
    for interface in data["interfaces"].values():
        address = interface["address"]
        _, colon, port = address["simulated"].partition(":")
        address["simulated"] = next(hosts) + colon + port
    server = f"{next(hosts)}:{20000 + 1000 * (domain_id % 40) + host}"
    data.setdefault("sim", {})["state_server"] = server
    data["control"] = {**(data.get("control") or {}), **PATIENT_CONTROL}
    data["policy"] = {**(data.get("policy") or {}), **PATIENT_POLICY}
    for camera in data["cameras"].values():
        if camera["driver"] == "simulated":
            camera["address"] = server
    path = folder / "private_cell.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


class RunningCell:
    """Starts a private simulated cell, waits until it is active, and ends it.

    Args:
        folder: an empty folder (``tmp_path``); logs are in ``folder/run/log``.
        domain_id: of this test alone.
        arguments: cell arguments besides the defaults.
        cell_file: a cell made from ``private_cell``; None makes one.
        start_timeout_s: longest wait for all nodes to be active [s].

    Attributes:
        supervisor: the processes. client: services and RunTask.
    """

    def __init__(
        self, folder: Path, domain_id: int, arguments: Mapping[str, str] | None = None, cell_file: Path | None = None, start_timeout_s: float = 90.0
    ) -> None:
        self._domain_before = os.environ.get("ROS_DOMAIN_ID")
        self._domain_id = domain_id
        self._start_timeout_s = start_timeout_s
        self.resolution = resolve(cell_file or private_cell(folder, domain_id), arguments or {}, folder / "run")
        self.supervisor = Supervisor(self.resolution)
        self.client: CellClient = None  # type: ignore[assignment]

    def __enter__(self) -> RunningCell:
        os.environ["ROS_DOMAIN_ID"] = str(self._domain_id)
        try:
            self.supervisor.start()
            self.supervisor.wait_active(self._start_timeout_s)
            self.client = CellClient(self.resolution.namespace)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.client is not None:
            self.client.close()
        self.supervisor.stop()
        os.environ.pop("ROS_DOMAIN_ID") if self._domain_before is None else os.environ.__setitem__("ROS_DOMAIN_ID", self._domain_before)

    def kill(self, name: str) -> int:
        """SIGKILL to one node; returns the monotonic time just before it [ns]."""
        at_ns = time.monotonic_ns()
        os.kill(self.supervisor.child(name).pid, signal.SIGKILL)
        return at_ns

    def wait(self, done: Callable[[], bool], who: str, timeout_s: float = 10.0) -> None:
        """Runs callbacks and supervision until ``done()``. Raises DeadlineError with the logs' folder."""
        try:
            self.client.spin_until(done, who, timeout_s, self.supervisor.tick)
        except DeadlineError as error:
            raise DeadlineError(who, timeout_s, f"logs: {self.supervisor.log_folder}") from error

    def wait_active(self, timeout_s: float = 30.0) -> float:
        """Waits until every node is active (again)."""
        return self.supervisor.wait_active(timeout_s)
