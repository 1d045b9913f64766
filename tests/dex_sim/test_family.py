# SPDX-License-Identifier: Apache-2.0
"""Every hand and arm in the physics: alone and mounted, no warning, joints follow their servos, fingers close towards the palm."""
from __future__ import annotations

import mujoco
import numpy as np
import pytest

from dex_bringup.show.posture import palm_pose
from dex_bringup.show.subject import robot_subject
from dex_core.config import load_cell, load_robot
from dex_core.config.load import names_in
from dex_core.errors import ConfigError
from dex_description import compose_cell_urdf, parse_urdf
from dex_description.forward import joint_positions, link_poses
from dex_sim.cell import SimCell
from dex_sim.model import build_robot_model
from dex_sim.servos import TUNED, Servo, servos_of
from dex_sim.world import World

HANDS, ARMS = names_in("hands"), names_in("arms")
SIDES = ("left", "right")


def warnings_of(data: mujoco.MjData) -> dict[str, int]:
    return {mujoco.mjtWarning(i).name: int(w.number) for i, w in enumerate(data.warning) if w.number}


def settle(model: mujoco.MjModel, data: mujoco.MjData, target: dict[str, float], steps: int) -> None:
    start = {name: float(data.ctrl[model.actuator(name).id]) for name in target}
    for step in range(steps):
        share = min(1.0, 2.0 * (step + 1) / steps)
        for name, position in target.items():
            data.ctrl[model.actuator(name).id] = start[name] + share * (position - start[name])
        mujoco.mj_step(model, data)


def start_at(model: mujoco.MjModel, data: mujoco.MjData, description: object, pose: dict[str, float]) -> None:
    for name, position in joint_positions(description, pose).items():
        data.qpos[model.joint(name).qposadr[0]] = position
    for name, position in pose.items():
        data.ctrl[model.actuator(name).id] = position
    mujoco.mj_forward(model, data)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", HANDS)
def test_a_hand_alone_closes_towards_its_palm(name: str, side: str) -> None:
    subject = robot_subject(load_robot(name), side)
    model = build_robot_model(load_robot(name), side)
    data = mujoco.MjData(model)
    start_at(model, data, subject.description, subject.pose("open"))
    tips = {finger: data.body(link) for finger, link in subject.tips.items()}
    before = {finger: body.xpos.copy() for finger, body in tips.items()}
    settle(model, data, subject.pose("half"), 1000)
    assert warnings_of(data) == {}
    palm = palm_pose(next(iter(subject.palms.values())), link_poses(subject.description, subject.pose("open")))
    if len(tips) == 2:
        assert np.linalg.norm(np.subtract(*(body.xpos for body in tips.values()))) < np.linalg.norm(np.subtract(*before.values())) - 0.02
        return
    for finger, body in tips.items():
        if finger != "thumb":
            assert palm[:3, 0] @ (body.xpos - before[finger]) > 0.02, f"{name} {side} {finger}"


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", HANDS)
def test_joints_reach_their_targets_and_couplings_hold(name: str, side: str) -> None:
    subject = robot_subject(load_robot(name), side)
    model = build_robot_model(load_robot(name), side)
    data = mujoco.MjData(model)
    start_at(model, data, subject.description, subject.pose("open"))
    target = subject.pose("half")
    settle(model, data, target, 600)
    wanted = joint_positions(subject.description, target)
    for joint, position in wanted.items():
        low, high = subject.ranges.get(joint, (0.0, 1.5))
        assert data.qpos[model.joint(joint).qposadr[0]] == pytest.approx(position, abs=0.04 * (high - low)), joint


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_alone_holds_still(name: str) -> None:
    robot = load_robot(name)
    subject, model = robot_subject(robot), build_robot_model(robot)
    data, home = mujoco.MjData(model), robot_subject(robot).pose("home")
    start_at(model, data, subject.description, home)
    settle(model, data, home, 1000)
    assert warnings_of(data) == {}
    assert np.allclose([data.qpos[model.joint(j).qposadr[0]] for j in home], list(home.values()), atol=5e-3)


