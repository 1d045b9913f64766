# SPDX-License-Identifier: Apache-2.0
"""What every JointDevice must do. Inherit the class in a test file and give it a fixture ``device``:

    class TestMyHand(JointDeviceContract):
        @pytest.fixture
        def device(self):
            device = MyHandDriver(...)
            yield device
            device.disconnect()

The device must be reachable, still, free of errors, and not yet connected.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

from dex_core.devices.joint_device import DeviceHealth, JointDevice
from dex_core.errors import DeviceError, DexError
from dex_core.types import JointState


class JointDeviceContract:
    """Numbers a subclass may change.

    Attributes:
        step_rad: a small move that every joint can make from where it is at first.
        still_rad: noise of a joint that does not move.
        reach_rad: how near a commanded joint must come.
        reach_timeout_s: within this time.
    """

    step_rad = 0.05
    still_rad = 0.005
    reach_rad = 0.02
    reach_timeout_s = 3.0

    def test_is_a_joint_device(self, device: JointDevice) -> None:
        assert isinstance(device, JointDevice)
        assert device.names and len(set(device.names)) == len(device.names)

    def test_before_connect_everything_raises_and_health_says_why(self, device: JointDevice) -> None:
        with pytest.raises(DexError):
            device.read()
        with pytest.raises(DexError):
            device.command(np.zeros(len(device.names)))
        health = device.health()
        assert isinstance(health, DeviceHealth) and not health.ok and health.code

    def test_connect_and_enable_move_nothing(self, device: JointDevice) -> None:
        device.connect()
        before = device.read()
        device.enable()
        time.sleep(0.2)
        after = device.read()
        assert isinstance(after, JointState) and after.names == device.names
        assert np.abs(after.position_rad - before.position_rad).max() < self.still_rad
        assert device.health().ok, device.health()

    def test_command_before_enable_is_refused(self, device: JointDevice) -> None:
        device.connect()
        here = device.read().position_rad
        with pytest.raises(DeviceError):
            device.command(here)

    def test_streamed_targets_are_followed_and_returned(self, device: JointDevice) -> None:
        goal = self._stream(device, self.step_rad)
        self._wait_near(device, goal)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_a_non_finite_target_is_refused(self, device: JointDevice, bad: float) -> None:
        device.connect()
        device.enable()
        target = np.array(device.read().position_rad)
        target[-1] = bad
        with pytest.raises(DexError):
            device.command(target)
        assert np.isfinite(device.read().position_rad).all()

    def test_a_target_of_the_wrong_length_is_refused(self, device: JointDevice) -> None:
        device.connect()
        device.enable()
        with pytest.raises(DexError):
            device.command(np.array(device.read().position_rad)[:-1])

    def test_hold_stays_and_a_new_stream_starts_from_measured(self, device: JointDevice) -> None:
        self._stream(device, self.step_rad)
        device.hold()
        time.sleep(0.3)
        held = device.read().position_rad
        time.sleep(0.2)
        assert np.abs(device.read().position_rad - held).max() < self.still_rad
        sent = device.command(device.read().position_rad)
        assert np.abs(sent - held).max() < 2 * self.still_rad

    def test_recover_without_a_cause_keeps_still_and_ready(self, device: JointDevice) -> None:
        device.connect()
        device.enable()
        before = device.read().position_rad
        device.recover()
        assert np.abs(device.read().position_rad - before).max() < self.still_rad
        assert device.health().ok, device.health()

    def test_after_disable_commands_are_refused_until_enable(self, device: JointDevice) -> None:
        device.connect()
        device.enable()
        here = np.array(device.read().position_rad)
        device.disable()
        with pytest.raises(DeviceError):
            device.command(here)
        device.enable()
        device.command(device.read().position_rad)

    def test_disconnect_any_number_of_times_and_connect_again(self, device: JointDevice) -> None:
        device.disconnect()
        device.connect()
        device.disconnect()
        device.disconnect()
        with pytest.raises(DexError):
            device.read()
        device.connect()
        device.read()

    def test_state_is_stamped_and_read_only(self, device: JointDevice) -> None:
        device.connect()
        before_ns = time.time_ns()
        state = device.read()
        assert before_ns - 1_000_000_000 <= state.stamp_ns <= time.time_ns()
        with pytest.raises(ValueError):
            state.position_rad[0] = 1.0

    def _stream(self, device: JointDevice, distance_rad: float) -> np.ndarray:
        """Connects, enables and streams every joint ``distance_rad`` towards the middle of what it may reach."""
        device.connect()
        device.enable()
        start = np.array(device.read().position_rad)
        goal = start + self.direction(device) * distance_rad
        for part in np.linspace(0.0, 1.0, 15):
            target = start + part * (goal - start)
            sent = device.command(target)
            assert np.abs(np.asarray(sent) - target).max() < self.reach_rad
            time.sleep(0.02)
        return goal

    def direction(self, device: JointDevice) -> np.ndarray:
        """(n,) +1 or -1 per joint: the way it can move from where it is at first."""
        return np.ones(len(device.names))

    def _wait_near(self, device: JointDevice, goal: np.ndarray) -> None:
        deadline = time.monotonic() + self.reach_timeout_s
        while np.abs(device.read().position_rad - goal).max() > self.reach_rad:
            assert time.monotonic() < deadline, f"after {self.reach_timeout_s} s at {device.read().position_rad}, goal {goal}"
            time.sleep(0.02)
