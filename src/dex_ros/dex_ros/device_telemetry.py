# SPDX-License-Identifier: Apache-2.0
"""What a device node tells besides joint states: values for /diagnostics, touch and motor currents as stamped messages."""

from __future__ import annotations

import array
import threading
import time
from collections.abc import Callable

import numpy as np
from rclpy.exceptions import InvalidHandle
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.publisher import Publisher

from dex_core.config import Interface
from dex_core.devices.joint_device import DeviceHealth
from dex_core.devices.sensing import TouchReading, TouchSensing, currents_of, touch_of
from dex_core.errors import ShapeError
from dex_core.types import Array
from dex_msgs.msg import MotorCurrents, Touch, TouchArea
from dex_ros import names, qos

PERIOD_S = 0.05
"""Skin and currents go out at 20 Hz: drivers read them beside the joints, most no faster than this."""


class Telemetry:
    """Touch and currents of one device, as far as its driver has them.

    A thread of its own sends them: a timer at this rate would have the executor gather everything it waits for anew each time, which costs
    more than all the rest.

    Args:
        node: owner of the publishers.
        interface: whose. device: its driver, without its limits.
    """

    def __init__(self, node: Node, interface: Interface, device: object) -> None:
        self._node, self._interface, self._device = node, interface, device
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._touch: Publisher | None = None
        if isinstance(device, TouchSensing):
            self._touch = node.create_publisher(Touch, names.touch(interface.name), qos.SENSOR)
        self._currents = node.create_publisher(MotorCurrents, names.motor_currents(interface.name), qos.SENSOR)
        self._frame = interface.prefix + interface.robot.root_link

    def start(self, active: Callable[[], bool]) -> None:
        """Publishes every ``PERIOD_S`` while ``active()``, until ``destroy``."""
        self._thread = threading.Thread(target=self._run, args=(active,), name="telemetry", daemon=True)
        self._thread.start()

    def publish(self) -> None:
        """What is there now, to whoever listens: some drivers ask their device for it only then. Nothing where nothing is measured."""
        stamp = self._node.get_clock().now().to_msg()
        touch = touch_of(self._device) if self._touch is not None and self._touch.get_subscription_count() else None
        if self._touch is not None and touch is not None and touch.areas:
            message = touch_to_msg(touch)
            message.header.stamp, message.header.frame_id = stamp, self._frame
            self._touch.publish(message)
        currents = currents_of(self._device, self._interface.names) if self._currents.get_subscription_count() else None
        if currents:
            report = MotorCurrents(names=list(currents), currents=array.array("f", currents.values()))
            report.header.stamp, report.header.frame_id = stamp, self._frame
            self._currents.publish(report)

    def destroy(self) -> None:
        """Ends the thread, then the publishers."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)
        for publisher in (self._touch, self._currents):
            if publisher is not None:
                self._node.destroy_publisher(publisher)

    def _run(self, active: Callable[[], bool]) -> None:
        while not self._stop.wait(PERIOD_S):
            if not active():
                continue
            try:
                self.publish()
            except (InvalidHandle, _rclpy.RCLError):
                return  # the context is gone: the process is ending


class Rate:
    """How often something happened since one asked last."""

    def __init__(self) -> None:
        self._count, self._since_s = 0, time.monotonic()

    def count(self) -> None:
        """It happened."""
        self._count += 1

    def take_hz(self) -> float:
        """Rate since the last call [1/s]."""
        now_s = time.monotonic()
        hz = self._count / max(now_s - self._since_s, 1e-3)
        self._count, self._since_s = 0, now_s
        return hz


def diagnostic_values(health: DeviceHealth, rate_hz: float, state_age_s: float) -> dict[str, str]:
    """Key -> value of /diagnostics: what the driver says, and over it what the node measures itself.

    ``rate_hz`` and ``age_s`` are those of the joint states that went out, ``code`` the reason code; the driver's own are ``temperature_c``,
    ``current_a``, ``voltage_v``, ``error_code`` (its meaning in words is the status' message), ``<joint>.temperature_c``... and
    ``limit_violations``.
    """
    return {**health.values, "rate_hz": f"{rate_hz:.1f}", "age_s": f"{state_age_s:.4f}", "code": health.code}


def touch_to_msg(touch: TouchReading) -> Touch:
    """Core -> message, without stamp and frame. Raises ShapeError for an area of more than two dimensions."""
    return Touch(unit=touch.unit, areas=[_area(name, values) for name, values in touch.areas.items()])


def _area(name: str, values: Array) -> TouchArea:
    table = np.atleast_2d(values)
    if table.ndim != 2:
        raise ShapeError(f"touch area {name!r} has shape {values.shape}; allowed: cells, or rows and columns")
    rows, columns = table.shape
    return TouchArea(name=name, rows=rows, columns=columns, values=array.array("f", np.ascontiguousarray(table, dtype=np.float32).tobytes()))
