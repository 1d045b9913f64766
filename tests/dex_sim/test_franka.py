# SPDX-License-Identifier: Apache-2.0
"""The simulated Franka at its wire: libraries that were not written here, and the driver in front of MuJoCo."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from dex_arms.franka import FrankaDriver
from dex_core.clock import Priority, set_realtime_priority
from dex_core.config import load_cell
from dex_core.errors import ConfigError, DeviceError
from dex_sim.cell import SimCell
from dex_sim.franka import FrankaArm, serve
from dex_sim.franka_wire import ERRORS
from dex_sim.plant import KinematicPlant

ADDRESS, CELL_ADDRESS = "127.0.54.40", "127.0.54.41"
HOME = np.array(load_cell("franka").interface("right_arm").home)


@pytest.fixture(scope="module")
def arm() -> Iterator[FrankaArm]:
    plant = KinematicPlant(tuple(f"joint{i}" for i in range(1, 8)), HOME, time_constant_s=0.01)
    with FrankaArm(plant, ADDRESS) as simulated:
        yield simulated


def run(script: str, library: str) -> str:
    """Output of a client's own process: these libraries hold the interpreter's lock while they wait."""
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    head = f"import sys\nimport numpy as np\nimport {library}\nHOST = {ADDRESS!r}\n"
    done = subprocess.run([sys.executable, "-c", head + textwrap.dedent(script)], capture_output=True, text=True, timeout=30)  # noqa: S603
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_pylibfranka_reads_sets_and_loads_the_model(arm: FrankaArm) -> None:
    output = run("""
        robot = pylibfranka.Robot(HOST, pylibfranka.RealtimeConfig.kIgnore)
        robot.set_collision_behavior([20.0] * 7, [40.0] * 7, [10.0] * 6, [20.0] * 6)
        robot.set_joint_impedance([3000.0] * 7)
        robot.set_cartesian_impedance([3000.0] * 3 + [300.0] * 3)
        robot.set_load(0.5, [0.0, 0.0, 0.1], [0.01, 0, 0, 0, 0.01, 0, 0, 0, 0.01])
        state = robot.read_once()
        assert np.allclose(state.q, [0, -np.pi / 4, 0, -3 * np.pi / 4, 0, np.pi / 2, np.pi / 4], atol=1e-3), state.q
        assert np.isclose(state.m_load, 0.5) and state.robot_mode == pylibfranka.RobotMode.Idle
        gravity = robot.load_model().gravity(state)
        assert abs(gravity[3]) > 10.0, gravity
        robot.set_load(0.0, [0.0] * 3, [0.0] * 9)
        print("done")
    """, "pylibfranka")
    assert "done" in output and arm.facts()["reflexes"] == 0


@pytest.mark.parametrize(("start", "command"), [
    ("start_joint_position_control(pylibfranka.ControllerMode.JointImpedance)",
     "pylibfranka.JointPositions([q + 0.05 * (1 - np.cos(3 * t)) for q in first.q_d])"),
    ("start_joint_velocity_control(pylibfranka.ControllerMode.JointImpedance)", "pylibfranka.JointVelocities([0.2 * np.sin(3 * t)] * 7)"),
    ("start_cartesian_velocity_control(pylibfranka.ControllerMode.CartesianImpedance)",
     "pylibfranka.CartesianVelocities([0.0, 0.0, 0.02 * np.sin(3 * t), 0.0, 0.0, 0.0])"),
    ("start_torque_control()", "pylibfranka.Torques([0.0] * 7)"),
])
def test_pylibfranka_leads_a_motion_to_its_end(arm: FrankaArm, start: str, command: str) -> None:
    motions = arm.facts()["motions"]
    run(f"""
        robot = pylibfranka.Robot(HOST, pylibfranka.RealtimeConfig.kIgnore)
        control = robot.{start}
        first, t = None, 0.0
        while True:
            state, passed = control.readOnce()
            first = first or state
            t += passed.to_sec()
            command = {command}
            command.motion_finished = t > np.pi / 1.5
            control.writeOnce(command)
            if command.motion_finished:
                break
        assert robot.read_once().robot_mode == pylibfranka.RobotMode.Idle
    """, "pylibfranka")
    facts = arm.facts()
    assert facts["motions"] == motions + 1 and facts["mode"] == "IDLE"


def test_franky_plans_a_motion_of_its_own(arm: FrankaArm) -> None:
    run("""
        robot = franky.Robot(HOST, realtime_config=franky.RealtimeConfig.Ignore)
        robot.recover_from_errors()
        robot.relative_dynamics_factor = 0.2
        goal = np.array(robot.current_joint_state.position) + 0.1
        robot.move(franky.JointMotion(franky.JointState(goal.tolist())))
        assert np.abs(np.array(robot.state.q_d) - goal).max() < 1e-3
        robot.move(franky.JointMotion(franky.JointState((goal - 0.1).tolist())))
    """, "franky")
    assert arm.facts()["reflexes"] == 0


def test_driver_simulator_and_the_worlds_arm_follow_a_motion() -> None:
    cell = load_cell("franka")
    interface = cell.interface("right_arm")
    interface = replace(interface, address=replace(interface.address, simulated=CELL_ADDRESS))
    cell = replace(cell, interfaces={**cell.interfaces, "right_arm": interface}, sim=replace(cell.sim, state_server="127.0.54.42:7654"))
    with SimCell(cell, devices=False) as sim, ExitStack() as undo:
        served = serve(cell, ["right_arm"], sim.world.plant)
        undo.callback(served.close)
        undo.callback(os.sched_setscheduler, 0, os.SCHED_OTHER, os.sched_param(0))
        set_realtime_priority(Priority.DRIVER)
        device = FrankaDriver(interface, cell.address_of("right_arm"))
        undo.callback(device.disconnect)
        device.connect()
        device.enable()
        start = np.array(device.read().position_rad)
        goal = start + np.array([0.3, 0.1, -0.2, 0.2, 0.2, -0.2, 0.3])
        for part in 0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, 150)):
            device.command(start + part * (goal - start))
            time.sleep(0.01)
        plant, deadline = sim.world.plant("right_arm"), time.monotonic() + 5.0
        while np.abs(plant.read().position_rad - goal).max() > 0.01:
            device.command(goal)
            assert time.monotonic() < deadline, plant.read().position_rad - goal
            time.sleep(0.01)
        facts = served.devices["right_arm"].facts()
        assert (facts["motions"], facts["reflexes"]) == (1, 0)
        peaks = np.max(facts["peaks"], axis=1)
        assert 0.1 < peaks[0] < 1.0 and peaks[1] <= 10.0 and peaks[2] <= 5000.0
        sim.reset(1)
        for reset in served.resets:
            reset()
        assert np.abs(np.array(served.devices["right_arm"].facts()["desired_rad"]) - interface.home).max() < 0.02


def test_two_clients_are_one_too_many_and_the_first_stays(arm: FrankaArm) -> None:
    output = run("""
        first = pylibfranka.Robot(HOST, pylibfranka.RealtimeConfig.kIgnore)
        try:
            pylibfranka.Robot(HOST, pylibfranka.RealtimeConfig.kIgnore)
        except RuntimeError as error:
            print("refused", error)
        first.read_once()
    """, "pylibfranka")
    assert "refused" in output


def test_an_address_that_is_taken_and_a_robot_that_is_none_are_refused(arm: FrankaArm) -> None:
    plant = KinematicPlant(tuple("abcdefg"), HOME)
    with pytest.raises(DeviceError, match=f"{ADDRESS}:1337"), FrankaArm(plant, ADDRESS):
        pass
    with pytest.raises(ConfigError, match="xarm7"):
        FrankaArm(plant, ADDRESS, "xarm7")
    with pytest.raises(ConfigError, match="joint_reflex"):
        arm.reflex("bad_mood")


def test_fault_words_name_what_happens(arm: FrankaArm) -> None:
    hooks = arm.fault_hooks()
    hooks["wrong"](float(ERRORS.index("power_limit_violation")))
    assert arm.facts()["mode"] == "REFLEX"
    arm.relocated()
    hooks["off"](0.0)
    with pytest.raises(AssertionError, match="FCI"):
        run("pylibfranka.Robot(HOST, pylibfranka.RealtimeConfig.kIgnore)", "pylibfranka")
    hooks["ok"](0.0)
    assert "Idle" in run("print(pylibfranka.Robot(HOST, pylibfranka.RealtimeConfig.kIgnore).read_once().robot_mode)", "pylibfranka")
