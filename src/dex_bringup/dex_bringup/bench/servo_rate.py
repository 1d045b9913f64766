# SPDX-License-Identifier: Apache-2.0
"""Period of the servo stream of one xArm at 250 Hz, where the robot would receive it: gate and driver real, policy made up, controller simulated."""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np
import psutil
from rclpy.context import Context
from rclpy.node import Node

from dex_bringup.bench.report import Goal, Report
from dex_bringup.claim import claim_cell
from dex_bringup.device.choose import load_alone, robot_of
from dex_bringup.resolve import process_environment
from dex_control.gate import watched_nodes
from dex_core.clock import NS, Priority, Ticker, set_realtime_priority
from dex_core.config import CellConfig
from dex_core.errors import DeadlineError
from dex_core.types import ActionChunk, ActionSlice
from dex_msgs.msg import ActionChunk as ActionChunkMsg
from dex_msgs.msg import Heartbeat, JointCommand, SafetyState
from dex_msgs.srv import SetGoal
from dex_ros import names, qos
from dex_ros.convert import chunk_to_msg
from dex_ros.polling import PolledSubscription
from dex_ros.testing import spinning, wait_for
from dex_sim.plant import KinematicPlant
from dex_sim.xarm_controller import XArmController

ARM = "left_arm"
GOAL_ID = "servo-rate"
PERIOD_ERROR_MS = 3.0
"""The goal of the whole cell at 100 Hz, held at the higher rate too; a period beyond two of them is a missed deadline."""
SWAY_RAD, SWAY_PERIOD_S = 0.2, 4.0
CHUNK_STEPS, CHUNK_DT_S, REPLAN_S, BEAT_HZ = 64, 0.05, 0.8, 20.0
START_S, SETTLE_S, PATIENCE_S = 40.0, 1.0, 0.6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--rate", type=float, default=250.0, metavar="HZ", help="control rate (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help="how long it streams (default %(default)s)")


def arm_cell(rate_hz: float) -> CellConfig:
    """One xArm7 under a gate of this rate; heartbeats may be older than on a robot, as the policy here is a thread of the benchmark."""
    cell = load_alone(robot_of("xarm7"), "left")
    control = dataclasses.replace(cell.control, rate_hz=rate_hz, heartbeat_timeout_s=PATIENCE_S, hang_timeout_s=PATIENCE_S)
    return dataclasses.replace(cell, control=control)


class MadeUpPolicy:
    """Everybody a goal needs besides gate and driver: heartbeats, and chunks that sway the first joint."""

    def __init__(self, node: Node, cell: CellConfig) -> None:
        self._cell, self._home = cell, np.array(cell.interface(ARM).home)
        self._others = [watch.node for watch in watched_nodes(cell) if watch.node != ARM]
        self._beats = node.create_publisher(Heartbeat, names.HEARTBEATS, qos.HEARTBEAT)
        self._chunks = node.create_publisher(ActionChunkMsg, names.ACTION_CHUNK, qos.CHUNK)
        self._started_ns, self._sequence = 0, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="made-up policy", daemon=True)
        self._thread.start()

    def start(self) -> None:
        """Chunks from now on."""
        self._started_ns = time.time_ns()

    def __enter__(self) -> MadeUpPolicy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        set_realtime_priority(Priority.CONTROL_PROCESS)
        ticker, every, count = Ticker(BEAT_HZ), round(REPLAN_S * BEAT_HZ), 0
        while not self._stop.is_set():
            ticker.wait()
            for name in self._others:
                self._beats.publish(Heartbeat(node=name, state=3))
            if self._started_ns and count % every == 0:
                self._chunks.publish(chunk_to_msg(self._chunk()))
            count += bool(self._started_ns)

    def _chunk(self) -> ActionChunk:
        now_ns = time.time_ns()
        times_s = (now_ns - self._started_ns) / NS + CHUNK_DT_S * np.arange(1, CHUNK_STEPS + 1)
        path = np.tile(self._home, (CHUNK_STEPS, 1))
        path[:, 0] += SWAY_RAD * 0.5 * (1.0 - np.cos(2.0 * np.pi * times_s / SWAY_PERIOD_S))
        slices = (ActionSlice(ARM, "joint_position", path, self._cell.interface(ARM).names),)
        self._sequence += 1
        timing = {"observed": now_ns, "inference_started": now_ns, "inferred": now_ns}
        return ActionChunk(now_ns, GOAL_ID, self._sequence, CHUNK_DT_S, 1.0, slices, "made up", timing)


