# SPDX-License-Identifier: Apache-2.0
"""The simulated G1 on a desk, one step at a time: what it obeys, what it ignores, how the weight blends, what it publishes."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.config import load_cell
from dex_core.devices.topic_link import DeskBus
from dex_core.devices.unitree_wire import LOW_CMD, LOW_STATE, WEIGHT_MOTOR, crc_is_right, pack_frame, unpack_frame
from dex_core.errors import ConfigError
from dex_sim.devices import SIMULATORS, load_simulator
from dex_sim.g1 import ARM_SDK, LOW_STATE_TOPIC, READS, WRITES, G1Robot
from dex_sim.plant import PlantState

BODY = load_cell("g1").interface("body")
HOME = np.array(BODY.home)
ELBOW, KNEE = BODY.names.index("left_elbow_joint"), BODY.names.index("left_knee_joint")


class StandingPlant:
    """Joints that are at once where they are told to be, in an order of their own."""

    names = tuple(reversed(BODY.names))

    def __init__(self) -> None:
        self.position = HOME[::-1].copy()
        self.commands = 0

    def read(self) -> PlantState:
        return PlantState(self.position.copy(), np.zeros(29), np.arange(29.0)[::-1])

    def command(self, position_rad: np.ndarray) -> None:
        self.position, self.commands = np.array(position_rad), self.commands + 1

    def hold(self) -> None:
        """It stands."""


class Desk:
    """A robot that is stepped by hand, and a host."""

    def __init__(self, **kwargs: object) -> None:
        bus, self.plant = DeskBus(), StandingPlant()
        link, self.host = bus.join(WRITES, READS), bus.join(READS, WRITES)
        link.open()
        self.host.open()
        self.robot = G1Robot(BODY, self.plant, link, **kwargs)

    def joints(self) -> np.ndarray:
        return self.plant.position[::-1]

    def send(self, data: bytes) -> None:
        self.host.publish(ARM_SDK, data)
        self.robot.step()

    def state(self) -> np.ndarray:
        return unpack_frame(self.host.take(LOW_STATE_TOPIC)[-1].data, LOW_STATE)


def frame(weight: float = 1.0, mode_machine: int = 5, kp: float = 60.0, **q: float) -> np.ndarray:
    """Arms and waist at home, but for the named joints."""
    command = np.zeros((), LOW_CMD)
    motors = command["motor_cmd"]
    motors["q"][12:29], motors["kp"][12:29] = HOME[12:], kp
    for joint, value in q.items():
        motors["q"][BODY.names.index(joint)] = value
    motors["q"][WEIGHT_MOTOR], command["mode_machine"] = weight, mode_machine
    return command


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.mark.parametrize("mode_machine", [5, 0])
def test_a_command_is_obeyed_also_with_the_mode_machine_of_unitrees_example(desk: Desk, mode_machine: int) -> None:
    desk.send(pack_frame(frame(mode_machine=mode_machine, left_elbow_joint=0.5)))
    assert desk.joints()[ELBOW] == pytest.approx(0.5) and (desk.robot.commands, desk.robot.refused, desk.robot.weight) == (1, 0, 1.0)


def test_what_is_wrong_is_ignored_and_the_last_command_goes_on_to_count(desk: Desk) -> None:
    good = pack_frame(frame(left_elbow_joint=0.5))
    flipped = bytearray(pack_frame(frame(left_elbow_joint=0.9)))
    flipped[60] ^= 4
    desk.send(good)
    for data in (bytes(flipped), pack_frame(frame(mode_machine=4)), pack_frame(frame(left_elbow_joint=float("nan"))), good[:-1], b""):
        desk.send(data)
    assert desk.joints()[ELBOW] == pytest.approx(0.5) and (desk.robot.commands, desk.robot.refused) == (1, 5)
    for _ in range(100):
        desk.robot.step()
    assert desk.joints()[ELBOW] == pytest.approx(0.5), "a host that died is not noticed"


@given(st.floats(0.0, 1.0), st.floats(-1.0, 2.0))
def test_the_weight_blends_between_its_own_posture_and_the_command(weight: float, asked: float) -> None:
    desk = Desk()
    desk.send(pack_frame(frame(weight=weight, left_elbow_joint=asked)))
    assert desk.joints()[ELBOW] == pytest.approx(HOME[ELBOW] + weight * (asked - HOME[ELBOW]), abs=1e-5)
    assert np.delete(desk.joints(), ELBOW) == pytest.approx(np.delete(HOME, ELBOW), abs=1e-6)


@pytest.mark.parametrize(("given_", "used"), [(-1.0, 0.0), (7.0, 1.0)])
def test_a_weight_outside_its_range_is_the_nearest_inside(desk: Desk, given_: float, used: float) -> None:
    desk.send(pack_frame(frame(weight=given_)))
    assert desk.robot.weight == used


def test_legs_are_not_moved_and_motors_without_stiffness_stay(desk: Desk) -> None:
    command = frame(left_elbow_joint=0.5, left_knee_joint=1.0)
    command["motor_cmd"]["kp"][KNEE] = 60.0
    command["motor_cmd"]["kp"][ELBOW] = 0.0
    desk.send(pack_frame(command))
    assert desk.joints() == pytest.approx(HOME, abs=1e-6)


def test_a_state_is_whole_and_in_motor_order(desk: Desk) -> None:
    desk.robot.inject_error("left_knee_joint", 0x10)
    desk.robot.set_temperature("left_elbow_joint", 66)
    desk.robot.step()
    first = desk.state()
    motors = first["motor_state"]
    assert crc_is_right(first) and first["mode_machine"] == 5 and first["mode_pr"] == 0
    assert motors["q"][:29] == pytest.approx(HOME) and motors["tau_est"][:29] == pytest.approx(np.arange(29.0)) and not motors["q"][29:].any()
    assert motors["motorstate"][KNEE] == 0x10 and motors["temperature"][ELBOW].tolist() == [66, 66]
    desk.robot.step()
    assert desk.state()["tick"] - first["tick"] == 4, "milliseconds at 250 Hz"


def test_faults_of_the_state(desk: Desk) -> None:
    desk.robot.step()
    before = desk.state()
    desk.robot.fault = "frozen"
    desk.robot.step()
    assert desk.state()["tick"] == before["tick"]
    desk.robot.fault = "garbage"
    desk.robot.step()
    assert not crc_is_right(desk.state())
    desk.robot.fault = "silent"
    desk.robot.step()
    assert not desk.host.take(LOW_STATE_TOPIC)


def test_reset_gives_the_joints_back_where_they_are(desk: Desk) -> None:
    desk.send(pack_frame(frame(left_elbow_joint=0.5)))
    desk.robot.inject_error("left_knee_joint", 1)
    desk.robot.reset()
    desk.robot.step()
    assert desk.robot.weight == 0.0 and desk.joints()[ELBOW] == pytest.approx(0.5) and not desk.state()["motor_state"]["motorstate"].any()


def test_it_is_found_by_its_transport_and_takes_a_body_only() -> None:
    assert SIMULATORS["unitree_dds"] == "dex_sim.g1_node:serve" and callable(load_simulator("unitree_dds"))
    with pytest.raises(ConfigError, match="has 6 joints; a simulated G1 has 29"):
        G1Robot(load_cell("g1").interface("left_hand"), StandingPlant(), DeskBus().join(WRITES, READS))
