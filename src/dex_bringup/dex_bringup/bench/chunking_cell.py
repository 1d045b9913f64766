# SPDX-License-Identifier: Apache-2.0
"""Episodes with a policy that takes a chosen time: simulated cell, the shipped policy, its decoders and the gate, in lockstep and without ROS."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from dex_bringup.bench.chunking_gate import Commanded, GateExecutor, gate_ns
from dex_core.chunks import Pacing, Seam
from dex_core.chunks.mixing import ChunkEnsemble, commit
from dex_core.config import CellConfig, load_task
from dex_core.errors import DexError
from dex_core.policy import MeasuredPoses, Observation
from dex_core.policy.runtime import load_policy, load_side_decoder, mounted_hands
from dex_core.types import ActionChunk, Array, JointState
from dex_sim.lockstep import DT_S, INTERFACES, SIDES, LockstepCell

TICK_S, JUDGE_TICKS, HOLD_S = 0.01, 5, 0.2
SPIKE_SHARE, SPIKE_TIMES = 0.1, 3.0
JOINT_NOISE_RAD = 0.02


@dataclass(frozen=True)
class Setting:
    """One cell of the table.

    Attributes:
        schedule: as in ``control.schedule``.
        latency_s: from an observation to the moment its chunk reaches the gate.
        spikes: one chunk in ten takes three times as long.
    """

    schedule: str
    latency_s: float
    spikes: bool = False

    def __str__(self) -> str:
        return f"{self.schedule} {1e3 * self.latency_s:.0f} ms" + (" with spikes" if self.spikes else "")


@dataclass(frozen=True)
class Episode:
    """What one episode was.

    Attributes:
        success: the task stayed done. time_s: until then, or until the end. ended: why the gate gave the goal up, if it did.
        chunks: asked for. refused: reason -> those the gate did not follow.
        seams: of the commands. plan_seams: of the plans, before any schedule.
        rest_share: share of the time in which nothing moved. peak_acceleration_rad_s2: of the arms' commands.
    """

    success: bool
    time_s: float
    ended: str
    chunks: int
    refused: dict[str, int] = field(default_factory=dict)
    seams: tuple[Seam, ...] = ()
    plan_seams: tuple[Seam, ...] = ()
    rest_share: float = 0.0
    peak_acceleration_rad_s2: float = 0.0


class _Flight(NamedTuple):
    """A chunk on its way: from the observation at ``stamp_s`` to the gate, ``latency_s`` later."""

    chunk: ActionChunk
    stamp_s: float
    latency_s: float


class ChunkingCell:
    """One cell, its policy and its decoders; plays episodes under any schedule.

    Args:
        cell: with the policy. Its ``policy.replan_period_s`` is the time between observations; a cell that stands between chunks executes as much
            of each, unless ``control.execution_horizon_s`` says otherwise.

    Raises:
        DexError: ``timing_invalid``, the policy's chunks are not those of a lockstep cell.
    """

    def __init__(self, cell: CellConfig) -> None:
        self._cell = cell
        self._policy, bundle = load_policy(cell)
        spec = self._policy.spec
        if (spec.dt_s, spec.first_action_offset) != (DT_S, 1.0):
            text = f"policy {spec.name!r}: steps of {spec.dt_s} s, the first at {spec.first_action_offset}; a lockstep cell has {DT_S} s and 1.0"
            raise DexError(text, code="timing_invalid")
        self._ensemble = ChunkEnsemble(cell.policy.ensemble)
        self._mounted = mounted_hands(cell, bundle)
        self._poses = MeasuredPoses(cell, spec.pose_interfaces)
        self._decoders = [load_side_decoder(cell, side) for side in SIDES]
        self._executor = GateExecutor(cell)
        self._lockstep = LockstepCell(cell, executor=self._executor)

    def close(self) -> None:
        """Frees the renderer."""
        self._lockstep.close()

    def commanded(self) -> Commanded:
        """What the gate commanded in the newest episode."""
        return self._executor.commanded()

    def play(self, setting: Setting, seed: int, task: str, time_limit_s: float) -> Episode:
        """One episode; the same arguments give the same episode, whatever the machine's load."""
        gate, world, flight, newest = self._executor, self._lockstep.world, None, None
        gate.cell = self._scheduled(setting.schedule)
        spec, pacing = self._policy.spec, self._pacing(gate.cell)
        self._lockstep.reset(seed, task, joint_noise_rad=JOINT_NOISE_RAD)
        self._policy.reset()
        self._ensemble.clear()
        instruction, rng = load_task(task).instruction, np.random.default_rng([seed, round(1e3 * setting.latency_s), 0xC41])
        asked, ask_ns, good, tick = 0, gate_ns(world.time_s), 0, 0
        while good * JUDGE_TICKS * TICK_S < HOLD_S and world.time_s < time_limit_s - 1e-9 and not gate.ended:
            now_ns = gate_ns(world.time_s)
            if flight is None and now_ns >= ask_ns:
                known = commit(newest, now_ns, pacing.frozen_steps) if newest is not None and spec.continues and not pacing.standing else None
                newest = self._ensemble.add(self._policy.infer(self._observation(instruction), "lockstep", asked, known).chunk)
                spiked = setting.spikes and asked > 0 and rng.uniform() < SPIKE_SHARE
                flight, asked = _Flight(newest, world.time_s, setting.latency_s * (SPIKE_TIMES if spiked else 1.0)), asked + 1
            if flight is not None and world.time_s >= flight.stamp_s + flight.latency_s - 1e-9:
                self._lockstep.accept(self._joints_of(flight.chunk), flight.stamp_s)
                ask_ns, flight = pacing.next_ns(gate_ns(flight.stamp_s), flight.latency_s), None
            self._lockstep.advance(TICK_S)
            tick += 1
            if tick % JUDGE_TICKS == 0:
                good = good + 1 if world.judge().success else 0
        return Episode(
            good * JUDGE_TICKS * TICK_S >= HOLD_S, world.time_s, gate.ended, asked, dict(gate.refused), tuple(gate.seams()), tuple(gate.plan_seams),
            gate.rest_share(), gate.peak_acceleration(),
        )

    def _scheduled(self, schedule: str) -> CellConfig:
        control = self._cell.control
        horizon_s = control.execution_horizon_s or self._cell.policy.replan_period_s
        return dataclasses.replace(
            self._cell, control=dataclasses.replace(control, schedule=schedule, execution_horizon_s=horizon_s if schedule == "synchronous" else 0.0)
        )

    def _pacing(self, cell: CellConfig) -> Pacing:
        spec = self._policy.spec
        return Pacing(cell.control, cell.policy.replan_period_s, spec.chunk, spec.dt_s, spec.first_action_offset)

    def _observation(self, instruction: str) -> Observation:
        seen = self._lockstep.observe(instruction)
        stamp_ns = gate_ns(seen.time_s)
        joints = {}
        for name in INTERFACES:
            names, state = self._cell.interface(name).names, self._lockstep.world.state(name)
            joints[name] = JointState(names, state.position_rad, state.velocity_rad_s, state.effort_nm, stamp_ns)
        cameras = self._policy.spec.cameras
        observation = Observation(stamp_ns, {camera: seen.image for camera in cameras}, joints, seen.instruction)
        return self._poses.complete(observation, self._mounted)

    def _joints_of(self, chunk: ActionChunk) -> Array:
        """(T, n) the chunk as the decoders of both sides solve it from where the joints are when it comes."""
        parts = {s.interface: s.data for s in chunk.slices if s.space == "joint_position"}
        for decoder in self._decoders:
            decoded = decoder.decode(chunk, lambda name: self._lockstep.world.state(name).position_rad)
            parts |= {s.interface: s.data for s in decoded.slices} if decoded is not None else {}
        return np.concatenate([parts[name] for name in INTERFACES], axis=1)
