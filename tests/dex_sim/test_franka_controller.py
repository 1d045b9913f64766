# SPDX-License-Identifier: Apache-2.0
"""The simulated Franka controller without sockets: modes, motions, reflexes, settings, and its frames."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from dex_sim import franka_wire as wire
from dex_sim.franka_controller import FIRST_COMMAND_TICKS, LOST_IN_A_ROW, RECOVERY_TICKS, FrankaController
from dex_sim.franka_model import LIMITS, FrankaModel
from dex_sim.franka_wire import Command, Controller, Generator, Mode, MoveStatus, Request, SetterStatus

HOME = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4])
MODEL = FrankaModel("fr3")


class Client:
    """Asks and commands as a library does."""

    def __init__(self, model: FrankaModel = MODEL) -> None:
        self.robot = FrankaController(model, HOME)
        self.robot.measure(HOME, np.zeros(7), np.zeros(7))
        self.number = 0
        for _ in range(10):
            self.robot.tick(None)

    def ask(self, command: Command, payload: bytes = b"") -> list[int]:
        self.number += 1
        self.robot.handle(Request(command, self.number, payload))
        return self.statuses()

    def statuses(self) -> list[int]:
        replies, self.robot.replies[:] = list(self.robot.replies), []
        return [reply[wire.HEADER.size] for reply in replies]

    def move(self, generator: int = 0, controller: int = 0, planned: bool = False, velocity: float = 1.0) -> list[int]:
        return self.ask(Command.MOVE, struct.pack("<II6d?7d", controller, generator, *[0.1] * 6, planned, *[velocity] * 7))

    def command(self, **fields: object) -> None:
        command = np.zeros((), wire.MOTION)
        command["message_id"] = self.robot.time_ms
        for key, value in fields.items():
            command[key] = value
        self.robot.tick(command[()])

    def state(self) -> np.void:
        return np.frombuffer(self.robot.state(), wire.STATE)[0]

    def reasons(self) -> list[str]:
        return [name for name, bit in zip(wire.ERRORS, self.state()["reflex_reason"], strict=True) if bit]


def test_a_position_motion_follows_and_finishes_with_two_replies() -> None:
    client = Client()
    assert client.move() == [MoveStatus.STARTED]
    state = client.state()
    modes = (state["robot_mode"], state["motion_generator_mode"], state["controller_mode"])
    assert modes == (Mode.MOVE, Generator.JOINT_POSITION, Controller.JOINT_IMPEDANCE)
    for k in range(400):
        client.command(q_c=HOME + 0.05 * (1 - np.cos(k * np.pi / 400)))
    assert np.abs(client.robot.desired.position - HOME).max() > 0.09
    for _ in range(3):
        client.command(motion_finished=1)
    assert client.statuses() == [MoveStatus.SUCCESS]
    state = client.state()
    assert (state["robot_mode"], state["motion_generator_mode"], state["controller_mode"]) == (Mode.IDLE, Generator.IDLE, Controller.OTHER)


def test_a_first_position_elsewhere_is_refused() -> None:
    client = Client()
    client.move()
    client.command(q_c=HOME + 0.01)
    assert client.statuses() == [MoveStatus.REFLEX_ABORTED]
    assert client.reasons() == ["joint_position_motion_generator_start_pose_invalid"]
    assert client.state()["robot_mode"] == Mode.REFLEX


@pytest.mark.parametrize(("velocities", "error"), [
    ([0.0, 0.02], "joint_motion_generator_velocity_discontinuity"), ([0.0, 0.008], "joint_motion_generator_acceleration_discontinuity"),
])
def test_a_jump_of_velocity_or_acceleration_is_a_reflex(velocities: list[float], error: str) -> None:
    client = Client()
    client.move(generator=1)
    for velocity in velocities:
        client.command(dq_c=np.full(7, velocity))
    assert client.reasons() == [error]
    assert client.robot.reflexes == 1


@pytest.mark.parametrize("end", [1, -1])
def test_speed_towards_an_end_of_the_range_is_limited_by_the_place(end: int) -> None:
    near = (LIMITS["fr3"].upper if end > 0 else LIMITS["fr3"].lower) - end * 0.02
    low, high = LIMITS["fr3"].velocity_range(near)
    outward, inward = (high, -low) if end > 0 else (-low, high)
    assert (outward < 0.6).all() and inward == pytest.approx(LIMITS["fr3"].velocity)
    assert (LIMITS["fr3"].velocity_range(near + end * 0.02)[end > 0] == 0.0).all()


def test_a_position_out_of_range_is_a_reflex() -> None:
    client = Client()
    client.robot.relocate(LIMITS["fr3"].upper - 1e-4)
    client.move()
    client.command(q_c=LIMITS["fr3"].upper + 1e-4)
    assert client.reasons() == ["joint_motion_generator_position_limits_violation"]


def test_twenty_commands_lost_in_a_row_are_a_reflex_and_nineteen_are_not() -> None:
    client = Client()
    client.move()
    for lost in (LOST_IN_A_ROW - 1, LOST_IN_A_ROW):
        client.command(q_c=HOME)
        assert client.robot.mode is Mode.MOVE
        for _ in range(lost):
            client.robot.tick(None)
    assert client.statuses() == [MoveStatus.REFLEX_ABORTED]
    assert client.reasons() == ["communication_constraints_violation"]
    assert client.robot.lost == 2 * LOST_IN_A_ROW - 1


def test_a_motion_without_any_command_is_ended_too() -> None:
    client = Client()
    client.move()
    for _ in range(FIRST_COMMAND_TICKS):
        client.robot.tick(None)
    assert client.reasons() == ["communication_constraints_violation"]


def test_lost_commands_are_bridged_at_constant_acceleration_and_judged_by_their_own_time() -> None:
    client = Client()
    client.move()
    t = np.arange(1500) * 1e-3
    path = 0.1 * (1 - np.cos(2 * np.pi * t / 1.5))
    gaps = np.random.default_rng(3).random(1500) < 0.2
    for k, lost in enumerate(gaps):
        if lost and k > 5:
            client.robot.tick(None)
            assert np.abs(client.robot.desired.position - HOME - path[k]).max() < 1e-3
        else:
            client.command(q_c=HOME + path[k])
    assert client.robot.mode is Mode.MOVE and client.robot.reflexes == 0
    # what is left of a cosine after differences over unequal spans: far from what a jump makes
    assert client.robot.peaks[1].max() < 3.0


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("slot", ["q_c", "dq_c", "O_T_EE_c", "O_dP_EE_c", "elbow_c", "tau_J_d"])
def test_a_number_that_is_none_in_any_slot_ends_the_motion(slot: str, bad: float) -> None:
    client = Client()
    client.move()
    client.command(q_c=HOME)
    values = np.zeros(wire.MOTION[slot].shape)
    values[-1] = bad
    client.command(**{"q_c": HOME, slot: values})
    assert client.statuses() == [MoveStatus.INPUT_ERROR_ABORTED]
    assert np.isfinite(client.robot.desired.position).all() and client.robot.mode is Mode.IDLE


def test_recovery_ends_a_reflex_and_only_then_a_motion_may_start() -> None:
    client = Client()
    client.robot.reflex("joint_reflex")
    assert client.move() == [MoveStatus.NOT_POSSIBLE]
    assert client.ask(Command.SET_JOINT_IMPEDANCE, struct.pack("<7d", *[3000.0] * 7)) == [SetterStatus.NOT_POSSIBLE]
    assert client.ask(Command.AUTOMATIC_ERROR_RECOVERY) == []
    for _ in range(RECOVERY_TICKS):
        client.robot.tick(None)
    assert client.statuses() == [0] and client.reasons() == []
    assert client.move() == [MoveStatus.STARTED]


def test_the_user_stop_ends_a_motion_and_refuses_everything_until_released() -> None:
    client = Client()
    client.move()
    client.command(q_c=HOME)
    client.robot.user_stop(True)
    assert client.statuses() == [MoveStatus.EMERGENCY_ABORTED]
    assert client.move() == [MoveStatus.REJECTED_BY_SAFETY]
    assert client.ask(Command.AUTOMATIC_ERROR_RECOVERY) == [2]
    client.robot.user_stop(False)
    assert client.move() == [MoveStatus.STARTED]


def test_while_guided_the_arm_goes_where_it_is_led() -> None:
    client = Client()
    client.robot.guide(True)
    client.robot.measure(HOME + 0.2, np.zeros(7), np.zeros(7))
    client.robot.tick(None)
    assert client.robot.desired.position == pytest.approx(HOME + 0.2)
    assert client.move() == [MoveStatus.NOT_POSSIBLE]


def test_a_push_is_judged_by_the_thresholds_that_were_set() -> None:
    client = Client()
    thresholds = np.concatenate([np.full(14, 30.0), np.full(7, 5.0), np.full(7, 30.0), np.full(24, 50.0)])
    assert client.ask(Command.SET_COLLISION_BEHAVIOR, thresholds.astype("<f8").tobytes()) == [SetterStatus.SUCCESS]
    client.robot.push(np.array([0, 0, 10.0, 0, 0, 0, 0]))
    client.robot.tick(None)
    assert client.state()["joint_contact"].tolist() == [0, 0, 1, 0, 0, 0, 0] and client.robot.mode is Mode.IDLE
    client.robot.push(np.array([0, 0, 31.0, 0, 0, 0, 0]))
    client.robot.tick(None)
    assert client.reasons() == ["joint_reflex"]


@pytest.mark.parametrize("bad", [np.nan, -1.0])
def test_settings_that_make_no_sense_are_refused(bad: float) -> None:
    numbers = np.full(7, 3000.0)
    numbers[3] = bad
    assert Client().ask(Command.SET_JOINT_IMPEDANCE, numbers.tobytes()) == [SetterStatus.INVALID_ARGUMENT]


def test_a_tool_moves_the_end_effector() -> None:
    client = Client()
    before = client.state()["O_T_EE"].reshape(4, 4, order="F")
    tool = np.eye(4)
    tool[2, 3] = 0.1
    assert client.ask(Command.SET_NE_TO_EE, tool.ravel(order="F").tobytes()) == [SetterStatus.SUCCESS]
    after = client.state()["O_T_EE"].reshape(4, 4, order="F")
    assert after[:3, 3] == pytest.approx(before[:3, 3] + 0.1 * before[:3, 2], abs=1e-6)


def test_a_cartesian_pose_is_followed_by_the_joints() -> None:
    client = Client()
    client.move(generator=2)
    start = MODEL.flange(HOME)
    for k in range(1000):
        pose = start.copy()
        pose[0, 3] += 0.05 * (1 - np.cos(np.pi * k / 1000))
        client.command(O_T_EE_c=pose.ravel(order="F"))
    assert client.robot.mode is Mode.MOVE
    assert MODEL.flange(client.robot.desired.position) == pytest.approx(pose, abs=1e-6)


def test_the_jacobian_is_the_derivative_of_the_pose() -> None:
    tool = np.array([0.02, -0.01, 0.1])
    velocity = np.array([0.3, -0.2, 0.1, 0.5, -0.4, 0.2, 0.7])

    def point(position: np.ndarray) -> np.ndarray:
        pose = MODEL.flange(position)
        return pose[:3, :3] @ tool + pose[:3, 3]

    step = 1e-6
    numeric = (point(HOME + step * velocity) - point(HOME - step * velocity)) / (2 * step)
    assert (MODEL.jacobian(HOME, point(HOME)) @ velocity)[:3] == pytest.approx(numeric, abs=1e-8)


def test_zero_torque_keeps_the_arm_where_it_is_and_a_jump_of_torque_is_a_reflex() -> None:
    client = Client()
    client.move(generator=4, controller=2)
    for _ in range(500):
        client.command()
    assert client.robot.desired.position == pytest.approx(HOME, abs=1e-9)
    client.command(tau_J_d=np.full(7, 1.5))
    assert client.reasons() == ["controller_torque_discontinuity"]


def test_the_robot_plans_towards_targets_that_come_seldom() -> None:
    client = Client()
    client.move(planned=True, velocity=0.5)
    client.command(q_c=HOME + 0.1)
    for _ in range(1000):
        client.robot.tick(None)
    assert client.robot.desired.position == pytest.approx(HOME + 0.1) and client.robot.mode is Mode.MOVE


def test_stop_preempts_and_a_client_that_is_gone_leaves_it_idle() -> None:
    client = Client()
    client.move()
    client.command(q_c=HOME)
    assert client.ask(Command.STOP_MOVE) == [0]
    client.robot.tick(None)
    assert client.statuses() == [MoveStatus.PREEMPTED] and client.robot.mode is Mode.IDLE
    client.move()
    client.robot.abandon()
    assert client.robot.mode is Mode.IDLE and client.robot.replies == []


def test_commands_that_answer_old_states_or_none_are_dropped() -> None:
    client = Client()
    client.move()
    client.command(q_c=HOME)
    client.command(q_c=HOME + 0.0001, message_id=client.robot.time_ms - 5)
    client.command(q_c=HOME + 0.0001, message_id=client.robot.time_ms + 5)
    assert client.robot.desired.position == pytest.approx(HOME, abs=1e-12) and client.robot.lost == 2


def test_the_model_it_serves_is_one_the_library_can_use() -> None:
    for robot, model in (("fr3", MODEL), ("panda", FrankaModel("panda"))):
        assert f'name="{robot}"' in model.urdf and model.urdf.count("position_based_velocity_limits") == 7
        assert 'name="joint7"' in model.urdf and 'name="link8"' in model.urdf


def test_frames_have_the_documented_sizes_and_offsets() -> None:
    assert (wire.STATE.itemsize, wire.MOTION.itemsize, len(wire.ERRORS)) == (1377, 371, 41)
    offsets = {key: wire.STATE.fields[key][1] for key in ("q", "dq", "tau_J", "motion_generator_mode", "errors", "reflex_reason", "robot_mode")}
    assert offsets == {"q": 596, "dq": 652, "tau_J": 512, "motion_generator_mode": 1288, "errors": 1290, "reflex_reason": 1331, "robot_mode": 1372}


def test_requests_come_out_whole_however_they_arrive_and_nonsense_is_refused() -> None:
    data = wire.HEADER.pack(2, 7, 12) + wire.HEADER.pack(4, 8, 68) + struct.pack("<7d", *range(7))
    reader = wire.RequestReader()
    requests = [request for i in range(len(data)) for request in reader.feed(data[i : i + 1])]
    assert [(r.command, r.number) for r in requests] == [(Command.STOP_MOVE, 7), (Command.SET_JOINT_IMPEDANCE, 8)]
    assert requests[1].doubles().tolist() == list(range(7))
    for bad in (wire.HEADER.pack(99, 0, 12), wire.HEADER.pack(2, 0, 13), b"\xff" * 12):
        with pytest.raises(wire.FrankaWireError):
            wire.RequestReader().feed(bad)
    assert wire.parse_motion(b"x" * 370) is None
