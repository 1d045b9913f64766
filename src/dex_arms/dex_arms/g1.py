# SPDX-License-Identifier: Apache-2.0
"""Unitree G1: arms and waist over ``arm_sdk`` while the robot's own controller keeps the balance; all 29 joints are read.

What is safe here and why: docs/devices_g1.md.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dex_arms.g1_motors import MODE_MACHINE, MODE_PITCH_ROLL, WAIST, error_words, is_leg, motor_values, revision_words
from dex_arms.g1_stream import ARM_SDK, ArmSdkStream, HeldMark
from dex_core.clock import NS
from dex_core.config import Interface
from dex_core.devices.joint_device import DeviceHealth
from dex_core.devices.topic_link import Topic, TopicLink
from dex_core.devices.unitree_wire import LOW_STATE, UnitreeWireError, crc_is_right, unpack_frame
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError, DexError, LimitError
from dex_core.types import Array, JointState, frozen_array

LOW_STATE_TOPIC = Topic("lowstate", "unitree_hg/LowState")
WRITES, READS = (ARM_SDK,), (LOW_STATE_TOPIC,)
JOINTS = 29
STATE_MAX_AGE_S = 0.2
"""A hundred messages of the robot. The gate holds earlier, at its ``state_timeout_s``; this ends the driver's activity."""
CONNECT_TIMEOUT_S = 3.0
"""Discovery in a DDS domain takes about a second."""
LEG_TOLERANCE_RAD = 0.1
"""A target of a leg this near to where it is means: leave it. A standing robot sways by less."""


