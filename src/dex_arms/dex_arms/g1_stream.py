# SPDX-License-Identifier: Apache-2.0
"""The stream of ``arm_sdk`` commands: never silent while the weight is up, and the weight never steps."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dex_arms.g1_motors import MODE_PITCH_ROLL, gains_of
from dex_core.clock import NS
from dex_core.devices.topic_link import Topic, TopicLink
from dex_core.devices.unitree_wire import LOW_CMD, WEIGHT_MOTOR, pack_frame
from dex_core.errors import ConnectionLostError, DeadlineError
from dex_core.types import Array

ARM_SDK = Topic("arm_sdk", "unitree_hg/LowCmd")
PERIOD_S = 0.02
"""Of the ramp, and of repeating a target that nobody follows up: Unitree's arm_sdk example streams at 50 Hz."""
REPEATS = 3
"""A ramp has arrived when its last weight was sent this often: the robot's reader is best effort."""
MOTOR_ON = 1


class HeldMark:
    """A file that lives while a weight is up: a process that finds it knows that another died with the arms in its hand.

    The robot keeps the last command of a dead host, and its weight cannot be read. To start from weight 0 then would
    hand the arms back in one step; to start from weight 1 at the measured posture moves nothing, held or not.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def there(self) -> bool:
        """Whether a weight was left up."""
        return self._path.exists()

    def put(self) -> None:
        """The weight goes up."""
        self._path.touch()

    def remove(self) -> None:
        """The weight is down."""
        self._path.unlink(missing_ok=True)


class ArmSdkStream:
    """Sends targets at once and repeats the newest where none follows it, from ``start`` to ``stop``.

    Args:
        link: open while the stream runs.
        joints: name of every joint that is sent -> its motor.
        ramp_s: time in which the weight goes from 0 to 1, or back.
        mark: see :class:`HeldMark`.

    Attributes:
        weight: as last sent.
    """

    def __init__(self, link: TopicLink, joints: dict[str, int], ramp_s: float, mark: HeldMark) -> None:
        self.weight = 0.0
        self._link, self._ramp_s, self._mark = link, ramp_s, mark
        self._motors = np.array(list(joints.values()), dtype=np.intp)
        self._frame = np.zeros((), LOW_CMD)
        self._frame["mode_pr"] = MODE_PITCH_ROLL
        motors = self._frame["motor_cmd"]
        motors["mode"][self._motors] = MOTOR_ON
        motors["kp"][self._motors] = [gains_of(joint).kp for joint in joints]
        motors["kd"][self._motors] = [gains_of(joint).kd for joint in joints]
        self._goal = 0.0
        self._at_goal = 0
        self._sent_ns = 0
        self._marked = False
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether commands go out."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def target_rad(self) -> Array:
        """(n,) newest target, in the order of ``joints`` [rad]."""
        return self._frame["motor_cmd"]["q"][self._motors].astype(np.float64)

    def start(self, target_rad: Array | Sequence[float], mode_machine: int) -> None:
        """Begins to stream a target (n,) at the weight that the robot has from before, which is 0 unless the mark is there."""
        if not self.running:
            self.weight = self._goal = 1.0 if self._mark.there else 0.0
            self._frame["mode_machine"] = mode_machine
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="arm_sdk", daemon=True)
            self._thread.start()
        self.send(target_rad)

    def send(self, target_rad: Array | Sequence[float]) -> None:
        """A new target (n,), sent before this returns. Raises ConnectionLostError."""
        with self._lock:
            self._frame["motor_cmd"]["q"][self._motors] = target_rad
            self._publish()

    def ramp(self, goal: float) -> None:
        """Moves the weight to ``goal`` at its pace and returns when it is there.

        Raises:
            DeadlineError: the stream has ended meanwhile.
        """
        with self._lock:
            self._goal, self._at_goal = goal, 0
            self._arrived.clear()
        timeout_s = 2.0 * self._ramp_s + 1.0
        if not self._arrived.wait(timeout_s):
            raise DeadlineError("the arm_sdk stream", timeout_s)
        if goal == 0.0:
            self._mark.remove()
            self._marked = False

    def stop(self) -> None:
        """Ends the stream, whatever the weight is; any number of times."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)
            self._thread = None

    def _run(self) -> None:
        step = PERIOD_S / max(self._ramp_s, PERIOD_S)
        while not self._stop.wait(PERIOD_S):
            with self._lock:
                if self._at_goal >= REPEATS and time.monotonic_ns() - self._sent_ns < PERIOD_S * NS:
                    continue
                self.weight += float(np.clip(self._goal - self.weight, -step, step))
                self._at_goal = self._at_goal + 1 if self.weight == self._goal else 0
                try:
                    self._publish()
                except ConnectionLostError:
                    return  # the link was closed; the driver's next call says so
                if self._at_goal >= REPEATS:
                    self._arrived.set()

    def _publish(self) -> None:
        if self.weight > 0.0 and not self._marked:
            self._mark.put()
            self._marked = True
        self._frame["motor_cmd"]["q"][WEIGHT_MOTOR] = self.weight
        self._link.publish(ARM_SDK, pack_frame(self._frame))
        self._sent_ns = time.monotonic_ns()
