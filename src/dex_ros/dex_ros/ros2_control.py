# SPDX-License-Identifier: Apache-2.0
"""Arms and hands that have a ROS driver: targets go to their joint_trajectory_controller, joint states come back by name."""

from __future__ import annotations

import time

import numpy as np

from dex_core.clock import NS
from dex_core.config import Interface
from dex_core.devices.joint_device import DeviceHealth
from dex_core.errors import ConnectionLostError, DeadlineError, DeviceError, LimitError
from dex_core.types import Array, JointState, frozen_array, index_map
from dex_ros.convert import time_from_msg
from dex_ros.ros2_control_link import Ros2ControlLink
from dex_ros.ros2_control_settings import read_settings
from dex_ros.ros2_control_watch import FOLLOW_TOLERANCE_RAD, FollowWatch, NewestState

ACTIVE_TIMEOUT_S = 1.0
"""An active controller tells its state at every update, in practice every 1 to 20 ms."""
CONTROLLER_MAX_AGE_S = 0.5
GRAPH_CHECK_S = 0.2


class Ros2ControlDriver:
    """One robot behind a joint_trajectory_controller, as a JointDevice.

    Every target is a trajectory of one point with ``time_from_start`` = ``ahead_s`` and a zero stamp: start now, be there then. The
    controller interpolates from where it is and each message replaces the one before, so a stream of them is followed smoothly, and when
    it ends the controller stays at the last point.

    Args:
        interface: joints and limits.
        address: see :func:`read_settings`.

    Attributes:
        connect_timeout_s: longest wait for the controller, and for a joint state.
    """

    connect_timeout_s = 5.0

    def __init__(self, interface: Interface, address: str) -> None:
        self._settings = read_settings(interface, address)
        self.names = interface.names
        self._there = self._settings.names_there(interface.robot.actuated)
        self._step_rad = np.array([limit.step_rad for limit in interface.limits])
        self._link = Ros2ControlLink(self._settings, f"dex_{interface.name}_ros2_control")
        self._fresh_watches()
        self._enabled = self._streaming = False
        self._lost = ""
        self._graph_ns = 0

    def connect(self) -> None:
        """Joins the graph and waits for joint states and for the controller to listen. Moves nothing.

        Raises:
            ConnectionLostError: one of them is silent.
            DeviceError: ``duplicate_publisher``, somebody else commands the controller or publishes joint states.
        """
        self.disconnect()
        self._link.open()
        self._fresh_watches()
        try:
            self._link.wait_listener(self.connect_timeout_s)
            self._wait_state()
            self._check_graph()
        except DeadlineError as error:
            self.disconnect()
            raise ConnectionLostError(str(error)) from error
        except DeviceError:
            self.disconnect()
            raise
        self._lost = ""

    def enable(self) -> None:
        """Checks that the controller is active and moves these joints and no others. Moves nothing. Raises DeviceError."""
        self._need_link()
        self._enabled = self._streaming = False
        self._take()
        deadline = time.monotonic() + ACTIVE_TIMEOUT_S
        while self._controller_age_s() > CONTROLLER_MAX_AGE_S:
            if time.monotonic() > deadline:
                raise self._inactive()
            time.sleep(0.01)
            self._take()
        if set(self._controls) != set(self._there):
            raise DeviceError(
                f"controller {self._settings.controller} moves {list(self._controls)}; expected exactly {list(self._there)}", code="wrong_device"
            )
        self._newest()
        self._enabled = True

    def read(self) -> JointState:
        """The newest joint state.

        Raises:
            ConnectionLostError: none, or too old.
            DeviceError: stamped by another clock, or the controller is no longer active while this driver is enabled.
        """
        self._need_link()
        self._take()
        state = self._newest()
        if self._enabled:
            self._check_controller()
        return state

    def command(self, position_rad: Array) -> Array:
        """Sends one target (n,) [rad]. The first after ``enable`` or ``hold`` must lie within ``step_rad`` of measured.

        Raises:
            LimitError: that first one is too far.
            DeviceError: not enabled, the controller is not active or does something else, or a second publisher appeared.
        """
        target = frozen_array(position_rad, (len(self.names),), f"{self._settings.controller} target")
        self._need_link()
        if not self._enabled:
            raise DeviceError(f"{self._settings.controller} is not enabled by this driver", code="not_enabled")
        self._take()
        self._check_controller()
        self._check_followed()
        if not self._streaming:
            self._start(target)
        self._send(target)
        self._streaming = True
        return target

    def hold(self) -> None:
        """Makes the measured position the target; the next command is a first one again."""
        self._streaming = False
        if not self._enabled or not self._link.is_open:
            return  # nothing was sent: the controller keeps what it has
        self._take()
        self._send(self._newest().position_rad)

    def recover(self) -> None:
        """As ``enable``: errors of the robot are for its own driver to clear. Raises DeviceError while the controller is not active."""
        self.enable()

    def health(self) -> DeviceHealth:
        """From what came last; the error codes of the robot are in its own driver's /diagnostics."""
        if not self._link.is_open or self._lost:
            return DeviceHealth(False, "connection_lost", self._lost or f"not connected to {self._settings.controller}")
        now_ns = time.monotonic_ns()
        values = {
            "controller": self._settings.controller, "age_s": f"{self._state.age_s(now_ns):.3f}",
            "controller_age_s": f"{self._controller_age_s():.3f}", "ignored_states": str(self._state.ignored),
        }
        if not self._enabled:
            return DeviceHealth(False, "not_enabled", "connected, not enabled by this driver", values)
        return DeviceHealth(True, values=values)

    def disable(self) -> None:
        """Holds; the controller stays active and keeps the position."""
        try:
            self.hold()
        finally:
            self._enabled = self._streaming = False

    def disconnect(self) -> None:
        """Leaves the graph; any number of times."""
        self._enabled = self._streaming = False
        self._link.close()

    # -- inside ---------------------------------------------------------------------------------------------------------
    def _fresh_watches(self) -> None:
        self._state = NewestState(self.names, self._there, self._settings.states_topic, self._settings.max_state_age_s)
        self._follow = FollowWatch()
        self._controls: tuple[str, ...] = ()
        self._reference: Array | None = None
        self._reference_ns = 0

    def _need_link(self) -> None:
        if not self._link.is_open:
            raise ConnectionLostError(f"not connected to {self._settings.controller}")

    def _wait_state(self) -> None:
        """The first state with all joints, or why there is none."""
        deadline = time.monotonic() + self.connect_timeout_s
        self._link.wait_state(self.connect_timeout_s)
        self._take()
        while self._state.age_s(time.monotonic_ns()) == float("inf") and time.monotonic() < deadline:
            self._link.wait_state(self.connect_timeout_s)
            self._take()
        self._newest()

    def _take(self) -> None:
        """Everything that came since the last call."""
        now_ns = time.monotonic_ns()
        for message in self._link.states():
            self._state.put(message.name, message.position, message.velocity, message.effort, time_from_msg(message.header.stamp), now_ns)
        reference = self._link.reference()
        if reference is None:
            return
        self._reference_ns, self._controls = now_ns, reference.names
        same = set(reference.names) == set(self._there) and len(reference.position_rad) == len(self._there)
        self._reference = reference.position_rad[index_map(reference.names, self._there, "controller_state")] if same else None

    def _newest(self) -> JointState:
        try:
            return self._state.newest(time.monotonic_ns(), time.time_ns())
        except ConnectionLostError as error:
            self._lost, self._enabled, self._streaming = str(error), False, False
            raise

    def _controller_age_s(self) -> float:
        return (time.monotonic_ns() - self._reference_ns) / NS if self._reference_ns else float("inf")

    def _check_controller(self) -> None:
        if self._controller_age_s() > CONTROLLER_MAX_AGE_S:
            self._enabled = self._streaming = False
            raise self._inactive()
        if time.monotonic_ns() - self._graph_ns > GRAPH_CHECK_S * NS:
            self._check_graph()

    def _check_graph(self) -> None:
        self._graph_ns = time.monotonic_ns()
        rivals, publishers = self._link.rivals(), self._link.state_publishers()
        problem = ""
        if rivals > 0:
            problem = f"{rivals} others publish trajectories to {self._settings.controller}; only this driver may"
        elif publishers > 1 and not self._settings.shared_states:
            problem = f"{publishers} publish on {self._settings.states_topic}; give a topic of the robot alone, or shared_states: true"
        if problem:
            self._enabled = self._streaming = False
            raise DeviceError(problem, code="duplicate_publisher")

    def _check_followed(self) -> None:
        if not self._streaming or self._reference is None:
            return
        off = self._follow.off_rad(self._reference)
        worst = int(np.argmax(off))
        if off[worst] > FOLLOW_TOLERANCE_RAD:
            self._enabled = self._streaming = False
            raise DeviceError(
                f"controller {self._settings.controller} wants {self._there[worst]} {off[worst]:.3f} rad away from all that was sent: it refuses "
                "the trajectories (its log says why) or somebody else commands it", code="not_followed",
            )

    def _inactive(self) -> DeviceError:
        name = self._settings.controller.rpartition("/")[2]
        return DeviceError(
            f"controller {self._settings.controller} is not active: it has not told its state for {CONTROLLER_MAX_AGE_S} s; "
            f"see ros2 control list_controllers, then ros2 control switch_controllers --activate {name}", code="not_enabled",
        )

    def _start(self, target: Array) -> None:
        measured = self._newest().position_rad
        distance = np.abs(target - measured)
        worst = int(np.argmax(distance - self._step_rad))
        if distance[worst] > self._step_rad[worst]:
            raise LimitError(
                f"first target of {self.names[worst]} is {distance[worst]:.3f} rad from measured; at most {self._step_rad[worst]} rad",
                code="first_command_far",
            )
        self._follow.start(measured, time.monotonic_ns())

    def _send(self, target: Array) -> None:
        self._follow.sent(target, time.monotonic_ns())
        self._link.send(self._there, target, self._settings.ahead_s)
