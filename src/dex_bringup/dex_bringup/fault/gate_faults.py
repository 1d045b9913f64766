# SPDX-License-Identifier: Apache-2.0
"""Faults of what the gate hears and is asked: joint states, a second publisher, its own stall, stops, unreachable poses, absurd numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dex_bringup.fault.play import Seen, Stage, Unexpected, expect
from dex_bringup.fault.rig import GOAL, STEPS, GateRig
from dex_control.gate import CommandMode
from dex_core.chunks import ChunkRefused
from dex_core.clock import NS, ManualClock, Ticker
from dex_core.config import ControlConfig
from dex_core.config.safety import Box, SafetyConfig
from dex_core.config.strict import build
from dex_core.decode.pose import PoseDecoder
from dex_core.decode.slices import SliceDecoder
from dex_core.errors import DexError
from dex_core.limits import JointLimits, LimitPipeline, Moment, Motion
from dex_core.safety import Mode, Reason
from dex_core.types import POSE_COLUMNS, ActionSlice, JointState


def bad_states(stage: Stage) -> Seen:
    """F12: joint states of one device fall silent, freeze, lose a joint; another order of names is none."""
    times, words = [], []
    for how in ("silent", "frozen", "joint missing"):
        rig = GateRig(stage.cell).run(move=0.4)
        device = "right_arm" if "right_arm" in rig.cell.interfaces else next(iter(rig.cell.interfaces))
        part = rig.cell.interface(device)
        (rig.frozen if how == "frozen" else rig.mute).add(device)
        reason = Reason.STATE_STALE
        if how == "joint missing":
            n = len(part.names) - 1
            bad = JointState(part.names[:-1], np.zeros(n), np.zeros(n), np.zeros(n), rig.wall_ns + 1)
            rig.gate.on_joint_state(device, bad, rig.now_ns)
            reason = Reason.JOINT_NAMES
        times.append(rig.hold_ms(reason))
        words.append(f"{how} [{reason}] {times[-1]:.0f} ms")
    rig = GateRig(stage.cell).arm()
    name, part = next(iter(rig.cell.interfaces.items()))
    numbers = np.arange(len(part.names)) * 0.01
    rig.gate.on_joint_state(name, JointState(part.names[::-1], numbers, numbers, numbers, rig.wall_ns + 1), rig.now_ns)
    expect(np.array_equal(rig.gate.states.position_rad[rig.columns(name)], numbers[::-1]), "another order of names was read by index")
    return Seen("hold: " + ", ".join(words) + "; another order is matched by name", max(times))


def stalled_gate(stage: Stage) -> Seen:
    """F23: the machine stops the gate for 150 ms; the drivers have held by themselves, the joints sagged."""
    rig = GateRig(stage.cell).run(move=0.35)
    rig.step(0.5)
    missed = rig.gate.ticks_missed
    rig.joints = rig.joints - 0.05
    rig.now_ns += round(0.15 * NS)
    measured = rig.joints.copy()
    rig.step(0.01)
    jump = float(np.abs(rig.last.command.position_rad - measured).max())
    missed = rig.gate.ticks_missed - missed
    expect(jump < 0.02 and missed > 0, f"first command {jump:.3f} rad from measured, {missed} ticks reported")
    return Seen(f"goes on from measured ({jump:.4f} rad), {missed} missed ticks counted and on /diagnostics")


def stop_and_release(stage: Stage) -> Seen:
    """F29: stop asserted in motion, released by a reset."""
    rig = GateRig(stage.cell).run()
    rig.gate.stop()
    took_s = rig.step(0.2, until=lambda: rig.held)
    rig.step(1.5)
    expect(rig.gate.status.mode is Mode.STOPPED and rig.last.mode is CommandMode.STOP, f"{rig.gate.status}")
    expect(not rig.gate.set_goal("g2", True, rig.now_ns).accepted, "a goal started on a latched stop")
    expect(rig.gate.reset(rig.now_ns).accepted, "the reset was refused")
    rig.send(rig.chunk(9))
    rig.step(0.5)
    expect(rig.last.mode is CommandMode.IDLE, "something moved after the reset alone")
    again = rig.gate.set_goal(GOAL, True, rig.now_ns)
    expect(not again.accepted, "the old goal went on after the reset")
    expect(rig.gate.set_goal("g2", True, rig.now_ns).accepted, "a new goal was refused after the reset")
    return Seen(f"STOPPED, latched; a reset alone moves nothing, the old goal is refused [{again.reason}], a new one starts", took_s * 1e3)


def infeasible(stage: Stage) -> Seen:
    """F31: wrist poses half a metre out of reach, and a flip to the other side of the base."""
    decoder = PoseDecoder.of_cell(stage.cell, _side(stage))
    home = np.array([decoder.arm.interface.home_rad[name] for name in decoder.names])
    limits = JointLimits.of_interface(decoder.arm.interface)
    columns = np.tile(decoder.home_columns, (32, 1))
    columns[:, 0] += np.linspace(0.0, 1.5, 32)
    flipped = np.tile(decoder.home_columns, (32, 1))
    flipped[16:, 0] -= 2.0
    worst = 0.0
    for poses in (columns, flipped):
        track = decoder.decode(poses, home)
        inside = (track.position_rad >= limits.lower_rad - 1e-9).all() and (track.position_rad <= limits.upper_rad + 1e-9).all()
        leap = float(np.abs(np.diff(track.position_rad, axis=0)).max())
        expect(np.isfinite(track.position_rad).all() and inside, "joints not finite or outside their range")
        expect(leap <= limits.step_rad.min(), f"a leap of {leap:.2f} rad between two steps")
        expect(not track.feasible[-1] and track.residual_m[-1] > 0.1, "an unreachable pose was called reached")
        worst = max(worst, float(track.residual_m[-1]))
    return Seen(f"nearest feasible posture inside the limits, no leap; residual reported, up to {worst:.2f} m")


def _side(stage: Stage) -> str:
    return next(part.side for part in stage.cell.interfaces.values() if part.robot.kind == "arm")


def absurd_numbers(stage: Stage) -> Seen:
    """F37: NaN, infinite, negative and zero rates, durations and steps."""
    limits = JointLimits.of_cell(stage.cell)
    home = np.array([q for part in stage.cell.interfaces.values() for q in part.home])
    pipeline, tried = LimitPipeline(limits), 0
    for value in (float("nan"), float("inf"), -1.0, 0.0):
        for attempt in (
            lambda v=value: Ticker(v, ManualClock()),
            lambda v=value: pipeline.apply(home, Moment(Motion.at_rest(home), home, v)),
            lambda v=value: replace(GateRig(stage.cell).chunk(0), dt_s=v),
            lambda v=value: build(ControlConfig, {"rate_hz": v}, "control"),
            lambda v=value: build(ControlConfig, {"state_timeout_s": v}, "control"),
            lambda v=value: replace(limits, step_rad=np.full(len(home), v)),
        ):
            tried += 1
            _refused(attempt, value)
    return Seen(f"{tried} of {tried} refused, each with the value and what is allowed")


def _refused(attempt: object, value: float) -> None:
    try:
        made = attempt()  # type: ignore[operator]
    except (DexError, ValueError, ChunkRefused):
        return
    raise Unexpected(f"{value} was taken by {made!r:.80}")


def wrong_frame(stage: Stage) -> Seen:
    """F19: wrist poses in a frame that is not the cell's world."""
    pose = PoseDecoder.of_cell(stage.cell, _side(stage))
    decoder = SliceDecoder(pose.arm.interface.name, pose.arm.interface, pose=pose)
    home, refused = np.array(pose.arm.interface.home), []
    for frame in ("camera_color_optical_frame", ""):
        part = ActionSlice(pose.arm.interface.name, "wrist_pose", np.tile(pose.home_columns, (4, 1)), POSE_COLUMNS, frame_id=frame)
        try:
            decoder.decode(part, home)
        except DexError as error:
            refused.append(f"{frame or 'no frame'} [{error.code}]")
        else:
            raise Unexpected(f"poses in frame {frame!r} were decoded")
    return Seen("fails closed: " + ", ".join(refused))


