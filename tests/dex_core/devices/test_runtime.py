# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from dex_core.clock import ManualClock
from dex_core.config import load_cell
from dex_core.devices.fake import FakeJointDevice
from dex_core.devices.follower import CommandFollower, CommandMode
from dex_core.devices.limited import Limited
from dex_core.devices.registry import driver_names, load_driver
from dex_core.devices.runtime import DeviceRuntime
from dex_core.devices.trajectory import Outcome, Point, TrajectoryError, check_trajectory, make_tolerances
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError

INTERFACE = load_cell("xarm_bimanual").interface("left_arm")
HOME = np.array(INTERFACE.home)


class Desk:
    """A runtime on a fake device, a hand-moved clock and a gate."""

    def __init__(self, **options: bool) -> None:
        self.clock = ManualClock(10**9)
        self.fake = FakeJointDevice(INTERFACE.names, HOME, clock=self.clock)
        self.runtime = DeviceRuntime(
            Limited(self.fake, INTERFACE.limits, clock=self.clock), CommandFollower(INTERFACE.names, 0.1), clock=self.clock, **options
        )
        self.ends: list[tuple[Outcome, str]] = []
        self.sequence = 0
        self.runtime.device.connect()
        self.runtime.start()

    def gate(self, mode: CommandMode, position: np.ndarray | None = None) -> None:
        self.sequence += 1
        named = position is not None
        self.runtime.command(mode, self.sequence, INTERFACE.names if named else (), position if named else ())

    def go(self, seconds: float, mode: CommandMode | None = CommandMode.IDLE) -> None:
        for _ in range(round(seconds * 100)):
            self.clock.advance_s(0.01)
            if mode is not None:
                self.gate(mode)
            self.runtime.tick()

    def begin(self, points: list[Point], **path: float) -> None:
        trajectory = check_trajectory(INTERFACE.names, points, INTERFACE.names, INTERFACE.limits)
        tolerances = make_tolerances(INTERFACE.names, path, {}, 0.3, "arm")
        self.runtime.begin(trajectory, tolerances, self.clock.now_ns(), lambda o, d: self.ends.append((o, d)))


def shifted(radians: float) -> np.ndarray:
    return HOME + np.array([radians, 0, 0, 0, 0, 0, 0])


def test_start_moves_nothing_and_stop_disables() -> None:
    desk = Desk()
    assert desk.fake.commands == []
    desk.runtime.stop("test")
    assert desk.fake.calls[-1] == "disable" and desk.runtime.tick() is None


def test_stream_is_followed_and_silence_holds() -> None:
    desk = Desk()
    desk.go(0.1)
    desk.gate(CommandMode.TRACK, shifted(0.02))
    assert desk.fake.commands[-1].tolist() == shifted(0.02).tolist()
    desk.go(0.2, None)
    assert desk.fake.calls[-1] == "hold" and desk.runtime.follower.reason == "gate_lost"


def test_limit_violation_holds_and_keeps_the_activity() -> None:
    desk = Desk()
    desk.go(0.1)
    desk.gate(CommandMode.TRACK, shifted(1.0))
    assert desk.fake.commands == [] and desk.fake.calls[-1] == "hold"
    assert desk.runtime.active and desk.runtime.follower.reason == "limit_step"


def test_device_error_ends_the_activity_and_start_clears_it() -> None:
    desk = Desk()
    desk.go(0.1)
    desk.fake.fault_code = 31
    desk.gate(CommandMode.TRACK, shifted(0.01))
    assert not desk.runtime.active and desk.runtime.fault.device_code == 31
    desk.runtime.start()
    assert desk.runtime.active and desk.fake.fault_code == 0 and desk.fake.commands == []
    desk.gate(CommandMode.TRACK, shifted(0.01))
    assert desk.fake.commands == []  # TRACK alone does not resume


def test_a_persisting_fault_keeps_it_inactive() -> None:
    desk = Desk()
    desk.fake.fault_code, desk.fake.fault_persists = 1, True
    with pytest.raises(DeviceError):
        desk.runtime.start()


def test_a_cut_cable_is_a_lost_link() -> None:
    desk = Desk()
    desk.fake.cable_cut = True
    assert desk.runtime.tick() is None
    assert isinstance(desk.runtime.fault, ConnectionLostError)


def test_trajectory_runs_to_its_goal() -> None:
    desk = Desk()
    desk.go(0.05)
    desk.begin([Point(0.5, shifted(0.3))])
    desk.go(0.7)
    assert desk.ends == [(Outcome.SUCCESSFUL, "goal reached")]
    assert np.abs(desk.runtime.state.position_rad - shifted(0.3)).max() < 0.03


@pytest.mark.parametrize("case", ["silent", "track", "inactive", "far"])
def test_trajectory_is_refused(case: str) -> None:
    desk = Desk()
    points = [Point(0.5, shifted(0.1))]
    if case == "silent":
        desk.go(0.3, None)
    elif case == "track":
        desk.go(0.05)
        desk.gate(CommandMode.TRACK, HOME)
    elif case == "inactive":
        desk.runtime.stop("test")
    else:
        desk.go(0.05)
        points = [Point(0.0, shifted(0.3))]
    with pytest.raises(TrajectoryError):
        desk.begin(points)


def test_trajectory_without_a_gate_needs_the_parameter() -> None:
    desk = Desk(allow_without_gate=True)
    desk.go(0.7, None)
    desk.begin([Point(0.5, shifted(0.1))])
    desk.go(0.7, None)
    assert desk.ends[0][0] is Outcome.SUCCESSFUL


def test_trajectory_ends_when_the_gate_dies_takes_over_or_the_device_fails() -> None:
    for cause in ("dies", "takes over", "fails"):
        desk = Desk()
        desk.go(0.05)
        desk.begin([Point(2.0, shifted(0.3))])
        desk.go(0.2)
        if cause == "dies":
            desk.go(0.3, None)
        elif cause == "takes over":
            desk.gate(CommandMode.TRACK, desk.runtime.state.position_rad)
        else:
            desk.fake.fault_code = 31
            desk.go(0.05)
        assert len(desk.ends) == 1 and desk.ends[0][0] is Outcome.INVALID_GOAL, cause


def test_cancel_and_replacement() -> None:
    desk = Desk()
    desk.go(0.05)
    desk.begin([Point(2.0, shifted(0.5))])
    desk.go(0.3)
    desk.begin([Point(1.0, shifted(0.0))])
    assert desk.ends == [(Outcome.INVALID_GOAL, "replaced by a new goal")]
    before = desk.fake.commands[-1]
    desk.go(0.02)
    assert np.abs(desk.fake.commands[-1] - before).max() < 0.02  # no jump at the seam
    desk.runtime.cancel()
    assert desk.fake.calls[-1] == "hold" and len(desk.ends) == 2


def test_registry_names_what_there_is() -> None:
    if "xarm" not in driver_names("arm"):
        pytest.skip("entry points need the packages installed")
    assert load_driver("arm", "xarm").__name__ == "XArmDriver"
    with pytest.raises(ConfigError, match="installed: .*xarm"):
        load_driver("arm", "yarm")
