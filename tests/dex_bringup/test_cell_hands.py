# SPDX-License-Identifier: Apache-2.0
"""Any hand in the live cell, mixed left and right, and exchanged while the cell runs: policy and gate keep their processes."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Duration
from control_msgs.action import FollowJointTrajectory
from rclpy.action import ActionClient
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectoryPoint

from dex_bringup.testing import RunningCell, private_cell
from dex_core.bundle import load_bundle
from dex_core.bundle.testing import write_latent_fixture, write_policy_fixture
from dex_core.config import CellConfig, load_cell
from dex_core.decode.latent import LatentDecoder
from dex_core.errors import ConfigError, DexError
from dex_core.types import ActionChunk, ActionSlice
from dex_msgs.msg import ActionChunk as ActionChunkMsg
from dex_msgs.msg import JointCommand, SafetyState
from dex_msgs.srv import SetGoal
from dex_ros import names, qos
from dex_ros.convert import chunk_to_msg

pytestmark = [pytest.mark.ros, pytest.mark.render, pytest.mark.slow, pytest.mark.timeout(240)]
DOMAIN = 61
HANDS = {"left_hand": "ability", "right_hand": "leap"}
LISTENERS = 4
SPACE = ("ability", "dexh13", "inspire", "leap", "xhand1")


def cell_of_many_hands(folder: Path) -> CellConfig:
    """A cell with the hands of ``HANDS`` whose latent space knows all of ``SPACE``; its policy knows wrist poses and latents only, and stays."""
    private = private_cell(folder, DOMAIN, host=21)
    alike = {hand: load_cell(private, hand=hand).interfaces for hand in SPACE}
    mounted = {f"{side}_{hand}": alike[hand][f"{side}_hand"] for hand in SPACE for side in ("left", "right")}
    write_latent_fixture(folder / "space", SimpleNamespace(interfaces=mounted))
    space = load_bundle(folder / "space")
    cell = load_cell(private, **HANDS)
    pinned = [f"{name[:-5]}_{hand}/{part}" for name, hand in HANDS.items() for part in ("encoder", "decoder")]
    anchors = {graph: space.graph_sha256(graph) for graph in pinned}
    write_policy_fixture(folder / "policy", cell, "space", anchors, wrist_poses=True)
    return dataclasses.replace(cell, policy=dataclasses.replace(cell.policy, bundle=str(folder / "policy"), latent_bundle=str(folder / "space")))


class Line:
    """A running cell, joint states by interface, the newest command and safety state."""

    def __init__(self, cell: RunningCell) -> None:
        self.cell = cell
        self.states: dict[str, JointState] = {}
        self.command, self.safety = JointCommand(), SafetyState()
        self.tracked: list[JointCommand] = []
        node = cell.client.node
        for name in cell.resolution.cell.interfaces:
            keep = partial(self.states.__setitem__, name)
            node.create_subscription(JointState, names.device_states(name), lambda message, keep=keep: keep(message), qos.SENSOR)
        node.create_subscription(JointCommand, names.JOINT_COMMAND, self._commanded, 1000)
        node.create_subscription(SafetyState, names.SAFETY_STATE, lambda message: setattr(self, "safety", message), qos.LATCHED)

    def _commanded(self, message: JointCommand) -> None:
        self.command = message
        if message.mode == JointCommand.TRACK:
            self.tracked.append(message)

    @property
    def config(self) -> CellConfig:
        return self.cell.supervisor.resolution.cell

    def hear(self, interface: str) -> np.ndarray:
        """(n,) positions [rad] in a message that comes after this call; by name."""
        self.states.pop(interface, None)
        self.cell.wait(lambda: interface in self.states, f"joint states of {interface}")
        assert tuple(self.states[interface].name) == self.config.interface(interface).names
        return np.array(self.states[interface].position)

    def move(self, interface: str, target_rad: np.ndarray, joints: tuple[str, ...] = (), seconds: float = 0.5) -> Any:
        """Result of one FollowJointTrajectory goal, None when it is rejected."""
        client = ActionClient(self.cell.client.node, FollowJointTrajectory, names.device_trajectory(interface))
        self.cell.wait(client.server_is_ready, f"trajectory action of {interface}")
        goal = FollowJointTrajectory.Goal()
        goal.trajectory.joint_names = list(joints or self.config.interface(interface).names)
        goal.trajectory.points = [JointTrajectoryPoint(positions=target_rad.tolist(), time_from_start=Duration(nanosec=int(seconds * 1e9)))]
        sent = client.send_goal_async(goal)
        self.cell.wait(sent.done, f"trajectory goal of {interface}")
        result = sent.result().get_result_async() if sent.result().accepted else None
        if result is not None:
            self.cell.wait(result.done, f"trajectory result of {interface}", seconds + 10.0)
        client.destroy()
        return None if result is None else result.result().result

    def posture(self, interface: str, part: float) -> np.ndarray:
        """(n,) posture [rad] that far from home to the middle of every range."""
        config = self.config.interface(interface)
        middle = np.array([0.5 * (limit.lower_rad + limit.upper_rad) for limit in config.limits])
        return np.array(config.home) + part * (middle - np.array(config.home))

    def follows(self, interface: str) -> None:
        """Checks that the fingers go where a trajectory says."""
        target = self.posture(interface, 0.3)
        for _ in range(5):  # on a busy machine the gate's stream pauses now and then, and a driver rightly ends its trajectory
            self.cell.wait(lambda: self.command.mode == JointCommand.IDLE, "the gate to idle")
            result = self.move(interface, target)
            if result is not None and result.error_code == FollowJointTrajectory.Result.SUCCESSFUL:
                break
            if result is None:
                self.recover()
        assert result is not None and result.error_code == FollowJointTrajectory.Result.SUCCESSFUL, result
        self.cell.wait(lambda: np.abs(self.hear(interface) - target).max() < 0.06, f"{interface} at its target")

    def recover(self) -> None:
        """What an operator does after a device fault, as a hand that heard nothing for too long: stop, then reset."""
        self.cell.client.stop_gate()
        self.cell.client.quiet_gate()
        self.cell.client.pause(0.5)

    def exchanged(self) -> set[str]:
        """Names of what a swap on the left starts anew."""
        decoders = {child.name for child in self.cell.supervisor.children if child.process.package == "dex_decode" and child.name.startswith("left_")}
        return {"left_hand"} | decoders

    def pids(self) -> dict[str, int]:
        return {child.name: child.pid for child in self.cell.supervisor.children}


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("hands")
    cell_of_many_hands(folder).save(folder / "cell.yaml")
    with RunningCell(folder, DOMAIN, {}, folder / "cell.yaml") as cell:
        yield Line(cell)


class Part:
    """The policy's part, played here: goals at the gate, and chunks whose arms stay and whose hands go where a latent says."""

    def __init__(self, line: Line) -> None:
        self.line, self.client = line, line.cell.client
        self.space = load_bundle(line.config.policy.latent_bundle)
        self.chunks = self.client.node.create_publisher(ActionChunkMsg, names.ACTION_CHUNK, qos.CHUNK)

    def goal(self, goal_id: str, active: bool) -> SetGoal.Response:
        self.line.cell.supervisor.tick()
        return self.client.call(SetGoal, names.GATE_SET_GOAL, SetGoal.Request(goal_id=goal_id, active=active))

    def latents(self, name: str, position_rad: np.ndarray) -> np.ndarray:
        """(T, dim) latents of postures (T, n) [rad]."""
        mounted = self.line.config.interface(name)
        return LatentDecoder(self.space, f"{mounted.side}_{mounted.robot.name}").encode(position_rad)

    def chunk(self, goal_id: str, targets_rad: dict[str, np.ndarray]) -> ActionChunk:
        """64 steps: a second from where the hands are to their targets, then still."""
        slices, share = [], np.minimum(np.arange(64) / 20.0, 1.0)[:, None]
        for name, interface in self.line.config.interfaces.items():
            here = self.line.hear(name)
            if name in targets_rad:
                space_hash = self.space.graph_sha256(f"{interface.side}_{interface.robot.name}/decoder")
                slices.append(ActionSlice(name, "latent", self.latents(name, here + share * (targets_rad[name] - here)), space_hash=space_hash))
            else:
                slices.append(ActionSlice(name, "joint_position", np.tile(here, (64, 1)), interface.names))
        return ActionChunk(time.time_ns(), goal_id, 1, 0.05, 1.0, tuple(slices))

    def drive(self, goal_id: str) -> None:
        """Checks that both hands go where latents say, through decoders, gate and drivers; again while a busy machine is late."""
        targets, near = {name: self.line.posture(name, 0.7) for name in HANDS}, False
        self.line.cell.wait(lambda: self.chunks.get_subscription_count() >= LISTENERS, "gate, decoders and state to listen")
        for attempt in range(5):
            self.client.quiet_gate()
            self.line.tracked.clear()
            started = self.goal(f"{goal_id}-{attempt}", True)
            if not started.accepted:
                self.line.recover()
                continue
            self.chunks.publish(chunk_to_msg(self.chunk(f"{goal_id}-{attempt}", targets)))
            self.client.pause(2.0)
            near = all(np.abs(self.line.hear(name) - target).max() < 0.08 for name, target in targets.items())
            self.goal(f"{goal_id}-{attempt}", False)
            if near and self.line.tracked:
                break
        assert near and self.line.tracked, (started, self.line.safety)
        assert set(self.line.tracked[-1].names) == set(self.line.config.joint_names)
        self.client.quiet_gate()


