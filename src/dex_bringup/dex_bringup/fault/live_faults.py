# SPDX-License-Identifier: Apache-2.0
"""Faults of whole processes and topics, on the running cell."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle_msgs.srv import ChangeState

from dex_bringup.fault.live import FaultCell
from dex_bringup.fault.play import Seen, Stage, Unexpected, expect
from dex_core.chunks.join import decoder_of
from dex_msgs.msg import ActionChunk
from dex_ros import names, qos
from dex_ros.testing import wait_for

if TYPE_CHECKING:
    from dex_bringup.client import TaskResult

DEACTIVATE = 4
HANG_S = 4.0
HELD_WITHIN_MS = 500.0
"""On a busy machine; `kill -9` itself is asserted below 200 ms elsewhere."""


def _aborted(cell: FaultCell, node: str, reason: str) -> float:
    """Kills one node in mid-motion; returns the time to the hold [ms]. Raises Unexpected unless the goal ends for that reason."""
    broken = cell.broken_goal(lambda: cell.kill(node))
    found = broken.result
    expect((found.outcome, found.reason) == ("ABORTED", reason), f"{node}: {found.outcome} [{found.reason}] {found.detail}")
    expect(broken.hold_ms < HELD_WITHIN_MS, f"{node}: held only after {broken.hold_ms:.0f} ms")
    return broken.hold_ms


def policy_killed(stage: Stage) -> Seen:
    """F1: SIGKILL to the policy in mid-chunk; no resume, a new goal after its restart and a reset."""
    cell = stage.live
    hold_ms = _aborted(cell, "policy", "policy_lost")
    cell.running.wait_active()
    latched = cell.client.safety()
    expect(latched.latched, "the hold is not latched")
    cell.client.pause(0.5)
    expect(cell.client.safety().goal_id == latched.goal_id, "something resumed by itself")
    cell.make_ready()
    cell.working_goal()
    return Seen("ABORTED [policy_lost], latched; started again, nothing resumes; a new goal works after the reset", hold_ms)


def policy_hangs(stage: Stage) -> Seen:
    """F2: SIGSTOP: the process lives, its sockets are open, nothing is answered."""
    cell = stage.live
    try:
        broken = cell.broken_goal(lambda: cell.signal("policy", signal.SIGSTOP))
    finally:
        cell.signal("policy", signal.SIGCONT)
    found = broken.result
    expect(found.outcome == "ABORTED" and found.reason in ("policy_lost", "chunk_starved"), f"{found.outcome} [{found.reason}] {found.detail}")
    expect(broken.hold_ms < HANG_S * 1e3, f"held only after {broken.hold_ms:.0f} ms")
    cell.make_ready()
    cell.working_goal()
    return Seen(f"ABORTED [{found.reason}]; goes on serving once it wakes, by a new goal", broken.hold_ms)


def camera_silent(stage: Stage) -> Seen:
    """F16: pictures stop while the camera's node lives; they come back."""
    cell = stage.live
    broken = cell.broken_goal(lambda: cell.inject(names.IMAGE, "off"))
    found = broken.result
    expect(found.outcome == "ABORTED", f"{found.outcome} [{found.reason}] {found.detail}")
    pids = cell.running.supervisor.child("camera").pid
    cell.make_ready()
    cell.working_goal()
    expect(cell.running.supervisor.child("camera").pid == pids, "the camera's node was started again")
    return Seen(f"ABORTED [{found.reason}] once the last chunk ran out; works again without a restart", broken.hold_ms)


def other_qos(stage: Stage) -> Seen:
    """F24: a best-effort publisher of the chunks, which the gate reads reliably."""
    cell = stage.live
    log = Path(cell.running.supervisor.child("gate").log_path)
    before = log.stat().st_size
    publisher = cell.client.node.create_publisher(ActionChunk, names.DECODED_CHUNK, qos.SENSOR)
    try:
        wait_for(lambda: "incompatible QoS" in log.read_text(errors="replace")[before:], "a word on the QoS in the gate's log", 8.0)
    finally:
        cell.client.node.destroy_publisher(publisher)
    line = next(line for line in log.read_text(errors="replace")[before:].splitlines() if "incompatible QoS" in line)
    cell.working_goal()
    return Seen(f"said by the gate: {line.split(']: ')[-1][:120]}; its own publishers are heard as before")


