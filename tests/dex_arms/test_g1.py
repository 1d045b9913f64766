# SPDX-License-Identifier: Apache-2.0
"""The G1 driver on a desk: its contract, and what it does with arms, waist, legs, weight, CRC, revision, silence and errors."""
from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dex_arms.g1 import READS, WRITES, UnitreeG1Driver
from dex_arms.g1_motors import error_words
from dex_core.config import load_cell
from dex_core.contracts.joint_device import JointDeviceContract
from dex_core.devices.limited import Limited
from dex_core.devices.topic_link import DeskBus, Topic
from dex_core.devices.unitree_wire import LOW_CMD, WEIGHT_MOTOR, crc_is_right, unpack_frame
from dex_core.errors import ConnectionLostError, DeviceError, LimitError
from dex_ros.testing import wait_for
from dex_sim import g1 as robot_side
from dex_sim.g1 import G1Robot
from dex_sim.plant import KinematicPlant

RAMP_S = 0.1
EVERY_COMMAND = Topic("arm_sdk", "unitree_hg/LowCmd", depth=5000)
BODY = load_cell("g1").interface("body")
LEGS = np.array([any(part in name for part in ("hip", "knee", "ankle")) for name in BODY.names])
WAIST = np.array([name.startswith("waist") for name in BODY.names])


class Rig:
    """A simulated robot at home on a desk, somebody who reads along, and a driver."""

    def __init__(self, folder: Path, mode_machine: int = 5) -> None:
        self.bus, self.folder = DeskBus(), folder
        self.plant = KinematicPlant(BODY.names, BODY.home, time_constant_s=0.01)
        self.robot_link = self.bus.join(robot_side.WRITES, robot_side.READS)
        self.robot_link.open()
        self.robot = G1Robot(BODY, self.plant, self.robot_link, mode_machine=mode_machine)
        self.robot.start()
        self.wire = self.bus.join((), (EVERY_COMMAND,))
        self.wire.open()
        self.driver = self.new_driver()

    def new_driver(self) -> UnitreeG1Driver:
        self.link = self.bus.join(WRITES, READS)
        return UnitreeG1Driver(BODY, self.link, ramp_s=RAMP_S, state_max_age_s=0.3, mark_folder=self.folder)

    def ready(self) -> UnitreeG1Driver:
        self.driver.connect()
        self.driver.enable()
        return self.driver

    def commands(self) -> list[np.ndarray]:
        """Every arm_sdk frame since the last call."""
        return [unpack_frame(sample.data, LOW_CMD) for sample in self.wire.take(EVERY_COMMAND)]

    def weights(self) -> np.ndarray:
        return np.array([float(frame["motor_cmd"]["q"][WEIGHT_MOTOR]) for frame in self.commands()])

    def close(self) -> None:
        self.driver.disconnect()
        self.robot.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


class TestContract(JointDeviceContract):
    @pytest.fixture
    def device(self, rig: Rig) -> UnitreeG1Driver:
        return rig.driver

    def direction(self, device: UnitreeG1Driver) -> np.ndarray:
        return np.where(LEGS, 0.0, 1.0)


def test_only_arms_and_waist_are_ever_sent_with_right_crc_and_revision(rig: Rig) -> None:
    driver = rig.ready()
    target = np.array(driver.read().position_rad)
    driver.command(np.where(LEGS, target, target + 0.05))
    driver.disable()
    frames = rig.commands()
    assert len(frames) > 10 and all(crc_is_right(frame) for frame in frames)
    for frame in frames:
        motors = frame["motor_cmd"]
        assert frame["mode_machine"] == 5 and frame["mode_pr"] == 0
        assert not motors["mode"][:12].any() and not motors["kp"][:12].any() and not motors["q"][:12].any(), "legs are the robot's own"
        assert (motors["mode"][12:29] == 1).all() and (motors["kp"][12:29] >= 40.0).all() and (motors["kd"][12:29] == 1.5).all()
        assert not motors["q"][30:].any() and not motors["tau"].any()


