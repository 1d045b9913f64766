# SPDX-License-Identifier: Apache-2.0
"""Runs the processes of a cell without launch: start, wait until active, watch, respawn, stop in order."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from dex_bringup.children import Child, command_of, stop_in_order
from dex_bringup.claim import AlreadyRunningError, Claim, claim_cell
from dex_bringup.logs import last_lines
from dex_bringup.resolve import Resolution
from dex_bringup.shared_memory import remove_stale_segments
from dex_core.errors import DeadlineError, DexError

if TYPE_CHECKING:
    from dex_bringup.client import CellClient, PolledService

ACTIVE = 3
RESPAWN_DELAY_S = 1.0
RESPAWNS_PER_MINUTE = 5
CRASHES_AT_START = 1


class CellDownError(DexError):
    """The cell ended by itself; says which process and shows the end of its log."""

    code = "cell_down"


class Supervisor:
    """The processes of one resolved cell. All methods belong to one thread (the kernel ties the children to it).

    Args:
        resolution: what to start.
        environment: further environment variables for every process.
        notify: takes one sentence for people whenever something happens.
    """

    def __init__(
        self, resolution: Resolution, environment: Mapping[str, str] | None = None, notify: Callable[[str], None] = lambda _text: None
    ) -> None:
        self.resolution = resolution
        self.notify = notify
        self._desk: PolledService | None = None
        self._claim: Claim | None = None
        self._client: CellClient | None = None
        self._reported: set[int] = set()
        self.log_folder = resolution.run_folder / "log"
        extra = {"ROS_LOG_DIR": str(self.log_folder / "ros"), **(environment or {})}
        self.children = [Child(process, self.log_folder / f"{process.name}.log", extra) for process in resolution.processes]

    def __enter__(self) -> Supervisor:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def child(self, name: str) -> Child:
        """One process by node name. Raises ConfigError with the names there are."""
        wanted = self.resolution.process(name)
        return next(child for child in self.children if child.process is wanted)

    def start(self) -> None:
        """Claims the cell and starts every process. Raises AlreadyRunningError or ConfigError with nothing started."""
        for child in self.children:
            command_of(child.process)
        self._claim = claim_cell(self.resolution.cell, self.resolution.namespace)
        try:
            self.log_folder.mkdir(parents=True, exist_ok=True)
            remove_stale_segments()
            for child in self.children:
                child.start()
        except BaseException:
            self.stop()
            raise

    def tick(self) -> None:
        """Notices ended processes and starts them again where that is wanted; call it about 20 times a second.

        Raises:
            CellDownError: an essential process ended.
        """
        for child in self.children:
            if child.popen is None or child.running:
                continue
            if child.pid not in self._reported:
                self._reported.add(child.pid)
                self.notify(f"{child.name} ended ({child.exit_text}); log: {child.log_path}")
                if child.process.essential:
                    raise CellDownError(
                        f"{child.name} ended ({child.exit_text}) and the cell cannot go on without it\n" + "\n".join(last_lines(child.log_path))
                    )
            self._respawn(child)

    def _respawn(self, child: Child) -> None:
        now = time.monotonic()
        recent = [start for start in child.starts if now - start < 60.0]
        wanted = self.resolution.arguments["use_respawn"] == "true" and child.process.lifecycle
        if wanted and len(recent) <= RESPAWNS_PER_MINUTE and now - child.starts[-1] > RESPAWN_DELAY_S:
            child.start()
            self.notify(f"{child.name} started again; it moves nothing before a reset and a new goal")

    def raise_if_down(self) -> None:
        """Raises CellDownError when an essential process has ended."""
        for child in self.children:
            if child.process.essential and not child.running:
                raise CellDownError(
                    f"{child.name} ended ({child.exit_text}) and the cell cannot go on without it\n" + "\n".join(last_lines(child.log_path))
                )

    def end(self, children: Collection[Child]) -> None:
        """Ends some processes for good or until ``Child.start``: ``tick`` does not start them again."""
        from dex_bringup.swap import end_wanted

        self._reported.update(end_wanted(list(children)))

    @property
    def client(self) -> CellClient:
        """The supervisor's own line to the cell."""
        return self._connect()

    @property
    def claim(self) -> Claim:
        """Names this cell holds on the machine. Raises DexError before ``start``."""
        if self._claim is None:
            raise DexError("the cell is not started")
        return self._claim

    def swap(self, side: str, hand: str, address: str = "", tick: Callable[[], None] | None = None) -> str:
        """Puts another hand on one side while no goal runs; returns a sentence on it. Raises as ``HandSwap``."""
        from dex_bringup.swap import HandSwap

        swap = HandSwap(self, side, hand, address, tick)
        swap.run()
        return f"{swap.name} is {swap.new}, was {swap.old}; the robot is stopped: it takes a reset and a new goal to move (dex run --reset ...)"

    def serve(self, tick: Callable[[], None] | None = None) -> None:
        """Answers one request of the tools, if there is one; call it as often as ``tick``. Raises CellDownError."""
        from dex_bringup.client import PolledService
        from dex_msgs.srv import SwapHand
        from dex_ros import names

        if self._desk is None:
            self._desk = PolledService(self.client, SwapHand, names.SWAP_HAND)
        asked = self._desk.take()
        if asked is None:
            return
        (request, header), started, response = asked, time.monotonic(), SwapHand.Response()
        try:
            response.detail, response.success = self.swap(request.side, request.hand, request.address, tick), True
        except DexError as error:
            response.reason, response.detail = error.code, str(error)
            if isinstance(error, CellDownError):
                raise
        finally:
            response.duration_s = time.monotonic() - started
            self._desk.answer(response, header)
        self.notify(f"{response.detail} ({response.duration_s:.1f} s)")

    def wait_active(
        self, timeout_s: float, on_progress: Callable[[int, int], None] | None = None, tick: Callable[[], None] | None = None,
        only: Collection[str] = (),
    ) -> float:
        """Waits until every lifecycle node, or each of ``only``, says by its heartbeat that it is active.

        Returns:
            Seconds waited.

        Raises:
            DeadlineError: names who was silent and who is not active, with the state each reported.
            AlreadyRunningError: another process sends heartbeats under a node name of this cell.
        """
        started = time.monotonic()
        states: dict[str, int] = {}
        reasons: dict[str, str] = {}
        wanted = list(only) or [child.name for child in self.children if child.process.lifecycle]
        client = self._connect()
        heartbeats = client.heartbeats()
        try:
            while sum(states.get(name) == ACTIVE for name in wanted) < len(wanted):
                if time.monotonic() - started > timeout_s:
                    raise DeadlineError("the cell", timeout_s, self._silence(wanted, states, reasons))
                heartbeats.wait(0.1)
                for beat in heartbeats.take_all():
                    self._refuse_strangers(beat.node, beat.pid)
                    states[beat.node], reasons[beat.node] = beat.state, beat.reason
                self.tick()
                self._give_up_on_crashes(wanted, states)
                self._give_up_on_refusals([name for name in only if states.get(name, ACTIVE) != ACTIVE], reasons)
                if tick is not None:
                    tick()
                if on_progress is not None:
                    on_progress(sum(states.get(name) == ACTIVE for name in wanted), len(wanted))
        finally:
            heartbeats.destroy()
        return time.monotonic() - started

    def _give_up_on_crashes(self, wanted: list[str], states: Mapping[str, int]) -> None:
        """A node that died twice before it was ever active will not come: its log says why."""
        for child in self.children:
            if child.name in wanted and child.name not in states and len(child.starts) > CRASHES_AT_START and not child.running:
                raise CellDownError(
                    f"{child.name} does not start ({child.exit_text}); log: {child.log_path}\n" + "\n".join(last_lines(child.log_path))
                )

    def _give_up_on_refusals(self, names: list[str], reasons: Mapping[str, str]) -> None:
        """A node that says why it cannot start, where waiting does not help, will not come."""
        from dex_ros.node import RETRIED_CODES

        for name in names:
            if reasons[name] and reasons[name] not in RETRIED_CODES:
                raise DexError(
                    f"{name} does not start [{reasons[name]}]; the end of its log:\n" + "\n".join(last_lines(self.child(name).log_path, 3))
                )

    def _connect(self) -> CellClient:
        """The supervisor's own line to the cell, made once and early so that the stop finds the gate at once."""
        if self._client is None:
            from dex_bringup.client import CellClient

            self._client = CellClient(self.resolution.namespace)
            self._client.prepare_stop()
        return self._client

    def _refuse_strangers(self, node: str, pid: int) -> None:
        own = {child.name: child for child in self.children}
        if node in own and pid != own[node].pid and pid not in self._reported:
            raise AlreadyRunningError(
                f"node {node!r} already runs on ROS_DOMAIN_ID {os.environ.get('ROS_DOMAIN_ID') or '0'} as process {pid} "
                "(perhaps on another machine); give another namespace or ROS_DOMAIN_ID",
                pid,
            )

    def _silence(self, wanted: list[str], states: Mapping[str, int], reasons: Mapping[str, str]) -> str:
        words = {0: "starting", 1: "unconfigured", 2: "inactive", 4: "finalized"}
        silent = [name for name in wanted if name not in states]
        waiting = [
            f"{n} is {words.get(states[n], states[n])}" + (f" ({reasons[n]})" if reasons[n] else "")
            for n in wanted
            if states.get(n, ACTIVE) != ACTIVE
        ]
        parts = ([f"no heartbeat from {silent}"] if silent else []) + waiting
        return "; ".join(parts) + f"; logs: {self.log_folder}"

    def stop_robot(self, timeout_s: float = 1.5) -> bool:
        """Tells the gate to stop, before anything ends; False when it did not answer."""
        if self._client is None or not self.child("gate").running:
            return False
        try:
            self._client.stop_gate(timeout_s)
        except DexError as error:
            self.notify(f"gate did not confirm the stop: {error}")
            return False
        return True

    def stop(self) -> list[str]:
        """Stops the robot, then ends the processes in order; any number of times.

        Returns:
            Names of processes that had to be killed.
        """
        if any(child.running for child in self.children):
            self.stop_robot()
        if self._desk is not None:
            self._desk.destroy()
            self._desk = None
        if self._client is not None:
            self._client.close()
            self._client = None
        killed = stop_in_order(self.children)
        if self._claim is not None:
            self._claim.release()
        return killed