@pytest.fixture(scope="module")
def part(line: Line) -> Part:
    return Part(line)


def test_each_hand_follows_a_trajectory_by_name(line: Line) -> None:
    assert {name: line.config.driver_of(name) for name in HANDS} == {"left_hand": "ability_serial", "right_hand": "leap_dynamixel"}
    for interface in HANDS:
        line.follows(interface)


def test_a_goal_drives_both_hands_through_decoders_gate_and_drivers(part: Part) -> None:
    part.drive("mixed")


@pytest.mark.parametrize(("side", "hand", "words"), [
    ("left", "claw", "hand 'claw' is not known; allowed: .*'leap'.*'xhand'"), ("up", "leap", r"side is 'up'; allowed: \['left', 'right'\]"),
    ("left", "ability", "left_hand is ability already"), ("left", "shadow", "no device simulator is known for 'shadow'"),
    ("right", "allegro", "no device simulator is known"),
])
def test_what_cannot_be_is_refused_before_anything_stops(line: Line, side: str, hand: str, words: str) -> None:
    before = line.pids()
    with pytest.raises(ConfigError, match=words):
        line.cell.supervisor.swap(side, hand)
    line.cell.client.pause(0.1)
    assert line.pids() == before and line.safety.mode == SafetyState.IDLE
    assert not list(line.cell.resolution.run_folder.glob("cell.*.yaml"))