class UnitreeG1Driver:
    """A G1's body as a JointDevice of 29 joints, of which it moves 17: 14 of the arms and 3 of the waist.

    Legs are the robot's own: their targets must be where they are, and are never sent. ``hold`` keeps the waist at its last target, so that
    a waist nobody moves does not creep; the arms stay where they are measured. A stall of the stream of targets keeps the weight up and the
    last target, as a dead host would.

    Args:
        interface: the body, its joints in the order of the motors.
        link: writes ``WRITES`` and reads ``READS``.
        ramp_s: time in which the arms are taken over, and given back.
        state_max_age_s: an older ``lowstate`` is a lost link.
        mark_folder: where a held weight is noted; see :class:`HeldMark`.
    """

    def __init__(
        self, interface: Interface, link: TopicLink, *, ramp_s: float, state_max_age_s: float = STATE_MAX_AGE_S,
        mark_folder: Path | None = None,
    ) -> None:
        self.names = interface.names
        if len(self.names) != JOINTS:
            raise ConfigError(f"{interface.robot.name} has {len(self.names)} joints; the G1 driver needs the {JOINTS} of a G1, in motor order")
        self.who = f"G1 at {link.address}"
        self._link, self._ramp_s, self._max_age_ns = link, ramp_s, round(state_max_age_s * NS)
        self._moved = np.array([not is_leg(joint) for joint in self.names])
        self._waist = np.array([joint.startswith(WAIST) for joint in self.names])
        self._step_rad = np.array([limit.step_rad for limit in interface.limits])
        mark = "".join(c if c.isalnum() else "_" for c in f"dex_g1_{link.address}")
        self._mark = HeldMark((mark_folder or Path(tempfile.gettempdir())) / f"{mark}.held")
        self._stream: ArmSdkStream | None = None
        self._lock = threading.RLock()
        self._state: NDArray | None = None
        self._stamp_ns = self._heard_ns = 0
        self._refused = 0
        self._connected = self._enabled = self._streaming = self._holding = False
        self._lost = ""

    # -- life -----------------------------------------------------------------------------------------------------------
    def connect(self) -> None:
        """Joins, waits for ``lowstate`` and checks the hardware's revision. Sends nothing.

        Raises:
            ConnectionLostError: no valid ``lowstate`` comes.
            DeviceError: ``wrong_device``, another revision of the robot.
        """
        self.disconnect()
        with self._lock:
            self._state, self._lost, self._refused = None, "", 0
            self._link.open()
            self._connected = True
            deadline = time.monotonic() + CONNECT_TIMEOUT_S
            while self._poll() is None:
                if time.monotonic() > deadline:
                    self.disconnect()
                    raise ConnectionLostError(
                        f"{self.who}: no valid lowstate within {CONNECT_TIMEOUT_S:g} s ({self._refused} refused); is it on, and is this its domain?"
                    )
                time.sleep(0.01)
            found = int(self._state["mode_machine"])  # type: ignore[index]
            if found != MODE_MACHINE:
                self.disconnect()
                raise DeviceError(
                    f"{self.who}: mode_machine is {revision_words(found)}; {revision_words(MODE_MACHINE)} is described here, the others differ in "
                    "joints and lengths", code="wrong_device", device_code=found,
                )
            joints = {joint: motor for motor, joint in enumerate(self.names) if self._moved[motor]}
            self._stream = ArmSdkStream(self._link, joints, self._ramp_s, self._mark)

    def enable(self) -> None:
        """Takes arms and waist over where they are measured, the weight growing for ``ramp_s``. Raises DeviceError."""
        with self._lock:
            stream = self._ready()
            self._refuse_faults()
            self._check_arm_sdk()
            measured = self._measured()
            stream.start(measured[self._moved], MODE_MACHINE)
            self._enabled, self._streaming, self._holding = True, False, True
        stream.ramp(1.0)

    def disable(self) -> None:
        """Holds and gives the arms back, the weight sinking for ``ramp_s``: at once they would drop."""
        with self._lock:
            if not self._enabled or self._stream is None:
                return
            self.hold()
            self._enabled = self._streaming = False
            stream = self._stream
        stream.ramp(0.0)
        stream.stop()

    def disconnect(self) -> None:
        """Gives the arms back when it has them and hears the robot, and leaves. A lost robot keeps its last command."""
        with self._lock:
            if self._enabled and not self._lost and self._age_ns() <= self._max_age_ns:
                try:
                    self.disable()
                except DexError as error:
                    self._lost = f"{self.who}: lost while the arms were given back: {error}"
            if self._stream is not None:
                self._stream.stop()
            self._enabled = self._streaming = self._connected = False
            self._link.close()

    def recover(self) -> None:
        """Joins again when the link was lost; holds when the arms are in hand, else takes them. Raises DeviceError while a motor reports an error."""
        with self._lock:
            if self._lost or not self._connected:
                self.connect()
            self._ready()
            self._refuse_faults()
            if self._enabled:
                self._holding = False
                self.hold()
                return
        self.enable()

    # -- motion ---------------------------------------------------------------------------------------------------------
    def read(self) -> JointState:
        """Newest ``lowstate`` of all 29 joints, stamped at its arrival. Raises ConnectionLostError when it is too old."""
        with self._lock:
            motors = self._fresh()["motor_state"][:JOINTS]
            return JointState(self.names, motors["q"], motors["dq"], motors["tau_est"], self._stamp_ns)

    def command(self, position_rad: Array) -> Array:
        """Streams one target (29,) [rad] to arms and waist; returns it with the legs as measured.

        Raises:
            LimitError: a leg is asked to move, or the first target is further than ``step_rad`` from measured.
            DeviceError: not enabled, a motor reports an error, or ``lowstate`` is too old.
        """
        target = frozen_array(position_rad, (JOINTS,), "G1 target")
        with self._lock:
            if not self._enabled or self._stream is None:
                raise DeviceError(f"{self.who} is not enabled", code="not_enabled")
            measured = self._measured()
            self._refuse_faults()
            self._check_target(target, measured)
            self._stream.send(target[self._moved])
            self._streaming, self._holding = True, False
            return np.where(self._moved, target, measured)

    def hold(self) -> None:
        """Makes the measured position of the arms their target, once: a second call does not follow an arm that is pushed away."""
        with self._lock:
            self._streaming = False
            if not self._enabled or self._holding or self._stream is None:
                return
            target = self._measured()[self._moved]
            waist = self._waist[self._moved]
            target[waist] = self._stream.target_rad[waist]
            self._stream.send(target)
            self._holding = True

    # -- health ---------------------------------------------------------------------------------------------------------
    def health(self) -> DeviceHealth:
        """Newest health, as of the newest read."""
        state, stream = self._state, self._stream
        if not self._connected or state is None:
            return DeviceHealth(False, "connection_lost", self._lost or f"{self.who} is not connected")
        values = self._values(state, stream.weight if stream is not None else 0.0)
        if self._lost or self._age_ns() > self._max_age_ns:
            return DeviceHealth(False, "connection_lost", self._lost or self._silence(), values)
        if faults := self._faults(state):
            return DeviceHealth(False, "device_error", faults[0], values)
        if not self._enabled:
            return DeviceHealth(False, "not_enabled", "connected; arms and waist are the robot's own", values)
        return DeviceHealth(True, values=values)

    # -- inside ---------------------------------------------------------------------------------------------------------
    def _poll(self) -> NDArray | None:
        """Takes what has come; the newest valid state, however old."""
        for sample in self._link.take(LOW_STATE_TOPIC):
            try:
                state = unpack_frame(sample.data, LOW_STATE)
            except UnitreeWireError:
                self._refused += 1
                continue
            if not crc_is_right(state) or not np.isfinite(state["motor_state"]["q"][:JOINTS]).all():
                self._refused += 1
            elif self._state is None or state["tick"] != self._state["tick"]:  # the same tick again is a frozen robot, no news
                self._state, self._stamp_ns, self._heard_ns = state, sample.stamp_ns, time.monotonic_ns()
        return self._state

    def _fresh(self) -> NDArray:
        if not self._connected:
            raise ConnectionLostError(f"{self.who} is not connected")
        state = self._poll()
        if state is None or self._age_ns() > self._max_age_ns:
            self._lost = self._silence()
            self._enabled = self._streaming = False  # the stream goes on with its last target until the link is made anew
            raise ConnectionLostError(self._lost)
        return state

    def _measured(self) -> Array:
        return self._fresh()["motor_state"]["q"][:JOINTS].astype(np.float64)

    def _age_ns(self) -> int:
        return time.monotonic_ns() - self._heard_ns

    def _silence(self) -> str:
        return f"{self.who}: no valid, new lowstate for {self._age_ns() / NS:.3f} s ({self._refused} refused); at most {self._max_age_ns / NS:g} s"

    def _ready(self) -> ArmSdkStream:
        self._fresh()
        if self._stream is None:
            raise ConnectionLostError(f"{self.who} is not connected")
        return self._stream

    def _faults(self, state: NDArray) -> list[str]:
        words = state["motor_state"]["motorstate"][:JOINTS]
        found = [f"{joint}: motor error {error_words(int(word))}" for joint, word in zip(self.names, words, strict=True) if word]
        if int(state["mode_pr"]) != MODE_PITCH_ROLL:
            found.append(f"mode_pr is {int(state['mode_pr'])}: the waist is counted as motors A and B; {MODE_PITCH_ROLL}, pitch and roll, is needed")
        return found

    def _refuse_faults(self) -> None:
        state = self._fresh()
        faults = self._faults(state)
        if faults:
            words = state["motor_state"]["motorstate"][:JOINTS]
            raise DeviceError(f"{self.who}: {'; '.join(faults)}", device_code=int(words[np.argmax(words != 0)]))

    def _check_arm_sdk(self) -> None:
        """Somebody must listen, and nobody else may talk."""
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        while not self._link.readers(ARM_SDK):
            if time.monotonic() > deadline:
                raise ConnectionLostError(f"{self.who}: nobody reads arm_sdk; it needs the robot's own motion service, i.e. no debug mode")
            time.sleep(0.02)
        if (writers := self._link.writers(ARM_SDK)) > 1:
            raise DeviceError(f"{self.who}: {writers - 1} other program writes arm_sdk; end it first", code="duplicate_publisher")

    def _check_target(self, target: Array, measured: Array) -> None:
        distance = np.abs(target - measured)
        asked = ~self._moved & (distance > LEG_TOLERANCE_RAD)
        if asked.any():
            joint = int(np.argmax(asked))
            raise LimitError(
                f"{self.names[joint]} is commanded {distance[joint]:.3f} rad away: legs are the robot's own, "
                f"at most {LEG_TOLERANCE_RAD} rad from measured"
            )
        far = self._moved & (distance > self._step_rad)
        if not self._streaming and far.any():
            joint = int(np.argmax(far))
            raise LimitError(
                f"first target of {self.names[joint]} is {distance[joint]:.3f} rad from measured; at most {self._step_rad[joint]} rad",
                code="first_command_far",
            )

    def _values(self, state: NDArray, weight: float) -> dict[str, str]:
        motors = state["motor_state"][:JOINTS]
        return {
            "address": self._link.address, "age_s": f"{self._age_ns() / NS:.3f}", "weight": f"{weight:.2f}", "refused": str(self._refused),
            "mode_machine": revision_words(int(state["mode_machine"])), **motor_values(self.names, motors),
        }
