# SPDX-License-Identifier: Apache-2.0
"""The base of every node: lifecycle, parameters, heartbeat, diagnostics, and one ``main`` that ends safely."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from dex_core.clock import set_process_realtime, set_realtime_priority
from dex_core.config import CellConfig, load_cell
from dex_core.errors import ConfigError, DexError
from dex_ros.diagnostics import ERROR, OK, WARN, Diagnostics
from dex_ros.heartbeat import HeartbeatThread

UNCONFIGURED, INACTIVE, ACTIVE, FINALIZED = 1, 2, 3, 4
RETRIED_CODES = ("connection_lost", "connection_refused", "deadline", "device_error", "policy_lost")
"""A start that failed for one of these is tried again: the device, or the server that runs the policy, may still be starting."""
RETRY_PERIOD_S = 1.0
SPIN_S = 0.25
"""Longest round of the executor; a fourth of what makes a node look hung."""
SWITCH_INTERVAL_S = 0.0005
"""Longest time a thread keeps the interpreter's lock from another; Python's 5 ms is half a control period."""

_TRANSITIONS = {"configure": "configuring", "activate": "activating", "deactivate": "deactivating", "cleanup": "cleaning up"}


class DexNode(LifecycleNode):
    """A lifecycle node of the cell.

    A node overrides ``configure`` (acquire and validate), ``activate`` (start output), ``deactivate`` (send the safe
    action, stop output) and ``cleanup`` (release); each raises DexError with a reason instead of returning a code.
    Whatever they raise is logged, shown in /diagnostics with its code, and fails the transition.

    Parameters (all read-only): ``cell_file`` resolved cell YAML; ``interface`` which part of the cell this node serves;
    ``autostart`` configure and activate by itself (default true).

    Attributes:
        diagnostics: /diagnostics of this node.
        heartbeat: its sign of life.
        executor_threads: 1, or more for nodes whose callbacks must overlap.
        realtime_priority: SCHED_RR priority of the whole process from activation on, where the machine allows it; None: as started.
        owns_process: nothing else lives in this process, so the node may tune its interpreter.
    """

    executor_threads = 1
    realtime_priority: int | None = None
    owns_process = False

    def __init__(self, name: str, **kwargs: object) -> None:
        super().__init__(name, **kwargs)
        fixed = ParameterDescriptor(read_only=True)
        self.declare_parameter("cell_file", "", fixed)
        self.declare_parameter("interface", "", fixed)
        self.declare_parameter("autostart", True, fixed)
        self._cell: CellConfig | None = None
        self._collected = False
        self._told_failure = ""
        self.diagnostics = Diagnostics(self)
        self.heartbeat = HeartbeatThread(self)
        self.diagnostics.set("lifecycle", WARN, "unconfigured")

    @property
    def state_id(self) -> int:
        """Primary lifecycle state: 1 unconfigured, 2 inactive, 3 active, 4 finalized (0 while the node is being made)."""
        machine = getattr(self, "_state_machine", None)
        return int(machine.current_state[0]) if machine is not None and machine.initialized else 0

    @property
    def is_active(self) -> bool:
        """True between activate and deactivate: output is allowed only then."""
        return self.state_id == ACTIVE

    @property
    def cell(self) -> CellConfig:
        """The resolved cell. Raises ConfigError when ``cell_file`` is missing or wrong."""
        if self._cell is None:
            path = self.get_parameter("cell_file").value
            if not path:
                raise ConfigError(f"node {self.get_name()}: parameter cell_file is empty; give the resolved cell's YAML")
            self._cell = load_cell(path)
        return self._cell

    @property
    def interface_name(self) -> str:
        """The parameter ``interface``, checked against the cell."""
        name = self.get_parameter("interface").value
        self.cell.interface(name)
        return name

    def now_ns(self) -> int:
        """ROS time [ns]: for stamps only, never for watchdogs."""
        return self.get_clock().now().nanoseconds

    def configure(self) -> None:
        """Acquires and validates everything; raises DexError."""

    def activate(self) -> None:
        """Starts output; raises DexError."""

    def deactivate(self) -> None:
        """Sends the safe action and stops output."""

    def cleanup(self) -> None:
        """Releases what ``configure`` acquired."""

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle callback."""
        if self.owns_process and not self._collected:
            gc.collect()  # before there is any thread to stop
            self._collected = True
        return self._transition("configure", self.configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle callback."""
        if self.owns_process:
            # modules, models and graphs stay: a full collection that walks them stops every thread for 0.1 to 0.5 s, and one here would
            # make a device that hears a driver's threads already lose them; to freeze walks nothing
            gc.freeze()
        result = self._transition("activate", self.activate)
        if result != TransitionCallbackReturn.SUCCESS:
            return result
        if self.realtime_priority is not None:
            set_process_realtime(self.realtime_priority)
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle callback."""
        result = self._transition("deactivate", self.deactivate)
        return super().on_deactivate(state) if result == TransitionCallbackReturn.SUCCESS else result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle callback."""
        self._cell = None
        return self._transition("cleanup", self.cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle callback: from active, deactivate first."""
        if state.state_id == ACTIVE:
            self._transition("deactivate", self.deactivate)
        return self._transition("cleanup", self.cleanup)

    def _transition(self, name: str, action: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            action()
        except DexError as error:
            self._tell_failure(f"{name} failed [{error.code}]: {error}", again=error.code in RETRIED_CODES)
            self.diagnostics.set("lifecycle", ERROR, f"{name} failed: {error}", {"code": error.code})
            self.heartbeat.reason = error.code
            return TransitionCallbackReturn.FAILURE
        except Exception:  # the lifecycle's outermost border: rclpy would swallow the trace
            self.get_logger().fatal(f"{name} raised:\n{traceback.format_exc()}")
            self.diagnostics.set("lifecycle", ERROR, f"{name} raised {sys.exc_info()[1]!r}", {"code": "internal_error"})
            self.heartbeat.reason = "internal_error"
            return TransitionCallbackReturn.FAILURE
        self.heartbeat.reason = self._told_failure = ""
        self.diagnostics.set("lifecycle", OK if name == "activate" else WARN, f"{_TRANSITIONS[name]} done")
        return TransitionCallbackReturn.SUCCESS

    def _tell_failure(self, words: str, again: bool) -> None:
        """Once, however often the same is tried: what is still wrong is in /diagnostics."""
        if words != self._told_failure:
            self._told_failure = words
            if again and self.get_parameter("autostart").value:
                self.get_logger().warning(f"{words}; tried again until it succeeds")
            else:
                self.get_logger().error(words)

    def autostart(self) -> None:
        """Configures and activates when the parameter ``autostart`` asks for it and the node is not there yet."""
        if not self.get_parameter("autostart").value:
            return
        if self.state_id == UNCONFIGURED:
            self.trigger_configure()
        if self.state_id == INACTIVE:
            self.trigger_activate()

    def destroy_node(self) -> None:
        """Stops the heartbeat and destroys the node."""
        self.heartbeat.stop()
        super().destroy_node()


class _StopRequest:
    """SIGINT or SIGTERM, noticed between two rounds of the executor.

    While the main thread waits inside the middleware, Python's handler does not run; what the C handler writes at once tells ``came``.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._read, write = os.pipe()
        for end in (self._read, write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def came(self) -> bool:
        """Whether a signal came since the last call; from any thread."""
        try:
            return bool(os.read(self._read, 64))
        except BlockingIOError:
            return False

    def _on_signal(self, number: int, _frame: object) -> None:
        self.signal = number


def spin(node: DexNode, stop: _StopRequest) -> None:
    """Runs the executor until a signal; keeps the heartbeat's executor age true."""
    executor = MultiThreadedExecutor(node.executor_threads) if node.executor_threads > 1 else SingleThreadedExecutor()
    executor.add_node(node)
    node.heartbeat.every_beat = lambda: executor.wake() if stop.came() else None
    node.autostart()
    retry_s = time.monotonic() + RETRY_PERIOD_S
    try:
        while stop.signal is None and rclpy.ok():
            executor.spin_once(timeout_sec=SPIN_S)  # each round asks for a new wait set
            node.heartbeat.executor_ran()
            if node.heartbeat.reason in RETRIED_CODES and node.state_id in (UNCONFIGURED, INACTIVE) and time.monotonic() > retry_s:
                node.autostart()
                retry_s = time.monotonic() + RETRY_PERIOD_S
    finally:
        node.heartbeat.every_beat = None
        executor.shutdown(timeout_sec=1.0)


def spin_main(factory: Callable[[], DexNode], argv: Sequence[str] | None = None, *, realtime_priority: int | None = None) -> int:
    """The ``main`` of every node: init, autostart, spin, and on a signal deactivate before the context goes.

    Args:
        factory: makes the node.
        argv: command line; None: this process's.
        realtime_priority: SCHED_FIFO priority of this thread and of all made later, those of the middleware and of an SDK too: any of them
            may hold the interpreter's lock that a fast loop needs. Used where the machine allows it.

    Returns:
        0 after a clean end.
    """
    if realtime_priority is not None:
        set_realtime_priority(realtime_priority)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    rclpy.init(args=list(argv) if argv is not None else sys.argv, signal_handler_options=SignalHandlerOptions.NO)
    stop = _StopRequest()
    node = factory()
    node.owns_process = True
    try:
        spin(node, stop)
    finally:
        _end(node)
    return 0


def _end(node: DexNode) -> None:
    """Deactivates and cleans up while the context still lives, so that the last safe action gets out."""
    try:
        if node.state_id == ACTIVE:
            node.trigger_deactivate()
        if node.state_id == INACTIVE:
            node.trigger_cleanup()
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def node_parser(description: str) -> argparse.ArgumentParser:
    """A parser for ``--help`` of a node executable; ROS arguments pass through."""
    return argparse.ArgumentParser(description=description, epilog="ROS arguments follow --ros-args; see the package's README.")
