# SPDX-License-Identifier: Apache-2.0
"""The cell in lockstep: simulated time only moves when asked, no ROS; an executor takes chunks and makes commands.

One seed gives one episode, to the last bit, whatever the machine's load. Experts, learners and scores share
:func:`run_episode`.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.config import CellConfig, load_cell
from dex_core.decode.pose import PoseDecoder
from dex_core.errors import ShapeError
from dex_core.images import crop_and_resize
from dex_core.rot6d import tool_pose_columns
from dex_core.types import frozen_array
from dex_sim.executor import CONTROL_HZ, INTERFACES, Executor, LinearExecutor
from dex_sim.expert_path import DT_S, STEPS
from dex_sim.judge import Judgement
from dex_sim.render import CellRenderer
from dex_sim.toolpose import GraspArm
from dex_sim.world import World

Array = NDArray[np.float64]

SIDES = ("left", "right")


@dataclass(frozen=True)
class Observation:
    """What a policy may see of one instant, and, for teachers only, the truth.

    Attributes:
        image: (240, 320, 3) uint8 RGB as the camera node publishes it, or None when not asked for.
        joints: interface -> measured joints in rad, hardware order.
        instruction: the task in words.
        time_s: simulated time.
        objects_m: object of the task -> (3,) its middle in ``world``; a policy must not look.
        tool_poses: (2, 4) left, right: x, y, z [m] and yaw [rad] of each hand's grasp frame in ``world``.
    """

    image: NDArray[np.uint8] | None
    joints: dict[str, Array]
    instruction: str
    time_s: float
    objects_m: dict[str, Array]
    tool_poses: Array


@dataclass(frozen=True)
class EpisodeResult:
    """How one episode ended.

    Attributes:
        seed: its seed.
        success: the task stayed done for long enough.
        time_s: simulated time of success, or of the end.
        judgement: the last verdict.
        chunks: how many chunks were executed.
        peak_joint_speed_rad_s: fastest arm joint seen.
        hand_hits: pairs of bodies of different arms that touched.
    """

    seed: int
    success: bool
    time_s: float
    judgement: Judgement
    chunks: int
    peak_joint_speed_rad_s: float
    hand_hits: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ToolChunk:
    """64 steps of both sides that know no arm: where the grasp frames go and what the hands do.

    Attributes:
        tool_poses: (64, 2, 4) left, right: x, y, z [m] and yaw [rad] of the grasp frame in ``world``.
        hands: side -> (64, n) joints in rad, the mounted hand's hardware order.
    """

    tool_poses: Array
    hands: dict[str, Array]

    def __post_init__(self) -> None:
        object.__setattr__(self, "tool_poses", frozen_array(self.tool_poses, (None, 2, 4), "tool poses"))
        steps = len(self.tool_poses)
        if set(self.hands) != set(SIDES):
            raise ShapeError(f"hands of {sorted(self.hands)}; expected {list(SIDES)}")
        hands = {side: frozen_array(self.hands[side], (steps, None), f"{side} hand joints") for side in SIDES}
        object.__setattr__(self, "hands", hands)


class LockstepCell:
    """A World with a renderer and something that executes chunks.

    Args:
        cell: the two-armed cell when left out.
        render: observations may hold pictures.
        executor: how chunks are executed; the one of demonstrations and scores when left out.
    """

    def __init__(self, cell: CellConfig | None = None, *, render: bool = True, executor: Executor | None = None) -> None:
        self.cell = cell or load_cell("xarm_bimanual")
        self.world = World(self.cell)
        self._camera = next(iter(self.cell.cameras.values()))
        self._renderer = CellRenderer(self.world.model, *self._camera.native_wh) if render else None
        self._substeps = round(1.0 / (CONTROL_HZ * self.world.timestep_s))
        self._splits = np.cumsum([len(self.cell.interface(name).names) for name in INTERFACES])
        self._executor = executor or LinearExecutor(self.cell)
        self.arms = {side: GraspArm(self.cell, side) for side in SIDES}
        self._decoders = {side: PoseDecoder.of_cell(self.cell, side) for side in SIDES}
        self._executor.begin(self.world.state, self.world.time_s)

    def reset(self, seed: int, task: str | None = None, *, joint_noise_rad: float = 0.0) -> None:
        """New episode; see World.reset."""
        self.world.reset(seed, task, joint_noise_rad=joint_noise_rad)
        self._executor.begin(self.world.state, self.world.time_s)

    def observe(self, instruction: str = "", *, image: bool = True) -> Observation:
        """The instant as a policy gets it. Raises ValueError when a picture is asked of a cell without renderer."""
        picture = None
        if image:
            if self._renderer is None:
                raise ValueError("this LockstepCell was made with render=False and has no picture")
            native = self._renderer.rgb(self.world.snapshot())
            picture = crop_and_resize(native, self._camera.crop_xywh, self._camera.output_wh)
        joints = {name: self.world.state(name).position_rad for name in INTERFACES}
        objects = {name: pose[:3] for name, pose in self.world.object_poses().items()}
        tool = np.array([self.arms[side].pose(joints[f"{side}_arm"]) for side in SIDES])
        return Observation(picture, joints, instruction, self.world.time_s, objects, tool)

    def accept(self, chunk: ArrayLike | ToolChunk, stamp_s: float) -> None:
        """Hands a chunk for an observation of ``stamp_s`` to the executor.

        Args:
            chunk: (64, n) joints in rad (left arm, right arm, left hand, right hand), or tool poses with hand joints.
            stamp_s: simulated time of the observation.
        """
        joints = self.joints_of(chunk) if isinstance(chunk, ToolChunk) else chunk
        self._executor.accept(frozen_array(joints, (None, int(self._splits[-1])), "chunk"), stamp_s, self.world.state, self.world.time_s)

    def joints_of(self, chunk: ToolChunk) -> Array:
        """(64, n) joints in rad of a chunk of tool poses: left arm, right arm, left hand, right hand; as the live cell's decoders solve it."""
        arms = [
            self._decoders[side].decode(tool_pose_columns(chunk.tool_poses[:, i]), self.world.state(f"{side}_arm").position_rad).position_rad
            for i, side in enumerate(SIDES)
        ]
        return np.concatenate([*arms, *(chunk.hands[side] for side in SIDES)], axis=1)

    def advance(self, duration_s: float) -> None:
        """Executes for so long at 100 Hz; without a chunk the joints hold."""
        for _ in range(round(duration_s * CONTROL_HZ)):
            command = self._executor.command(self.world.state, self.world.time_s)
            if command is not None:
                for name, part in zip(INTERFACES, np.split(command, self._splits[:-1]), strict=True):
                    self.world.set_targets(name, part)
            self.world.step(self._substeps)

    def close(self) -> None:
        """Frees the renderer."""
        if self._renderer is not None:
            self._renderer.close()


