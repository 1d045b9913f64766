# SPDX-License-Identifier: Apache-2.0
"""Period of the 100 Hz command stream with everything running and goals under way, at the gate, at a reader and at the arms."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from dex_bringup.bench.closed_loop import FIRST_UNSEEN_SEED
from dex_bringup.bench.live import LiveCell
from dex_bringup.bench.report import Goal, Report, percentile
from dex_core.config import load_task
from dex_msgs.msg import JointCommand
from dex_ros import names
from dex_ros.convert import time_from_msg

PERIOD_ERROR_MS = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--goals", type=int, default=3, help="how many goals run meanwhile (default %(default)s)")


class StreamMeter:
    """Takes every command from a thread of its own and keeps when it was stamped, received, and in which mode."""

    def __init__(self, node: Any) -> None:
        from rclpy.serialization import deserialize_message

        from dex_eval.record_node import RawSubscription

        self.rows: list[tuple[int, int, int]] = []  # (stamp, source time, mode)
        profile = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1000, reliability=ReliabilityPolicy.RELIABLE)
        self._subscription = RawSubscription(node, JointCommand, names.JOINT_COMMAND, profile, raw=True)
        self._decode = lambda data: deserialize_message(data, JointCommand)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            while (taken := self._subscription.take_stamped()) is not None:
                command = self._decode(taken[0])
                self.rows.append((time_from_msg(command.header.stamp), taken[1], int(command.mode)))

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()
        self._thread.join(timeout=2.0)


def period_figures(times_ns: Sequence[int], prefix: str, nominal_ms: float) -> dict[str, float]:
    """Percentiles of the distance of each period from the nominal one [ms], and periods beyond twice it."""
    periods = [(b - a) * 1e-6 for a, b in zip(times_ns, times_ns[1:], strict=False)]
    errors = [abs(period - nominal_ms) for period in periods]
    return {
        f"{prefix}_periods": len(periods),
        f"{prefix}_period_p50_ms": percentile(periods, 50),
        f"{prefix}_period_error_p99_ms": percentile(errors, 99),
        f"{prefix}_period_max_ms": max(periods, default=float("nan")),
        f"{prefix}_periods_doubled": sum(period > 2 * nominal_ms for period in periods),
    }


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Runs goals and meters the stream at both ends."""
    task = load_task("push_cans")
    simulation: dict[str, str] = {}
    with LiveCell(options.cell, notify=say) as live:
        nominal_ms = 1e3 / live.resolution.cell.control.rate_hz

        def diagnose(array: DiagnosticArray) -> None:
            for status in array.status:
                if status.name.endswith("sim: simulation"):
                    simulation.update({pair.key: pair.value for pair in status.values})

        live.client.node.create_subscription(DiagnosticArray, names.DIAGNOSTICS, diagnose, 10)
        meter = StreamMeter(live.client.node)
        for seed in range(FIRST_UNSEEN_SEED, FIRST_UNSEEN_SEED + options.goals):
            say(f"seed {seed}: {live.attempt(seed, task.instruction).outcome}")
        live.client.spin_until(lambda: "real_time_factor" in simulation, "diagnostics of sim", 5.0)
        meter.stop()
        figures = {
            **period_figures([row[0] for row in meter.rows], "gate", nominal_ms),
            **period_figures([row[1] for row in meter.rows], "sent", nominal_ms),
            **live.figures(),
        }
    figures["simulation"] = simulation
    figures.update(_servo_figures(simulation))
    goals = [
        Goal("gate_period_error_p99_ms", at_most=PERIOD_ERROR_MS, unit="ms"),
        Goal("sent_period_error_p99_ms", at_most=PERIOD_ERROR_MS, unit="ms"),
    ]
    goals += [Goal(key, at_most=0) for key in figures if key.endswith("servo_late")]  # later than two periods: a missed deadline
    return Report("control-jitter", figures, tuple(goals))


def _servo_figures(simulation: dict[str, str]) -> dict[str, float]:
    """``left_arm.period_error_p99_ms`` of the simulator's diagnostics -> ``left_arm_servo_period_error_p99_ms``."""
    found = {}
    for key, value in simulation.items():
        interface, _, name = key.partition(".")
        if name and interface.endswith("_arm"):
            found[f"{interface}_servo_{name}"] = float(value)
    return found
