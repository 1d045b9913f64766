# SPDX-License-Identifier: Apache-2.0
"""Simulated Frankas: the control interface of a real one, in a process each, in front of the joints of the world.

The unmodified ``pylibfranka`` and ``franky`` connect to it. The port is always 1337 (no root needed): each arm has an address of its own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dex_core.clock import Priority, set_realtime_priority
from dex_core.config import CellConfig
from dex_core.errors import ConfigError, DeviceError
from dex_sim.devices import PlantOf, Served
from dex_sim.franka_model import LIMITS
from dex_sim.franka_server import JOINTS_IN, JOINTS_OUT
from dex_sim.franka_wire import ERRORS
from dex_sim.plant import Plant

START_TIMEOUT_S = 30.0
ORDER_TIMEOUT_S = 2.0
CELL_PATIENCE_S = 0.005
"""Of the arms of a cell, whose machine has more to do than their clients': it stalls longer than the 20 ms after which a robot gives up."""


class FrankaArm:
    """One simulated Franka: its process, and the thread that carries joints between it and the world.

    Args:
        plant: the seven joints it moves.
        host: IPv4 address to listen at.
        robot: fr3 or panda.
        patience_s: its time stands still for so long when a motion command is late; 0 is as strict as the robot.

    Raises:
        ConfigError: another robot, or another number of joints.
        DeviceError: the address cannot be listened at, or the process does not start.
    """

    def __init__(self, plant: Plant, host: str, robot: str = "fr3", *, patience_s: float = 0.0) -> None:
        if robot not in LIMITS or len(plant.names) != 7:
            raise ConfigError(f"a simulated Franka is one of {list(LIMITS)} with 7 joints; asked for {robot!r} with {len(plant.names)}")
        self.host, self._plant = host, plant
        self._joints, child_joints = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._orders, child_orders = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        command = [
            sys.executable, "-m", "dex_sim.franka_server", "--robot", robot, "--host", host, "--joints", str(child_joints.fileno()),
            "--orders", str(child_orders.fileno()), f"--position={json.dumps(plant.read().position_rad.tolist())}",
            "--patience", str(patience_s),
        ]
        self._process = subprocess.Popen(  # noqa: S603
            command, pass_fds=(child_joints.fileno(), child_orders.fileno()), stdin=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        child_joints.close()
        child_orders.close()
        self._thread = threading.Thread(target=self._carry, name=f"franka {host}", daemon=True)
        self._thread.start()

    def wait_ready(self) -> None:
        """Until the process listens. Raises DeviceError with its reason when it cannot."""
        try:
            facts = self._receive(START_TIMEOUT_S)
        except DeviceError:
            self.close()
            raise
        if "error" in facts:
            self.close()
            raise DeviceError(facts["error"], code="address_unavailable")

    # --- what happens to it -------------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """Mode, counts of motions, reflexes and lost commands, ``peaks`` of the commanded joints (see FrankaController)."""
        return self._order("ask", True)

    def press_user_stop(self, pressed: bool) -> None:
        """The button in the user's hand."""
        self._order("user_stop", pressed)

    def guide(self, guiding: bool) -> None:
        """Somebody takes the arm by its handle, or lets go."""
        self._order("guide", guiding)

    def reflex(self, error: str) -> None:
        """Stops for one of ERRORS. Raises ConfigError for another name."""
        if error not in ERRORS:
            raise ConfigError(f"no error is called {error!r}; there is: {', '.join(ERRORS)}")
        self._order("reflex", error)

    def push(self, torque_nm: Sequence[float]) -> None:
        """External torque (7,), until another is given; beyond the collision thresholds it is a reflex."""
        self._order("push", [float(torque) for torque in np.broadcast_to(torque_nm, 7)])

    def lose_commands(self, count: int) -> None:
        """The next ``count`` motion commands are lost on their way."""
        self._order("lose", count)

    def set_silent(self, silent: bool) -> None:
        """Half-open link: connections stay, nothing is answered and no state is sent while ``silent``."""
        self._order("silent", silent)

    def shuffle_states(self, on: bool) -> None:
        """Every second state arrives after the one that follows it."""
        self._order("shuffle", on)

    def drop_connections(self) -> None:
        """Cuts the connection with a TCP reset, as a power cut of the control does; new ones are accepted."""
        self._order("drop", True)

    def set_listening(self, on: bool) -> None:
        """Off: FCI is not enabled, connections are refused."""
        self._order("listen", on)

    def set_version(self, version: int) -> None:
        """Answers as a server of another protocol version."""
        self._order("version", version)

    def set_garbage(self, on: bool) -> None:
        """States arrive with NaN for every joint."""
        self._order("garbage", on)

    def fault_hooks(self) -> Mapping[str, Callable[[float], None]]:
        """The fault words it can suffer; the number of ``wrong`` is an error's place in ERRORS, the joint reflex where there is none."""

        def well(_amount: float) -> None:
            for end in (self.set_silent, self.set_garbage, self.shuffle_states):
                end(False)
            self.set_listening(True)

        def off(_amount: float) -> None:
            self.set_listening(False)
            self.drop_connections()

        return {
            "ok": well, "off": off, "stuck": lambda _amount: self.set_silent(True), "garbage": lambda _amount: self.set_garbage(True),
            "wrong": lambda amount: self.reflex(ERRORS[round(amount)] if 1.0 <= amount < len(ERRORS) else "joint_reflex"),
        }

    def relocated(self) -> None:
        """The joints were put elsewhere: hold there, no error, as after power-on."""
        self._order("relocate", self._plant.read().position_rad.tolist())

    def freeze(self, frozen: bool) -> None:
        """Stops its process, or lets it go on."""
        self._process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def close(self) -> None:
        """Ends process and thread; any number of times."""
        for end in (self._joints, self._orders):
            if end.fileno() >= 0:
                end.shutdown(socket.SHUT_RDWR)
        if self._process.poll() is None:
            self.freeze(False)
            try:
                self._process.wait(timeout=2.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(timeout=2.0)
        self._thread.join(timeout=2.0)
        self._joints.close()
        self._orders.close()

    def __enter__(self) -> FrankaArm:
        self.wait_ready()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _order(self, what: str, value: object) -> dict[str, Any]:
        with self._lock:
            self._orders.send(json.dumps({what: value}).encode())
            return self._receive(ORDER_TIMEOUT_S)

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        self._orders.settimeout(timeout_s)
        try:
            data = self._orders.recv(8192)
        except TimeoutError:
            raise DeviceError(f"simulated Franka at {self.host} does not answer for {timeout_s} s", code="deadline") from None
        except OSError as error:
            raise DeviceError(f"simulated Franka at {self.host}: {error}") from error
        if not data:
            raise DeviceError(f"process of the simulated Franka at {self.host} has ended ({self._process.poll()})")
        return json.loads(data)

    def _carry(self) -> None:
        """Desired joints in, measured ones out, until the socket is closed."""
        set_realtime_priority(Priority.SIMULATED_DEVICE)
        while True:
            try:
                data = self._joints.recv(JOINTS_OUT.size)
                if not data:
                    return
                self._plant.command(np.array(JOINTS_OUT.unpack(data)))
                state = self._plant.read()
                self._joints.send(JOINTS_IN.pack(*state.position_rad, *state.velocity_rad_s, *state.effort_nm))
            except OSError:
                return


def serve(cell: CellConfig, names: Sequence[str], plant_of: PlantOf) -> Served:
    """One process for each arm. Raises DeviceError when an address cannot be listened at, ConfigError for what is no arm of this kind."""
    arms: dict[str, FrankaArm] = {}

    def close() -> None:
        for arm in arms.values():
            arm.close()

    try:
        for name in names:
            arms[name] = FrankaArm(plant_of(name), cell.address_of(name), cell.interface(name).robot.name, patience_s=CELL_PATIENCE_S)
        for arm in arms.values():
            arm.wait_ready()
    except (ConfigError, DeviceError):
        close()
        raise
    return Served(arms, tuple(arm.relocated for arm in arms.values()), close)