PolicyFn = Callable[[Observation], ArrayLike | ToolChunk]


def run_episode(
    policy: PolicyFn,
    seed: int,
    *,
    lockstep: LockstepCell,
    task: str | None = None,
    instruction: str = "",
    image: bool = False,
    replan_s: float = 0.8,
    latency_s: float = 0.05,
    time_limit_s: float = 20.0,
    joint_noise_rad: float = 0.0,
    hold_s: float = 0.2,
    on_chunk: Callable[[Observation, ArrayLike | ToolChunk], ArrayLike | ToolChunk | None] | None = None,
) -> EpisodeResult:
    """Runs one episode of a task to success or to the time limit.

    Args:
        policy: observation -> (64, n) joint targets or a ToolChunk, action k for 0.05 s * (1 + k) after the observation.
        seed: of the scene.
        lockstep: the cell to run in; it is reset.
        task: whose objects are on the table; the cell's own when left out.
        instruction: put into every observation.
        image: render a picture for every observation.
        replan_s: time between observations.
        latency_s: the chunk takes effect so long after its observation.
        time_limit_s: simulated time after which the episode is lost.
        joint_noise_rad: start this far from home.
        hold_s: success must last so long.
        on_chunk: called with each observation and chunk; what it returns, if anything, is executed instead
            (recorders return None, perturbations a changed chunk).
    """
    lockstep.reset(seed, task, joint_noise_rad=joint_noise_rad)
    world, good_s, chunks, peak, hits = lockstep.world, 0.0, 0, 0.0, set()
    while True:
        observation = lockstep.observe(instruction, image=image)
        chunk = policy(observation)
        replaced = None if on_chunk is None else on_chunk(observation, chunk)
        lockstep.advance(latency_s)
        lockstep.accept(chunk if replaced is None else replaced, observation.time_s)
        chunks += 1
        end_s = observation.time_s + replan_s
        while world.time_s < end_s - 1e-9:
            lockstep.advance(min(0.05, end_s - world.time_s))
            peak = max(peak, *(float(np.abs(world.state(f"{s}_arm").velocity_rad_s).max()) for s in ("left", "right")))
            hits.update(crossed_pairs(world))
            judgement = world.judge()
            good_s = good_s + 0.05 if judgement.success else 0.0
            if good_s >= hold_s or world.time_s >= time_limit_s:
                return EpisodeResult(seed, good_s >= hold_s, world.time_s, judgement, chunks, peak, tuple(sorted(hits)))


def crossed_pairs(world: World) -> list[tuple[str, str]]:
    """Pairs of touching links that never should: of different sides, or of an arm or hand and the table."""
    bad = []
    for first, second in world.contacts():
        sides = {name.split("_")[0] for name in (first, second) if name not in world.object_names}
        if len(sides) == 2:
            bad.append((first, second))
    return bad


__all__ = [
    "DT_S", "INTERFACES", "SIDES", "STEPS", "EpisodeResult", "LockstepCell", "Observation", "PolicyFn", "ToolChunk", "run_episode",
]