@contextmanager
def processes(cell_file: Path) -> Iterator[dict[str, psutil.Process]]:
    """Gate and driver of the cell, as `dex up` starts them, by name."""
    environment = {**os.environ, **process_environment(pictures=False)}
    commands = (("dex_control.gate_node", "gate"), ("dex_arms.arm_node", ARM))
    started = [
        subprocess.Popen(
            [sys.executable, "-m", module, "--ros-args", "-r", f"__node:={name}", "-p", f"cell_file:={cell_file}", "-p", f"interface:={ARM}"],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for module, name in commands
    ]
    try:
        yield {name: psutil.Process(process.pid) for (_module, name), process in zip(commands, started, strict=True)}
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            try:
                process.wait(timeout=10.0)
            except subprocess.TimeoutExpired:
                process.kill()


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Streams one arm and meters it at the simulated controller."""
    import rclpy

    cell = arm_cell(options.rate)
    context = Context()
    with tempfile.TemporaryDirectory(prefix="dex-servo-rate-") as folder, ExitStack() as stack:
        stack.callback(claim_cell(cell, "").release)
        rclpy.init(context=context)
        stack.callback(lambda: rclpy.try_shutdown(context=context))
        cell_file = Path(folder) / "cell.yaml"
        cell.save(cell_file)
        arm = cell.interface(ARM)
        controller = stack.enter_context(XArmController(KinematicPlant(arm.names, arm.home), cell.address_of(ARM)))
        running = stack.enter_context(processes(cell_file))
        node = Node("servo_rate", context=context)
        stack.callback(node.destroy_node)
        stack.enter_context(spinning(node))
        policy = stack.enter_context(MadeUpPolicy(node, cell))
        say(f"one xArm7 at {options.rate:g} Hz for {options.seconds:g} s")
        _start_goal(node, policy)
        time.sleep(SETTLE_S)
        used_s = {name: _cpu_s(process) for name, process in running.items()}
        controller.servo_statistics.reset()
        time.sleep(options.seconds)
        figures = controller.servo_statistics.summary(1.0 / options.rate)
        cores = {f"{name}_process_cores": (_cpu_s(process) - used_s[name]) / options.seconds for name, process in running.items()}
        commands = PolledSubscription(node, JointCommand, names.JOINT_COMMAND, qos.COMMAND)
        figures["tracking_at_the_end"] = float(wait_for(commands.take_newest, "the gate").mode == JointCommand.TRACK)
    figures = {f"{ARM}_servo_{name}": value for name, value in figures.items()}
    figures.update(cores)
    expected = options.rate * options.seconds
    figures["received_of_expected"] = figures[f"{ARM}_servo_received"] / expected
    goals = (
        Goal(f"{ARM}_servo_period_error_p99_ms", at_most=PERIOD_ERROR_MS, unit="ms"), Goal(f"{ARM}_servo_late", at_most=0.001 * expected),
        Goal("received_of_expected", at_least=0.99), Goal(f"{ARM}_servo_tracking_at_the_end", at_least=1.0),
    )
    return Report("servo-rate", figures, goals)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _start_goal(node: Node, policy: MadeUpPolicy) -> None:
    """Sets a goal as soon as the gate takes one, and starts the chunks. Raises DeadlineError."""
    states: list[SafetyState] = []
    node.create_subscription(SafetyState, names.SAFETY_STATE, states.append, qos.LATCHED)
    client = node.create_client(SetGoal, names.GATE_SET_GOAL)
    if not client.wait_for_service(timeout_sec=START_S):
        raise DeadlineError("service gate/set_goal", START_S)
    refused = ""

    def accepted() -> bool:
        nonlocal refused
        future = client.call_async(SetGoal.Request(goal_id=GOAL_ID, instruction="sway", active=True))
        wait_for(future.done, "answer of gate/set_goal")
        refused = f"{future.result().reason}: {future.result().detail}"
        return bool(future.result().accepted)

    try:
        wait_for(accepted, "the gate's yes to a goal", START_S, poll_s=0.2)
    except DeadlineError as error:
        raise DeadlineError("the gate's yes to a goal", START_S, refused) from error
    policy.start()