TOGETHER = {"joint1": 1.2, "joint2": 0.52, "joint4": 0.84, "joint6": -0.47}
"""How an xArm7 turns inwards and stretches [rad], the left one by minus joint1: until the hands would overlap."""


def arms_meet(stage: Stage) -> Seen:
    """F30: a chunk that brings both hands together, seen as a whole; then unseen but for each command; then a workspace."""
    rig = GateRig(stage.cell).run(move=0.0)
    rig.send(rig.chunk(1, knots=rig.joints + np.linspace(0.0, 1.0, STEPS)[:, None] * _together(rig)))
    words = rig.refused("collision", 1)
    rig = GateRig(stage.cell).run(move=0.0)
    rig.gate.space.examine = lambda *_args: (None, [])  # blind to whole chunks
    way = np.minimum(1.0, np.linspace(0.0, 2.0, 2 * STEPS))[:, None]
    rig.send(rig.chunk(1, knots=rig.joints + way * _together(rig)))
    slowest = 1.0
    for _ in range(700):
        rig.step(0.01)
        slowest = min(slowest, rig.gate.report().speed_share)
        if not rig.running:
            break
    expect(rig.gate.status.reason == Reason.COLLISION and rig.gate.status.latched, f"{rig.gate.status}")
    expect(slowest < 0.05, f"it was slowed down to {slowest:.2f} of its speed alone")
    boxed = replace(stage.cell, safety=SafetyConfig(workspaces={"left_arm": Box((-1.0, -1.0, -1.0), (0.4, 1.0, 1.0))}, distances={}))
    rig = GateRig(boxed).run(move=0.0)
    rig.send(rig.chunk(1, knots=rig.joints + np.linspace(0.0, 1.0, STEPS)[:, None] * _together(rig)))
    left = rig.refused("workspace", 1)
    return Seen(f"whole chunk refused [collision]: {words}; met in motion: slowed to nothing, both arms hold [collision]; workspace refused: {left}")


def _together(rig: GateRig) -> np.ndarray:
    names = rig.cell.joint_names
    move = np.zeros(len(names))
    for joint, turn in TOGETHER.items():
        for side in ("left", "right"):
            move[names.index(f"{side}_{joint}")] = -turn if (side, joint) == ("left", "joint1") else turn
    return move
