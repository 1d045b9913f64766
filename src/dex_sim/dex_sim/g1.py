# SPDX-License-Identifier: Apache-2.0
"""A Unitree G1 at its topics: ``lowstate`` out, ``arm_sdk`` in, and a controller of its own that the weight blends with."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from dex_core.clock import Clock, Priority, SteadyClock, Ticker, set_realtime_priority
from dex_core.config import Interface
from dex_core.devices.topic_link import Topic, TopicLink
from dex_core.devices.unitree_wire import LOW_CMD, LOW_STATE, WEIGHT_MOTOR, UnitreeWireError, crc_is_right, pack_frame, unpack_frame
from dex_core.errors import ConfigError
from dex_core.types import index_map
from dex_sim.plant import Plant

ARM_SDK, LOW_STATE_TOPIC = Topic("arm_sdk", "unitree_hg/LowCmd"), Topic("lowstate", "unitree_hg/LowState")
WRITES, READS = (LOW_STATE_TOPIC,), (ARM_SDK,)
RATE_HZ = 250.0
"""Of ``lowstate``, 500 on the robot: the simulated world advances by two steps of 2 ms at a time, oftener it would only repeat itself."""
MODE_MACHINE = 5
UNSET = 0
"""Unitree's own arm_sdk example leaves mode_machine at 0 and is obeyed."""
JOINTS = 29
FIRST_OF_ARM_SDK = 12
"""Motors 0 to 11 are legs, which ``arm_sdk`` does not move; 12 to 14 the waist, 15 to 28 the arms."""
TEMPERATURE_C = 35
FAULTS = ("none", "silent", "garbage", "frozen")


class G1Robot:
    """One robot, standing: its own controller holds the posture it had at first. Thread-safe.

    A target counts where its motor has a stiffness; kp and kd themselves do not act, since a plant is a position servo with gains of its
    own, and a motor with kp 0 stays where it is measured instead of going limp. ``tau`` and ``dq`` do not act either.

    Args:
        interface: the body, its joints in the order of the motors.
        plant: the joints, in any order.
        link: open; writes ``WRITES`` and reads ``READS``.
        mode_machine: hardware revision it reports.
        clock: of the thread that ``start`` begins.

    Attributes:
        weight: of the newest command.
        commands, refused: commands obeyed, and ignored for their length, CRC, revision or numbers.
        fault: what ``lowstate`` suffers: ``none``, ``silent``, ``garbage`` (a bit flips) or ``frozen`` (the same again and again).
    """

    def __init__(self, interface: Interface, plant: Plant, link: TopicLink, *, mode_machine: int = MODE_MACHINE, clock: Clock | None = None) -> None:
        if len(interface.names) != JOINTS:
            raise ConfigError(f"{interface.robot.name} has {len(interface.names)} joints; a simulated G1 has {JOINTS}")
        self.name = interface.name
        self.fault = "none"
        self._plant, self._link, self._clock = plant, link, clock or SteadyClock()
        self._names = interface.names
        self._idx_plant_to_motor = index_map(plant.names, interface.names, f"plant of {self.name}")
        self._idx_motor_to_plant = index_map(interface.names, plant.names, f"plant of {self.name}")
        self._mode_machine = mode_machine
        self._errors = np.zeros(JOINTS, dtype=np.uint32)
        self._temperature_c = np.full(JOINTS, TEMPERATURE_C)
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._ticks = 0
        self._last = b""
        self.reset()

    # -- life -----------------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Begins to publish and to obey."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="g1", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends; any number of times."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
            self._thread = None

    def reset(self) -> None:
        """As after power-on where the joints are now: the robot's own controller holds them, no error."""
        with self._lock:
            self.weight, self.commands, self.refused = 0.0, 0, 0
            self._own = self._read()[0].copy()
            self._asked = self._own.copy()
            self._sent = np.full(JOINTS, np.nan)
            self._errors[:] = 0
            self._temperature_c[:] = TEMPERATURE_C

    # -- faults to inject -----------------------------------------------------------------------------------------------
    def inject_error(self, joint: str, bits: int) -> None:
        """Sets the ``motorstate`` of one motor; 0 clears it."""
        with self._lock:
            self._errors[self._names.index(joint)] = bits

    def set_temperature(self, joint: str, celsius: int) -> None:
        """Sets both temperatures of one motor."""
        with self._lock:
            self._temperature_c[self._names.index(joint)] = celsius

    # -- one period -----------------------------------------------------------------------------------------------------
    def step(self) -> None:
        """Obeys what has come and publishes one state."""
        with self._lock:
            for sample in self._link.take(ARM_SDK):
                self._obey(sample.data)
            measured, velocity, effort = self._read()
            self._move(measured)
            self._ticks += 1
            self._publish(measured, velocity, effort)

    def _run(self) -> None:
        set_realtime_priority(Priority.SIMULATED_DEVICE)
        ticker = Ticker(RATE_HZ, self._clock)
        while not self._stop.is_set():
            ticker.wait()
            self.step()

    def _read(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        state, order = self._plant.read(), self._idx_plant_to_motor
        return state.position_rad[order], state.velocity_rad_s[order], state.effort_nm[order]

    def _obey(self, data: bytes) -> None:
        """Keeps a command; one that is wrong is ignored without a word, as on the robot, and the last one goes on to count."""
        try:
            command = unpack_frame(data, LOW_CMD)
        except UnitreeWireError:
            self.refused += 1
            return
        motors, right = command["motor_cmd"], crc_is_right(command) and int(command["mode_machine"]) in (UNSET, self._mode_machine)
        if not right or not np.isfinite(motors["q"]).all():
            self.refused += 1
            return
        self.commands += 1
        self.weight = min(max(float(motors["q"][WEIGHT_MOTOR]), 0.0), 1.0)
        asked = np.where(motors["kp"][:JOINTS] > 0.0, motors["q"][:JOINTS], np.nan)
        self._asked[FIRST_OF_ARM_SDK:] = asked[FIRST_OF_ARM_SDK:]

    def _move(self, measured: NDArray[np.float64]) -> None:
        asked = np.where(np.isnan(self._asked), measured, self._asked)
        target = self._own + self.weight * (asked - self._own)
        if not np.array_equal(target, self._sent):
            self._plant.command(target[self._idx_motor_to_plant])
            self._sent = target

    def _publish(self, position: NDArray[np.float64], velocity: NDArray[np.float64], effort: NDArray[np.float64]) -> None:
        if self.fault == "silent":
            return
        if self.fault != "frozen" or not self._last:
            state = np.zeros((), LOW_STATE)
            state["mode_machine"], state["tick"] = self._mode_machine, round(self._ticks * 1000.0 / RATE_HZ)
            state["imu_state"]["quaternion"][0] = 1.0
            state["imu_state"]["accelerometer"][2] = 9.81
            motors = state["motor_state"][:JOINTS]
            motors["mode"] = 1
            motors["q"], motors["dq"], motors["tau_est"] = position, velocity, effort
            motors["temperature"], motors["motorstate"] = self._temperature_c[:, None], self._errors
            self._last = pack_frame(state)
        data = self._last
        if self.fault == "garbage":
            data = data[:80] + bytes((data[80] ^ 1,)) + data[81:]
        self._link.publish(LOW_STATE_TOPIC, data)