def test_no_swap_while_a_goal_runs(line: Line, part: Part) -> None:
    before = line.pids()
    if not part.goal(f"running-{time.monotonic_ns()}", True).accepted:
        line.recover()
        line.cell.wait(lambda: part.goal(f"running-{time.monotonic_ns()}", True).accepted, "the gate to take a goal")
    with pytest.raises(DexError, match="goal 'running-[0-9]*' runs .ARMED.; a hand is swapped while none does") as caught:
        line.cell.supervisor.swap("left", "leap")
    part.goal("", False)
    assert caught.value.code == "busy" and line.pids() == before and line.config.interface("left_hand").robot.name == "ability"
    line.cell.client.quiet_gate()


def test_a_hand_that_does_not_come_gives_the_old_one_back(line: Line) -> None:
    before, folder = line.pids(), line.cell.resolution.run_folder
    blockers: list[socket.socket] = []
    host, port = load_cell(folder / "cell.yaml", left_hand="inspire").interface("left_hand").address.simulated.split(":")

    def somebody_takes_the_address(_text: str) -> None:
        if not blockers:
            blockers.append(socket.create_server((host, int(port))))

    line.cell.supervisor.notify = somebody_takes_the_address
    try:
        with pytest.raises(DexError, match="inspire did not come, ability is back: sim refuses .address_in_use") as caught:
            line.cell.supervisor.swap("left", "inspire")
    finally:
        line.cell.supervisor.notify = lambda _text: None
        blockers[0].close()
    assert caught.value.code == "rolled_back"
    after = line.pids()
    assert {name for name in after if after[name] != before[name]} == line.exchanged()
    assert line.config.interface("left_hand").robot.name == "ability" == load_cell(folder / "cell.yaml").interface("left_hand").robot.name
    line.hear("left_hand")
    line.cell.client.quiet_gate()