def each_node_killed(stage: Stage) -> Seen:
    """F25: decoders, camera, drivers and task, one after another."""
    cell = stage.live
    interfaces = cell.running.resolution.cell.interfaces
    hand = next(name for name, part in interfaces.items() if part.robot.kind == "hand")
    arm = next(name for name, part in interfaces.items() if part.robot.kind == "arm")
    victims = {decoder_of(hand): "decoder_lost", "camera": "camera_lost", arm: "driver_lost", hand: "driver_lost"}
    times = {}
    for node, reason in victims.items():
        times[node] = _aborted(cell, node, reason)
        cell.make_ready()
    cell.working_goal()
    return Seen("ABORTED with who: " + ", ".join(f"{node} [{victims[node]}] {ms:.0f} ms" for node, ms in times.items()), max(times.values()))


def lifecycle_misuse(stage: Stage) -> Seen:
    """F27: a decoder is deactivated in mid-goal; a goal while it is inactive."""
    from dex_bringup.lifecycle import ACTIVE, bring

    cell = stage.live
    interfaces = cell.running.resolution.cell.interfaces
    node = decoder_of(next(name for name, part in interfaces.items() if part.robot.kind == "hand"))
    service = f"{node}/change_state"
    cell.client.prepare(ChangeState, service)

    def deactivate() -> None:
        request = ChangeState.Request()
        request.transition.id = DEACTIVATE
        cell.client.prepare(ChangeState, service).call_async(request)

    try:
        broken = cell.broken_goal(deactivate)
        found = broken.result
        expect((found.outcome, found.reason) == ("ABORTED", "decoder_lost"), f"{found.outcome} [{found.reason}] {found.detail}")
        cell.client.quiet_gate()
        refused = cell.goal(3.0)
        expect(refused.outcome in ("REFUSED", "ABORTED") and not refused.chunks, f"a goal ran while {node} was inactive: {refused}")
    finally:
        bring(cell.client, [node], ACTIVE, 20.0, cell.running.supervisor.tick)
    cell.make_ready()
    cell.working_goal()
    return Seen(f"ABORTED [{found.reason}]; a goal meanwhile is {refused.outcome} [{refused.reason}]; works again once active", broken.hold_ms)


def two_goals(stage: Stage) -> Seen:
    """F28: a second goal while one runs, then a stop; then a goal that pre-empts: each ends in a terminal state."""
    from dex_bringup.client import CellClient

    cell = stage.live
    second: list[TaskResult] = []

    def other() -> None:
        with CellClient(cell.running.resolution.namespace) as client:
            second.append(client.run_task("push the two cans together", 2.0))
        cell.client.stop_gate()

    def take_over() -> None:
        with CellClient(cell.running.resolution.namespace) as client:
            second.append(client.run_task("Return to the rest pose", 3.0, preempt=True))

    broken = cell.broken_goal(other)
    found = broken.result
    expect(second and second[0].outcome == "REFUSED", f"the second goal: {second}")
    expect(found.outcome == "ABORTED" and found.reason == "stop_requested", f"{found.outcome} [{found.reason}] {found.detail}")
    cell.make_ready()
    began = time.monotonic()
    done = cell.working_goal(1.0)
    if time.monotonic() - began > 60.0:
        raise Unexpected(f"the next goal took {time.monotonic() - began:.0f} s: {done}")
    cell.make_ready()
    taken = cell.broken_goal(take_over)
    preempted, taker = taken.result, second[-1]
    expect((preempted.outcome, preempted.reason) == ("PREEMPTED", "preempted"), f"the goal that was running: {preempted}")
    expect(taker.outcome in ("DEADLINE", "SUCCEEDED") and taker.chunks, f"the goal that took its place: {taker}")
    done = f"second REFUSED, first goes on and ends as ABORTED [{found.reason}]; the next one runs"
    return Seen(f"{done}; pre-empted: PREEMPTED, the new one {taker.outcome} after {taker.chunks} chunks", taken.hold_ms)
