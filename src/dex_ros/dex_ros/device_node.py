# SPDX-License-Identifier: Apache-2.0
"""The driver node of every arm and hand: command stream in, joint_states out, trajectories, and a safe end of each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.callback_groups import ReentrantCallbackGroup
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from dex_core.clock import NS, Priority, set_realtime_priority
from dex_core.config import Interface
from dex_core.devices.follower import CommandFollower, CommandMode
from dex_core.devices.limited import Limited
from dex_core.devices.registry import load_driver
from dex_core.devices.runtime import DeviceRuntime
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError
from dex_msgs.msg import JointCommand
from dex_ros import names, qos
from dex_ros.convert import joint_state_to_msg
from dex_ros.device_telemetry import Rate, Telemetry, diagnostic_values
from dex_ros.device_trajectory import TrajectoryServer
from dex_ros.diagnostics import ERROR, OK, WARN
from dex_ros.node import ACTIVE, INACTIVE, DexNode, spin_main
from dex_ros.polling import PolledSubscription

"""Of every other thread: one of them may hold the interpreter's lock when the control thread needs it, and must not wait for the machine then."""
PUBLISHER_CHECK_S = 0.2
BACKOFF_S = (1.0, 10.0)
GATES_OWN_REASONS = ("no_gate", "gate_lost", "stopped")
"""Why a driver does not follow, where the gate itself is the cause; anything else is told to the gate by heartbeat."""
DEVICE_FAULT = "device_fault"
"""A fault that needs somebody: ``<side>/<kind>/recover``, or a reset of the gate. Unlike a lost link it is not retried."""


