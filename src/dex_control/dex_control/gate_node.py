# SPDX-License-Identifier: Apache-2.0
"""The gate as a process: one thread at the control rate polls everything, ticks the core and publishes its command."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from rclpy.executors import ExternalShutdownException
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from dex_control.gate import CommandMode, Gate, Reply, Tick
from dex_control.outcome import ChunkOutcome
from dex_control.tally import motion_words
from dex_core.clock import NS, Priority, SteadyClock, Ticker, set_realtime_priority
from dex_core.errors import DexError
from dex_core.safety import Beat, Mode, ProcessBook, SafetyStatus, machine_id
from dex_msgs.msg import ActionChunk, ChunkReport, CommandReport, Heartbeat, JointCommand, LimitEvent, SafetyState
from dex_msgs.srv import SetGoal
from dex_ros import names, qos
from dex_ros.convert import chunk_from_msg, fill_doubles, joint_state_from_msg, time_to_msg, timing_from_msg, timing_to_msg
from dex_ros.diagnostics import ERROR, OK, WARN
from dex_ros.node import DexNode, spin_main
from dex_ros.polling import PolledSubscription, WaitForAny

REPORT_EVERY, GRAPH_EVERY, COLLECT_EVERY = 10, 25, 500
"""Ticks between two reports, looks at the graph, and garbage collections (whole while idle, youngest objects otherwise)."""
DIAGNOSE_PERIOD_S = REST_TIMEOUT_S = 1.0
INTAKE_NS = 3_000_000
"""A chunk that comes later than this before a tick is examined after it: that takes 2 to 3 ms."""


class GateNode(DexNode):
    """Sole publisher of ``joint_command``. Services ``gate/set_goal``, ``gate/stop``, ``gate/reset``."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__("gate", **kwargs)
        self._lock, self._running = threading.Lock(), threading.Event()
        self._gate: Gate | None = None
        self._thread: threading.Thread | None = None
        self._missed, self._slowest, self._held, self._seams = 0, 1.0, (), dict[str, float]()
        self._latch: SafetyStatus | None = None
        self.create_timer(DIAGNOSE_PERIOD_S, self._diagnose)
        self.create_service(SetGoal, names.GATE_SET_GOAL, self._on_set_goal)
        self.create_service(Trigger, names.GATE_STOP, self._on_stop)
        self.create_service(Trigger, names.GATE_RESET, self._on_reset)

    def configure(self) -> None:
        """Builds the core from the cell and opens every topic; what was latched before a cleanup stays latched."""
        self._gate = Gate(self.cell)
        if self._latch is not None:
            self._gate.stop(self._latch.cause, self._latch.detail)
        self._commands = self.create_publisher(JointCommand, names.JOINT_COMMAND, qos.COMMAND)
        self._states = self.create_publisher(SafetyState, names.SAFETY_STATE, qos.LATCHED)
        self._reports = self.create_publisher(CommandReport, names.COMMAND_REPORT, qos.REPORT)
        self._chunk_reports = self.create_publisher(ChunkReport, names.CHUNK_REPORT, qos.REPORT)
        self._chunk_inputs = [PolledSubscription(self, ActionChunk, t, qos.CHUNK, raw=True) for t in (names.ACTION_CHUNK, names.DECODED_CHUNK)]
        self._any_chunk = WaitForAny(self._chunk_inputs)
        self._beat_input = PolledSubscription(self, Heartbeat, names.HEARTBEATS, qos.HEARTBEAT)
        self._state_inputs = {
            name: PolledSubscription(self, JointState, names.device_states(name), qos.SENSOR) for name in self.cell.interfaces
        }
        topic = self.cell.safety.deadman_topic
        self._deadman_input = PolledSubscription(self, Bool, topic, qos.SENSOR) if topic else None
        self._message = JointCommand()
        self._joint_names = list(self._gate.limits.names)
        self._machine, self._processes = machine_id(), ProcessBook()
        self._ticks = 0

    def activate(self) -> None:
        """Starts the control thread; the stream begins with IDLE."""
        self._running.set()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._thread.start()

    def deactivate(self) -> None:
        """Stops, latched, waits until the cell rests, and ends the control thread; the last command is STOP."""
        with self._lock:
            self._gate.stop("gate", "the gate was deactivated")
        deadline = time.monotonic() + REST_TIMEOUT_S
        while self._gate.moving and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        self._running.clear()
        self._thread.join(timeout=REST_TIMEOUT_S)
        self._publish_status(self._gate.status)

    def cleanup(self) -> None:
        """Closes every topic."""
        if self._gate is None:
            return
        self._any_chunk = None
        for subscription in (*self._chunk_inputs, self._beat_input, *self._state_inputs.values(), self._deadman_input):
            if subscription is not None:
                subscription.destroy()
        for publisher in (self._commands, self._states, self._reports, self._chunk_reports):
            self.destroy_publisher(publisher)
        self._processes.close()
        self._latch = self._gate.status if self._gate.status.latched else None
        self._gate = None

    def _run(self) -> None:
        """The control thread: absolute ticks, everything of one tick in one go."""
        realtime = set_realtime_priority(Priority.GATE)
        self.get_logger().info(f"control thread at {self._gate.config.rate_hz:g} Hz, {'SCHED_FIFO' if realtime else 'normal priority'}")
        self._publish_status(self._gate.status)
        gc.disable()  # it collects by itself, when it has time
        clock = SteadyClock()
        ticker = Ticker(self._gate.config.rate_hz, clock)
        try:
            running = True
            while running:
                running = self._running.is_set()  # looked at before the tick, so that the last one tells what the end is
                tick_ns = ticker.wait()
                if ticker.lateness_ns > ticker.period_ns:  # it was this process that stood still: what the others said meanwhile counts
                    with self._lock:
                        self._take_news(clock.now_ns())
                self._tick(tick_ns, clock.now_ns())
                self._listen(ticker.next_ns - INTAKE_NS, clock)
        except Exception as error:  # noqa: BLE001 - the process's outermost loop: without commands the drivers hold by themselves
            if self.context.ok():
                self.get_logger().fatal(f"control thread ended: {error!r}")
                self.diagnostics.set("gate", ERROR, f"control thread ended: {error!r}", {"code": "internal_error"})
                self.heartbeat.reason = "internal_error"
                os.kill(os.getpid(), signal.SIGTERM)  # a gate without its loop is no gate: end, so that everyone sees it
        finally:
            gc.enable()

    def _tick(self, tick_ns: int, now_ns: int) -> None:
        with self._lock:
            self._poll(now_ns)
            tick = self._gate.tick(tick_ns, now_ns)
        self._publish_command(tick)
        for outcome in tick.outcomes:
            used = outcome.accepted and tick.mode is CommandMode.TRACK
            self._publish_outcome(outcome.first_command_at(self.now_ns()) if used else outcome)
        if tick.status_changed:
            self._publish_status(tick.status)
        self._ticks += 1
        if self._ticks % REPORT_EVERY == 0 or tick.status_changed:
            self._publish_report(tick)
        if self._ticks % COLLECT_EVERY == 0:
            gc.collect(2 if tick.mode is CommandMode.IDLE else 0)

    def _poll(self, now_ns: int) -> None:
        """What a command depends on; the rest can wait until it is out."""
        for name, states in self._state_inputs.items():
            message = states.take()  # keep-last 1: the newest
            if message is not None:
                self._read(lambda m=message, n=name: self._gate.on_joint_state(n, joint_state_from_msg(m), now_ns), name)
        if self._deadman_input is not None and (pressed := self._deadman_input.take()) is not None:
            self._gate.on_deadman(pressed.data, now_ns)

    def _listen(self, until_ns: int, clock: SteadyClock) -> None:
        """Between two ticks: signs of life, the graph, and chunks as they come, whose examination would make a command late."""
        with self._lock:
            self._take_news(clock.now_ns())
        while True:
            with self._lock:
                for chunks in self._chunk_inputs:  # raw: looking into an empty queue builds no message
                    while (chunk := chunks.take()) is not None:
                        self._take_chunk(deserialize_message(chunk, ActionChunk), clock.now_ns())
            left_ns = until_ns - clock.now_ns()
            if left_ns <= 0 or not self._any_chunk.wait(left_ns / NS):
                return

    def _take_news(self, now_ns: int) -> None:
        while (beat := self._beat_input.take()) is not None:
            attended = bool(beat.machine) and beat.machine == self._machine and self._processes.watch(beat.node, beat.pid)
            self._gate.on_heartbeat(Beat(beat.node, beat.state, beat.executor_age_s, beat.reason, beat.pid, attended), now_ns)
        for node, pid in self._processes.died():
            self._gate.on_death(node, pid)
        if self._ticks % GRAPH_EVERY == 0:
            self._gate.on_publishers(self.count_publishers(self._commands.topic_name))

    def _read(self, update: Callable[[], None], interface: str) -> None:
        try:
            update()
        except DexError as error:
            self._gate.states.refuse(interface, error)

    def _take_chunk(self, message: ActionChunk, now_ns: int) -> None:
        try:
            chunk = chunk_from_msg(message)
        except DexError as error:
            self._gate.refuse_chunk(message.goal_id, message.sequence, error, timing_from_msg(message.timing))
            return
        self._gate.on_chunk(chunk, now_ns, self.now_ns())

    def _publish_command(self, tick: Tick) -> None:
        message = self._message
        message.header.stamp = time_to_msg(self.now_ns())
        message.sequence += 1
        message.mode = int(tick.mode)
        message.names = self._joint_names if tick.command.names else []
        message.positions = fill_doubles(tick.command.position_rad)
        message.velocities = fill_doubles(tick.command.velocity_rad_s)
        self._commands.publish(message)

    def _publish_outcome(self, outcome: ChunkOutcome) -> None:
        message = ChunkReport(
            goal_id=outcome.goal_id, sequence=outcome.sequence, accepted=outcome.accepted, reason=outcome.reason, detail=outcome.detail,
            timing=timing_to_msg(outcome.timing_ns), inference_ms=outcome.inference_ms, overhead_ms=outcome.overhead_ms,
            steps_skipped=outcome.steps_skipped, **outcome.seams,
        )
        self._seams = outcome.seams or self._seams
        message.header.stamp = time_to_msg(self.now_ns())
        self._chunk_reports.publish(message)
        if outcome.accepted and outcome.detail:
            self.get_logger().info(f"chunk {outcome.sequence}: {outcome.detail}", throttle_duration_sec=1.0)
        elif not outcome.accepted:
            self.get_logger().warning(f"chunk {outcome.sequence} refused [{outcome.reason}]: {outcome.detail}", throttle_duration_sec=1.0)

    def _publish_report(self, tick: Tick) -> None:
        with self._lock:
            report = self._gate.report()
        message = CommandReport(
            goal_id=tick.status.goal_id, command_sequence=self._message.sequence, chunk_sequence=self._gate.intake.sequence,
            commands=report.commands, chunks_accepted=report.chunks_accepted, chunks_late=report.chunks_late,
            chunks_duplicate=report.chunks_duplicate, chunks_rejected=report.chunks_rejected, ticks_missed=report.ticks_missed,
            period_mean_ms=report.period_mean_ms, period_max_error_ms=report.period_max_error_ms,
            limits=[LimitEvent(**vars(hits)) for hits in report.limits], speed_scale=report.speed_share,
            validation_max_ms=report.validation_max_ms, held=list(report.held),
        )
        message.header.stamp = time_to_msg(self.now_ns())
        self._reports.publish(message)
        self._slowest, self._held = min(self._slowest, report.speed_share), report.held

    def _publish_status(self, status: SafetyStatus) -> None:
        message = SafetyState(
            mode=int(status.mode), latched=status.latched, goal_id=status.goal_id, reason=status.reason, cause=status.cause, detail=status.detail
        )
        message.header.stamp = time_to_msg(self.now_ns())
        self._states.publish(message)
        level = ERROR if status.latched else WARN if status.mode is Mode.HOLDING else OK
        text = f"{status.mode.name}: {status.reason} ({status.cause}): {status.detail}" if status.reason else status.mode.name
        self.diagnostics.set("gate", level, text, {"reason": status.reason, "cause": status.cause, "goal_id": status.goal_id})
        if status.latched:
            self.get_logger().error(text)
        else:
            self.get_logger().info(text)

    def _diagnose(self) -> None:
        """Tells at 1 Hz what keeps a goal from starting, and whether the control thread keeps its rate."""
        if self._gate is None or not self._running.is_set():
            return
        with self._lock:
            obstacles, missed, commands = self._gate.obstacles(time.monotonic_ns()), self._gate.ticks_missed, self._ticks
        words, causes = "; ".join(trip.detail for trip in obstacles) or "everyone is there", {trip.cause: trip.reason for trip in obstacles}
        self.diagnostics.set("readiness", WARN if obstacles else OK, words, causes)
        words, values = motion_words(self._slowest, self._held), {"speed_scale": f"{self._slowest:.3f}", "held": " ".join(self._held)}
        self._slowest = 1.0
        self.diagnostics.set("motion", WARN if words else OK, words or "as wanted", values)
        values = {name: f"{value:.4g}" for name, value in self._seams.items()}
        self.diagnostics.set("schedule", OK, f"{self.cell.control.schedule}, and the seams of the newest chunk", values)
        newly, self._missed = missed - self._missed, missed
        words = f"{newly} ticks missed in the last second" if newly else "keeps its rate"
        self.diagnostics.set("control rate", WARN if newly else OK, words, {"ticks": commands, "ticks_missed": missed})

    def _ask(self, question: Callable[[Gate], Reply]) -> Reply:
        """Puts a request to the core between two ticks; refused while there are none."""
        if self._gate is None or not self._running.is_set():
            return Reply(False, "inactive", f"the gate is not active (lifecycle state {self.state_id})")
        with self._lock:
            return question(self._gate)

    def _on_set_goal(self, request: SetGoal.Request, response: SetGoal.Response) -> SetGoal.Response:
        reply = self._ask(lambda gate: gate.set_goal(request.goal_id, request.active, time.monotonic_ns()))
        response.accepted, response.reason, response.detail = reply
        return response

    def _on_stop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return _answer(self._ask(lambda gate: gate.stop()), response)

    def _on_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return _answer(self._ask(lambda gate: gate.reset(time.monotonic_ns())), response)


def _answer(reply: Reply, response: Trigger.Response) -> Trigger.Response:
    response.success, response.message = reply.accepted, f"{reply.reason}: {reply.detail}" if reply.reason else reply.detail
    return response


def main() -> int:
    """Entry point of the executable ``gate_node``."""
    try:
        return spin_main(GateNode, realtime_priority=Priority.CONTROL_PROCESS)
    except ExternalShutdownException:
        return 0


if __name__ == "__main__":
    sys.exit(main())