def test_the_weight_rises_and_sinks_in_small_steps_and_no_joint_moves(rig: Rig) -> None:
    before = rig.plant.read().position_rad
    driver = rig.ready()
    rising = rig.weights()
    assert rising[0] == 0.0 and rising[-1] == 1.0 and np.diff(rising).max() <= 0.02 / RAMP_S + 1e-6 and (np.diff(rising) >= 0.0).all()
    driver.disable()
    sinking = rig.weights()
    assert sinking[-3:].tolist() == [0.0] * 3 and np.diff(sinking).min() >= -0.02 / RAMP_S - 1e-6
    wait_for(lambda: rig.robot.weight == 0.0, "the robot has its arms back", 2.0)
    assert np.abs(rig.plant.read().position_rad - before).max() < 1e-3


def test_the_stream_goes_on_without_new_targets(rig: Rig) -> None:
    rig.ready()
    rig.commands()
    deadline = time.monotonic() + 5.0
    seen: list[np.ndarray] = []
    while len(seen) < 10 and time.monotonic() < deadline:
        seen += rig.commands()
    assert len(seen) >= 10 and all(frame["motor_cmd"]["q"][WEIGHT_MOTOR] == 1.0 for frame in seen)


def test_a_leg_that_is_commanded_is_refused_and_nothing_is_sent(rig: Rig) -> None:
    driver = rig.ready()
    here = np.array(driver.read().position_rad)
    rig.commands()
    knee = BODY.names.index("left_knee_joint")
    with pytest.raises(LimitError, match="left_knee_joint is commanded 0.150 rad away: legs are the robot's own"):
        driver.command(here + 0.15 * np.eye(29)[knee])
    sent = driver.command(here + 0.05 * np.eye(29)[knee])
    assert sent[knee] == pytest.approx(here[knee]), "what is returned is what the leg does"


def test_the_first_target_must_be_near(rig: Rig) -> None:
    driver = rig.ready()
    here = np.array(driver.read().position_rad)
    with pytest.raises(LimitError, match="first target of left_elbow_joint is 0.400 rad from measured") as refused:
        driver.command(here + 0.4 * np.eye(29)[BODY.names.index("left_elbow_joint")])
    assert refused.value.code == "first_command_far"


def test_hold_keeps_the_waist_at_its_target_and_the_arms_where_they_are(rig: Rig) -> None:
    driver = rig.ready()
    here = np.array(driver.read().position_rad)
    target = np.where(WAIST, here + 0.1, here)
    driver.command(target)
    driver.hold()  # at once: the waist has not come far yet
    frame = rig.commands()[-1]
    assert frame["motor_cmd"]["q"][:29][WAIST] == pytest.approx(target[WAIST])
    assert frame["motor_cmd"]["q"][:29][~LEGS & ~WAIST] == pytest.approx(here[~LEGS & ~WAIST], abs=1e-3)


@pytest.mark.parametrize(("revision", "words"), [(4, "23 joints rev 1.0"), (6, "waist locked"), (13, "not known here")])
def test_another_hardware_revision_is_refused(tmp_path: Path, revision: int, words: str) -> None:
    rig = Rig(tmp_path, mode_machine=revision)
    with pytest.raises(DeviceError, match=words) as refused:
        rig.driver.connect()
    assert refused.value.code == "wrong_device" and refused.value.device_code == revision
    rig.close()


@pytest.mark.parametrize("fault", ["silent", "garbage", "frozen"])
def test_a_robot_that_falls_silent_lies_or_freezes_is_lost(rig: Rig, fault: str) -> None:
    driver = rig.ready()
    rig.robot.fault = fault
    with pytest.raises(ConnectionLostError, match="no valid, new lowstate for"):
        wait_for(lambda: driver.read() is None, "the loss", 3.0)
    assert driver.health().code == "connection_lost"
    with pytest.raises(DeviceError):
        driver.command(np.zeros(29))


def test_after_a_loss_the_arms_are_taken_again_without_a_step_of_the_weight(rig: Rig) -> None:
    driver = rig.ready()
    rig.robot.fault = "silent"
    with pytest.raises(ConnectionLostError):
        wait_for(lambda: driver.read() is None, "the loss", 3.0)
    assert rig.robot.weight == 1.0, "the robot keeps the last command"
    rig.robot.fault = "none"
    rig.commands()
    driver.recover()
    assert driver.health().ok and (rig.weights() == 1.0).all()