def dex_swap(line: Line, *words: str) -> tuple[dict[str, Any], int]:
    """Answer and exit code of ``dex swap`` in a process of its own, while this one supervises."""
    script = "from dex_bringup.cli import main; raise SystemExit(main())"
    process = subprocess.Popen([sys.executable, "-c", script, "swap", *words, "--json"], env={**os.environ, "ROS_DOMAIN_ID": str(DOMAIN)},
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while process.poll() is None:
        line.cell.supervisor.tick()
        line.cell.supervisor.serve()
        line.cell.client.pause(0.02)
    return json.loads(process.stdout.read()), process.returncode


def test_swap_from_the_command_line_keeps_policy_and_gate(line: Line, part: Part) -> None:
    before, old = line.pids(), line.config.interface("left_hand").names
    refused, code = dex_swap(line, "left", "claw")
    assert code == 1 and refused["reason"] == "config_invalid" and "'xhand'" in refused["detail"] and line.pids() == before
    answer, code = dex_swap(line, "left", "xhand")
    assert answer["success"] and code == 0, answer
    after = line.pids()
    assert {name for name in after if after[name] != before[name]} == line.exchanged()
    assert "left_hand is xhand1, was ability" in answer["detail"]
    cell = load_cell(line.cell.resolution.cell_file)
    assert cell == line.config and cell.interface("left_hand").robot.name == "xhand1"
    kept = sorted(line.cell.resolution.run_folder.glob("cell.*.yaml"))
    assert load_cell(kept[-1]).interface("left_hand").robot.name == "ability"
    line.cell.client.pause(0.2)
    assert line.safety.latched and line.safety.mode == SafetyState.STOPPED and line.command.mode == JointCommand.STOP
    refused = part.goal("too-soon", True)
    assert (refused.accepted, refused.reason) == (False, "latched"), refused
    line.hear("left_hand")
    line.cell.client.reset_gate()
    line.follows("left_hand")
    assert line.move("left_hand", np.zeros(len(old)), old) is None  # the joints of the hand that went are nobody's


def test_the_next_goal_commands_the_new_hand_and_not_the_old_one(line: Line, part: Part) -> None:
    policy = line.pids()["policy"]
    part.drive("swapped")
    assert "left_hand_thumb_bend_joint" in line.tracked[-1].names and "left_index_q1" not in line.tracked[-1].names
    assert line.pids()["policy"] == policy


def test_the_policy_process_goes_on_with_the_new_hand(line: Line) -> None:
    """The policy is told which hand is mounted with each observation; nothing of it was started anew."""
    results = []
    for _ in range(6):  # on a busy machine a picture or a joint state is too old now and then
        line.cell.client.quiet_gate()
        line.tracked.clear()
        results.append(line.cell.client.run_task("push the two cans together", 2.0, tick=line.cell.supervisor.tick))
        if results[-1].chunks and line.tracked:
            break
    assert results[-1].chunks and line.tracked, results
    assert set(line.tracked[-1].names) == set(line.config.joint_names)
    assert len(line.cell.supervisor.child("policy").starts) == len(line.cell.supervisor.child("gate").starts) == 1