@pytest.mark.parametrize("name", HANDS)
def test_a_hand_on_both_arms_steps_without_a_warning(name: str) -> None:
    world = World(load_cell("xarm_bimanual", hand=name))
    for interface in ("left_hand", "right_hand"):
        limits = world.cell.interface(interface).limits
        world.set_targets(interface, [0.5 * (limit.lower_rad + limit.upper_rad) for limit in limits])
    world.step(1000)
    assert world.warnings() == {} and np.isfinite(world.joint_positions()).all()


@pytest.mark.parametrize(("cell", "overrides"), [
    ("xarm_bimanual", {"left_hand": "ability", "right_hand": "leap"}), ("xarm_bimanual", {"arm": "fr3", "hand": "allegro"}),
    ("xarm_bimanual", {"left_arm": "panda", "right_hand": "svh"}), ("franka", {}),
    ("franka", {"hand": "panda_gripper"}), ("franka", {"arm": "panda"}),
    ("g1", {}), ("g1", {"left_hand": "xhand", "right_hand": "paxini"}),
])
def test_cells_of_the_family_hold_their_home(cell: str, overrides: dict[str, str]) -> None:
    world = World(load_cell(cell, **overrides))
    before = world.joint_positions()
    world.step(1000)
    assert world.warnings() == {}
    assert np.abs(world.joint_positions() - before).max() < 0.03


def test_a_hand_without_a_simulator_stops_only_the_devices() -> None:
    cell = load_cell("xarm_bimanual", left_hand="shadow")
    World(cell).step(1)
    with pytest.raises(ConfigError, match="left_hand has no simulated address; no device simulator is known for 'shadow'"):
        cell.address_of("left_hand")
    with pytest.raises(ConfigError, match="no device simulator for .*left_hand.*ethercat"):
        SimCell(cell)._start_devices()


def test_what_policies_were_trained_against_stays() -> None:
    world = World(load_cell("xarm_bimanual"))
    stiffness = [world.model.actuator(f"left_joint{i}").gainprm[0] for i in range(1, 8)]
    assert stiffness == [3000.0, 3000.0, 1800.0, 1800.0, 700.0, 700.0, 500.0]
    finger = world.model.actuator("right_index_proximal_joint")
    assert (finger.gainprm[0], finger.biasprm[2], finger.forcerange[1]) == (10.0, -0.25, 1.0)
    assert world.model.joint("right_index_proximal_joint").armature[0] == 0.0025
    assert set(TUNED) == {"xarm7", "inspire"} and TUNED["inspire"] == (Servo(10.0, 0.25, 0.0025, 0.005),) * 6


@pytest.mark.parametrize("name", [name for name in HANDS + ARMS if name not in TUNED])
def test_servos_are_stiff_damped_and_slow_enough_for_the_step(name: str) -> None:
    robot = load_robot(name).for_side("right")
    subject = robot_subject(robot)
    for joint, servo in servos_of(robot, subject.description, subject.pose("home")).items():
        effort = robot.limits[joint].effort_nm or subject.description.joint(joint).effort_nm
        assert servo.effort_nm == effort and servo.stiffness_nm_rad > effort
        assert servo.damping_nms_rad >= 0.025 * servo.stiffness_nm_rad - 1e-9
        assert servo.stiffness_nm_rad / servo.armature_kg_m2 <= 63.0**2 / 0.05 + 1e-6


@pytest.mark.parametrize("name", HANDS)
def test_every_coupling_of_a_cell_is_an_equality(name: str) -> None:
    cell = load_cell("xarm_bimanual", hand=name)
    coupled = [joint.name for joint in parse_urdf(compose_cell_urdf(cell)).joints if joint.mimic is not None]
    assert World(cell).model.neq == len(coupled)
