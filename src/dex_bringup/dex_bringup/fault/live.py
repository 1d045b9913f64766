# SPDX-License-Identifier: Apache-2.0
"""The whole simulated cell as a stage for faults: started once, made whole again between faults, every command looked at."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState

from dex_bringup.cli.fault import inject_with
from dex_bringup.client import TaskResult
from dex_bringup.fault.play import Unexpected, expect
from dex_bringup.testing import RunningCell, private_cell
from dex_core.config import load_cell
from dex_core.contracts.command_spy import Bounds, CommandSpy
from dex_eval.testing import fixture_cell
from dex_msgs.msg import JointCommand
from dex_ros import names, qos
from dex_ros.convert import time_from_msg
from dex_ros.polling import PolledSubscription

DOMAIN, HOST = 57, 61
INSTRUCTION = "push the two cans together"
RAMP_RAD = 0.3
"""The policy of this stage lets every arm joint creep by so much per chunk: motion to break, far from everything."""
SCENE = 1
FAULTED = (names.IMAGE, names.ACTION_CHUNK, "left/arm/joint_states")
STEP_SLACK_RAD, TOGETHER_S = 0.1, 0.05
"""This process judges the distance of a command from measurements stamped at most ``TOGETHER_S`` apart: at 2 rad/s that is worth the slack."""
WAKE_S, CLOSE_S = 0.1, 20.0
UNRELATED = ("gate_lost", "task_lost", "state_stale")
"""Ends of a goal that a busy machine brings by itself: the fault is tried again."""
PATIENCE_S = 40.0


@dataclass(frozen=True)
class Broken:
    """A goal that was broken in mid-motion: how it ended, and the time from the fault to the first command that follows nothing [ms]."""

    result: TaskResult
    hold_ms: float


class FaultCell:
    """Starts the cell on a domain and at addresses of its own, with a small policy made for it.

    Args:
        cell: name or file. spy: looks at every command it publishes. say: takes one sentence for people.

    Attributes:
        client: services and RunTask. supervisor: the processes.
    """

    def __init__(self, cell: str, spy: CommandSpy, say: Callable[[str], None]) -> None:
        self._name, self._spy, self._say = cell, spy, say
        self._folder = TemporaryDirectory(prefix="dex_fault_cell_")
        self._measured: dict[str, tuple[float, int]] = {}
        self._commands: list[tuple[int, int]] = []
        self._running: RunningCell | None = None
        self._witness = ExitStack()

    def __enter__(self) -> FaultCell:
        folder = Path(self._folder.name)
        cell = fixture_cell(load_cell(private_cell(folder, DOMAIN, self._name, host=HOST)), folder, ramp_rad=RAMP_RAD)
        cell.save(folder / "cell.yaml")
        self._say("starting the simulated cell")
        faults = [topic for topic in FAULTED if topic != FAULTED[-1] or "left_arm" in cell.interfaces]
        self._running = RunningCell(folder, DOMAIN, {"faults": ",".join(faults), "monitor": "false"}, folder / "cell.yaml").__enter__()
        try:
            self._listen()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._witness.close()
        if self._running is not None:
            self._running.__exit__(kind, error, trace)
            self._running = None
        self._folder.cleanup()

    @property
    def running(self) -> RunningCell:
        """The cell. Only while it is entered."""
        assert self._running is not None
        return self._running

    @property
    def client(self) -> Any:
        """Services and RunTask."""
        return self.running.client

    def make_ready(self) -> None:
        """Every fault off, every node active, the gate idle. Raises DeadlineError naming who is not there."""
        for topic in FAULTED:
            if topic in self.running.resolution.arguments["faults"].split(","):
                self.inject(topic, "ok")
        self.running.wait_active(PATIENCE_S)
        self.client.new_scene(SCENE)  # the arms are at home again: goal after goal the policy of this cell leads them further away

    def inject(self, component: str, kind: str, amount: float = 0.0) -> None:
        """A fault on one topic."""
        inject_with(self.client, component, kind, amount)

    def signal(self, node: str, number: int) -> None:
        """A signal to one node's process."""
        os.kill(self.running.supervisor.child(node).pid, number)

    def kill(self, node: str) -> None:
        """SIGKILL to one node's process; the supervisor starts it again."""
        self.signal(node, signal.SIGKILL)

    def goal(self, deadline_s: float) -> TaskResult:
        """One goal with nothing broken."""
        return self.client.run_task(INSTRUCTION, deadline_s, None, self.running.supervisor.tick)

    def working_goal(self, deadline_s: float = 3.0) -> TaskResult:
        """A goal that must run to its deadline: again while a process just started is not heard yet. Raises Unexpected when none does."""
        give_up_s = time.monotonic() + PATIENCE_S
        while True:
            result = self.goal(deadline_s)
            if result.outcome == "DEADLINE" and result.chunks:
                return result
            if time.monotonic() > give_up_s:
                raise Unexpected(f"no goal works any more: {result}")
            self.make_ready()

    def broken_goal(self, break_it: Callable[[], None], deadline_s: float = 15.0, after_chunks: int = 2) -> Broken:
        """A goal that is broken once it moves; again while something else ended it before.

        Raises:
            Unexpected: no goal came so far, or the cell went on commanding.
        """
        give_up_s = time.monotonic() + PATIENCE_S
        while True:
            broken_ns, result = self._attempt(break_it, deadline_s, after_chunks)
            if broken_ns and (result.reason not in UNRELATED or time.monotonic() > give_up_s):
                return Broken(result, self._hold_ms(broken_ns, result))
            if time.monotonic() > give_up_s:
                raise Unexpected(f"no goal came as far as to be broken: {result}")
            self.make_ready()

    def _attempt(self, break_it: Callable[[], None], deadline_s: float, after_chunks: int) -> tuple[int, TaskResult]:
        chunks, broken_ns = 0, 0
        self._commands.clear()

        def feedback(message: Any) -> None:
            nonlocal chunks
            chunks = message.chunks

        def tick() -> None:
            nonlocal broken_ns
            self.running.supervisor.tick()
            if not broken_ns and chunks >= after_chunks:
                broken_ns = time.time_ns()
                break_it()

        result = self.client.run_task(INSTRUCTION, deadline_s, feedback, tick)
        return broken_ns, result

    def _hold_ms(self, broken_ns: int, result: TaskResult) -> float:
        self.client.pause(0.3)
        held = next((stamp for stamp, mode in list(self._commands) if stamp > broken_ns and mode != JointCommand.TRACK), None)
        expect(held is not None, f"commands went on after the fault: {result}")
        return (held - broken_ns) * 1e-6

    def _listen(self) -> None:
        """A node and a thread of its own: whoever waits for a goal may look away, the witness never does."""
        cell, context = self.running.resolution.cell, Context()
        rclpy.init(args=[], context=context, domain_id=DOMAIN, signal_handler_options=SignalHandlerOptions.NO)
        self._witness.callback(rclpy.try_shutdown, context=context)
        self._bounds = Bounds.of([limit for part in cell.interfaces.values() for limit in part.limits])
        node = rclpy.create_node("fault_witness", context=context, enable_rosout=False, start_parameter_services=False)
        self._witness.callback(node.destroy_node)
        every = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
        commands = PolledSubscription(node, JointCommand, names.JOINT_COMMAND, every)
        states = [PolledSubscription(node, JointState, names.device_states(name), qos.SENSOR) for name in cell.interfaces]
        end = threading.Event()

        def watch() -> None:
            while not end.is_set():
                if commands.wait(WAKE_S):
                    for state in states:
                        self._note_state(state.take())
                    for command in commands.take_all():
                        self._note_command(command)

        thread = threading.Thread(target=watch, name="witness", daemon=True)
        thread.start()
        self._witness.callback(thread.join, CLOSE_S)
        self._witness.callback(end.set)

    def _note_state(self, message: JointState | None) -> None:
        if message is not None:
            stamp_ns = time_from_msg(message.header.stamp)
            self._measured.update({name: (q, stamp_ns) for name, q in zip(message.name, message.position, strict=False)})

    def _note_command(self, message: JointCommand) -> None:
        """Judges one command; its distance from measured only beside measurements of about its own instant."""
        stamp_ns = time_from_msg(message.header.stamp)
        self._commands.append((stamp_ns, message.mode))
        if message.names:
            near = [self._measured.get(name, (np.nan, 0)) for name in message.names]
            measured = np.array([q if abs(at_ns - stamp_ns) < TOGETHER_S * 1e9 else np.nan for q, at_ns in near])
            self._spy.look("joint_command", message.names, np.asarray(message.positions), self._bounds, measured, step_slack_rad=STEP_SLACK_RAD)