class DeviceNode(DexNode):
    """Drives one interface of the cell.

    Parameters besides DexNode's: ``allow_without_gate`` (false): trajectories may run while no gate is heard.

    Args:
        kind: arm or hand; the interface must be one.
        driver: makes the device from (interface, address); None: the entry point that the cell names (``CellConfig.driver_of``).
    """

    executor_threads = 3

    def __init__(self, kind: str, *, driver: Callable[[Interface, str], Any] | None = None, **kwargs: Any) -> None:
        super().__init__(kwargs.pop("name", f"{kind}_driver"), **kwargs)
        self.declare_parameter("allow_without_gate", False, ParameterDescriptor(read_only=True))
        self._kind, self._make_driver = kind, driver
        self.runtime: DeviceRuntime | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._retry_at_s = 0.0
        self._backoff_s = BACKOFF_S[0]
        self._saw_stop = False
        self._shown = ""
        self._duplicates = 0
        self._period_ns = 0
        self._ticks = Rate()
        self._telemetry: Telemetry | None = None
        self._fault_guard = self.create_guard_condition(self._on_fault)
        self._recover_guard = self.create_guard_condition(self._on_gate_reset)
        self._health_timer = self.create_timer(1.0, self._show_health)

    def configure(self) -> None:
        """Loads the cell, connects, and starts the control thread. Raises DexError."""
        name = self.interface_name
        interface = self.cell.interface(name)
        if interface.robot.kind != self._kind:
            raise ConfigError(f"node {self.get_name()} drives a {self._kind}; interface {name!r} is a {interface.robot.kind}")
        driver = self._make_driver or load_driver(self._kind, self.cell.driver_of(name))
        device = Limited(driver(interface, self.cell.address_of(name)), interface.limits)
        device.connect()
        follower = CommandFollower(interface.names, self.cell.control.command_timeout_s)
        self.runtime = DeviceRuntime(device, follower, allow_without_gate=self.get_parameter("allow_without_gate").value)
        self._period_ns = round(NS / interface.rate_hz)
        self._commands: PolledSubscription[JointCommand] = PolledSubscription(self, JointCommand, names.JOINT_COMMAND, qos.COMMAND_FOLLOWER)
        self._states = self.create_publisher(JointState, names.device_states(name), qos.SENSOR)
        group = ReentrantCallbackGroup()
        self._trajectories = TrajectoryServer(self, self.runtime, names.device_trajectory(name), interface, group)
        recover_name = names.device_states(name).replace("joint_states", "recover")
        self._recover = self.create_service(Trigger, recover_name, self._on_recover, callback_group=group)
        runtime = self.runtime
        self._telemetry = Telemetry(self, interface, device.device)
        self._telemetry.start(lambda: runtime.active)
        self._stop.clear()
        self._thread = threading.Thread(target=self._control, name="control", daemon=True)
        self._thread.start()

    def activate(self) -> None:
        """Enables without motion; connects again first when the link was lost. Raises DeviceError."""
        runtime = self._runtime()
        with runtime.lock:
            if isinstance(runtime.fault, ConnectionLostError):
                self._reconnect(runtime)
            try:
                runtime.start()
            except ConnectionLostError as error:
                runtime.fault = error
                raise
            except DeviceError as error:
                runtime.fault = error
                raise DeviceError(str(error), code=DEVICE_FAULT, device_code=error.device_code) from error
        self._backoff_s, self._saw_stop = BACKOFF_S[0], False

    def deactivate(self) -> None:
        """Holds, then disables."""
        runtime = self._runtime()
        try:
            runtime.stop("the driver was deactivated")
        except DeviceError as error:
            runtime.fault = runtime.fault or error
            self.get_logger().warning(f"the device did not take hold and disable: {error}")

    def cleanup(self) -> None:
        """Ends the control thread and closes the link."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
        if self.runtime is not None:
            self._trajectories.destroy()
            self.destroy_service(self._recover)
            self._commands.destroy()
            self.destroy_publisher(self._states)
            telemetry, self._telemetry = self._telemetry, None
            if telemetry is not None:
                telemetry.destroy()
            self.runtime.device.disconnect()
        self.runtime = self._thread = None

    def autostart(self) -> None:
        """As DexNode; after a lost link with growing pauses."""
        if self.state_id == INACTIVE and time.monotonic() < self._retry_at_s:
            return
        super().autostart()
        if self.state_id == INACTIVE:
            self._retry_at_s = time.monotonic() + self._backoff_s
            self._backoff_s = min(2.0 * self._backoff_s, BACKOFF_S[1])

    def destroy_node(self) -> None:
        """Ends the threads first."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
        if self._telemetry is not None:
            self._telemetry.destroy()
        super().destroy_node()

    def _runtime(self) -> DeviceRuntime:
        if self.runtime is None:
            raise ConfigError(f"node {self.get_name()} is not configured")
        return self.runtime

    def _reconnect(self, runtime: DeviceRuntime) -> None:
        runtime.device.disconnect()
        try:
            runtime.device.connect()
        except DeviceError as error:
            raise ConnectionLostError(f"still no link: {error}") from error
        self.get_logger().info("link is back; nothing moves before a new goal")

    # --- control thread: the only one that commands and reads ------------------------------------------------------

    def _control(self) -> None:
        set_realtime_priority(Priority.DRIVER)
        runtime = self._runtime()
        next_ns = time.monotonic_ns()
        check_ns = 0
        while not self._stop.is_set():
            now_ns = time.monotonic_ns()
            heard = self._commands.wait((next_ns - now_ns) / NS) and self._take(runtime)
            now_ns = time.monotonic_ns()
            if now_ns >= check_ns:
                self._check_publishers(runtime)
                check_ns = now_ns + round(PUBLISHER_CHECK_S * NS)
            # a command makes a measurement due that is near: one wake-up does both, and states keep the phase of commands
            if now_ns >= next_ns or (heard and now_ns >= next_ns - self._period_ns // 2):
                self._tick(runtime)
                next_ns = max(next_ns, now_ns - self._period_ns) + self._period_ns if not heard else now_ns + self._period_ns * 5 // 4
            self._watch(runtime)

    def _take(self, runtime: DeviceRuntime) -> bool:
        message = self._commands.take()  # keep-last 1: this is the newest
        if message is None:
            return False
        if self._duplicates > 1:
            return True
        runtime.command(message.mode, message.sequence, message.names, message.positions)
        if not runtime.active and runtime.fault is not None:
            if message.mode != CommandMode.IDLE:
                self._saw_stop = True
            elif self._saw_stop:
                self._saw_stop = False
                self._recover_guard.trigger()
        return True

    def _tick(self, runtime: DeviceRuntime) -> None:
        state = runtime.tick()
        if state is not None:
            self._states.publish(joint_state_to_msg(state))
            self._ticks.count()

    def _check_publishers(self, runtime: DeviceRuntime) -> None:
        self._duplicates = self._commands.publisher_count()
        if self._duplicates > 1 and runtime.follower.reason != "duplicate_publisher":
            runtime.refuse("duplicate_publisher", f"{self._duplicates} publishers of {self._commands.topic}; only the gate may be one")

    def _watch(self, runtime: DeviceRuntime) -> None:
        """Tells changes at once: faults to the lifecycle, the follower's reason to /diagnostics."""
        if runtime.fault is not None and self._shown != f"fault {runtime.fault}" and self.state_id == ACTIVE:
            self._shown = f"fault {runtime.fault}"
            self._fault_guard.trigger()
        elif runtime.active and self._shown != runtime.follower.reason:
            self._shown = runtime.follower.reason
            self.heartbeat.reason = "" if self._shown in GATES_OWN_REASONS else self._shown
            self._show_command(runtime)

    # --- executor threads --------------------------------------------------------------------------------------------

    def _on_fault(self) -> None:
        """A device error ends the activity: the gate sees an inactive driver and its reason."""
        runtime = self.runtime
        if runtime is None or runtime.fault is None or self.state_id != ACTIVE:
            return
        fault = runtime.fault
        self.get_logger().error(f"device fault: {fault}")
        self.trigger_deactivate()
        self._backoff_s, self._retry_at_s = BACKOFF_S[0], time.monotonic() + BACKOFF_S[0]
        self.heartbeat.reason = fault.code if isinstance(fault, ConnectionLostError) else DEVICE_FAULT
        self.diagnostics.set("lifecycle", ERROR, f"stopped by a device fault: {fault}", {"code": self.heartbeat.reason})
        self._show_health()

    def _on_gate_reset(self) -> None:
        if self.state_id == INACTIVE and self.runtime is not None and self.runtime.fault is not None:
            self.get_logger().info("the gate was reset: trying to recover the device")
            self.trigger_activate()

    def _on_recover(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self.state_id == INACTIVE:
            self.trigger_activate()
        runtime = self.runtime
        response.success = self.state_id == ACTIVE
        response.message = "active" if response.success else f"not recovered: {runtime.fault if runtime else 'not configured'}"
        return response

    def _show_health(self) -> None:
        runtime = self.runtime
        if runtime is None:
            return
        health = runtime.device.health()
        values = diagnostic_values(health, self._ticks.take_hz(), runtime.state_age_s())
        fault = runtime.fault
        if fault is not None and self.state_id != ACTIVE:
            self.diagnostics.set("device", ERROR, str(fault), {**values, "code": fault.code})
        else:
            self.diagnostics.set("device", OK if health.ok else ERROR, health.text, values)
        self._show_command(runtime)

    def _show_command(self, runtime: DeviceRuntime) -> None:
        follower = runtime.follower
        reason, detail = follower.reason, follower.detail
        values: dict[str, object] = {
            "code": reason, "commands": runtime.commands, "ignored": follower.ignored, "stale": follower.stale,
            "gate_mode": follower.mode.name if follower.mode is not None else "none", "publishers": self._duplicates,
        }
        level = OK if not reason else WARN if reason in ("no_gate", "stopped", "not_active") else ERROR
        self.diagnostics.set("command", level, "following" if not reason else f"holding: {detail}", values)


def main(kind: str, argv: Sequence[str] | None = None) -> int:
    """Entry of ``arm_node`` and ``hand_node``."""
    return spin_main(lambda: DeviceNode(kind), argv, realtime_priority=Priority.CONTROL_PROCESS)