def test_a_driver_that_died_leaves_a_mark_and_the_next_one_does_not_drop_the_arms(rig: Rig) -> None:
    driver = rig.ready()
    here = np.array(driver.read().position_rad)
    driver.command(np.where(LEGS, here, here + 0.1))
    wait_for(lambda: np.abs(rig.plant.read().position_rad[~LEGS] - here[~LEGS] - 0.1).max() < 0.01, "arms are there", 3.0)
    driver._stream.stop()  # as a killed process: no ramp, no word
    rig.link.close()
    away = rig.plant.read().position_rad
    rig.commands()
    rig.driver = rig.new_driver()
    rig.ready()
    assert (rig.weights() == 1.0).all() and np.abs(rig.plant.read().position_rad - away).max() < 0.01


def test_a_motor_error_is_told_in_words_and_recover_needs_its_end(rig: Rig) -> None:
    driver = rig.ready()
    rig.robot.inject_error("left_elbow_joint", 0x210)
    wait_for(lambda: driver.read() is not None and not driver.health().ok, "the error", 3.0)
    assert driver.health().text == "left_elbow_joint: motor error 0x210: chip too hot, winding too hot"
    here = driver.read().position_rad
    with pytest.raises(DeviceError) as refused:
        driver.command(here)
    assert refused.value.device_code == 0x210
    with pytest.raises(DeviceError):
        driver.recover()
    rig.robot.inject_error("left_elbow_joint", 0)
    wait_for(lambda: driver.read() is not None and driver.health().ok, "the error's end", 3.0)
    driver.recover()
    driver.command(driver.read().position_rad)


def test_health_names_temperatures_by_joint(rig: Rig) -> None:
    driver = rig.ready()
    rig.robot.set_temperature("right_knee_joint", 71)
    wait_for(lambda: driver.read() is not None and driver.health().values["temperature_c"] == "71", "the temperature", 3.0)
    values = driver.health().values
    assert values["right_knee_joint.temperature_c"] == "71" and values["weight"] == "1.00" and values["mode_machine"] == "5 (29 joints rev 1.0)"


def test_two_who_write_arm_sdk_are_one_too_many(rig: Rig) -> None:
    other = rig.bus.join(WRITES, ())
    other.open()
    rig.driver.connect()
    with pytest.raises(DeviceError, match="1 other program writes arm_sdk") as refused:
        rig.driver.enable()
    assert refused.value.code == "duplicate_publisher"


def test_nobody_there_is_told_within_the_deadline(tmp_path: Path) -> None:
    bus = DeskBus()
    driver = UnitreeG1Driver(BODY, bus.join(WRITES, READS), ramp_s=RAMP_S, mark_folder=tmp_path)
    started = time.monotonic()
    with pytest.raises(ConnectionLostError, match="no valid lowstate within 3 s"):
        driver.connect()
    assert time.monotonic() - started < 10.0


def test_the_second_wall_holds_when_a_leg_is_asked_for(rig: Rig) -> None:
    limited = Limited(rig.driver, BODY.limits)
    limited.connect()
    limited.enable()
    here = np.array(limited.read().position_rad)
    with pytest.raises(LimitError):
        limited.command(here + 0.31 * np.eye(29)[BODY.names.index("right_hip_pitch_joint")])
    assert limited.violations == 1


def test_commands_of_several_threads_leave_whole_frames(rig: Rig) -> None:
    driver = rig.ready()
    here = np.array(driver.read().position_rad)
    threads = [threading.Thread(target=lambda: [driver.command(here) for _ in range(50)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10.0)
    assert all(crc_is_right(frame) for frame in rig.commands())


def test_unknown_bits_of_an_error_are_not_hidden() -> None:
    assert error_words(0x1) == "0x1: over-current"
    assert error_words(0x00100001) == "0x100001: over-current, unknown bits 0x100000"


