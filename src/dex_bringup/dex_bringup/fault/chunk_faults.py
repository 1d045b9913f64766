# SPDX-License-Identifier: Apache-2.0
"""Faults of what the policy sends: late, repeated, not finite, misnamed, out of range, far, of another model or clock."""

from __future__ import annotations

import struct

import numpy as np

from dex_bringup.fault.play import Seen, Stage, Unexpected, expect
from dex_bringup.fault.rig import GOAL, STEPS, GateRig
from dex_control.gate import CommandMode
from dex_core.clock import NS
from dex_core.errors import DexError
from dex_core.safety import Mode, Reason
from dex_core.types import ActionChunk, ActionSlice
from dex_ros.convert import chunk_from_msg, chunk_to_msg

SIGNALLING_NAN = struct.unpack("<f", struct.pack("<I", 0x7F800001))[0]
NOT_FINITE = {"NaN": float("nan"), "sNaN": SIGNALLING_NAN, "+Inf": float("inf"), "-Inf": float("-inf")}


def other_model(stage: Stage) -> Seen:
    """F3: the policy restarts with another model in mid-goal."""
    rig = GateRig(stage.cell).run()
    rig.send(rig.chunk(1, bundle="another model"))
    words = rig.refused("bundle_changed", 1)
    for sequence in range(2, 2 + rig.gate.config.rejects_before_latch):
        rig.send(rig.chunk(sequence, bundle="another model"))
        rig.step(0.01)
    expect(rig.gate.status.latched and rig.gate.status.mode is Mode.FAULT, f"{rig.gate.status}")
    rig.step(1.0)
    return Seen(f"refused [bundle_changed] ({words}), latched FAULT after {rig.gate.config.rejects_before_latch}")


def late_inference(stage: Stage) -> Seen:
    """F4: one inference takes 2 s; the queue starves, the late chunk comes afterwards."""
    rig = GateRig(stage.cell).run(steps=20)
    stamp_ns = rig.wall_ns
    ends_s = (rig.gate.intake.track.end_ns - rig.now_ns) / NS
    took_s = rig.step(ends_s + 0.2, until=lambda: rig.held)
    expect(rig.gate.status.reason == Reason.CHUNK_STARVED, f"{rig.gate.status}")
    rig.step(2.0)
    before = rig.joints.copy()
    rig.send(rig.chunk(1, stamp_ns=stamp_ns, move=0.5))
    rig.step(0.5)
    jump = float(np.abs(rig.joints - before).max())
    expect(jump < 1e-3 and not rig.outcomes[-1].accepted, f"the late chunk moved {jump:.4f} rad")
    return Seen(f"hold [chunk_starved]; late chunk refused [{rig.outcomes[-1].reason}], jump {jump:.1e} rad", max(0.0, took_s - ends_s) * 1e3)


def replayed(stage: Stage) -> Seen:
    """F5: duplicate, reordered, foreign and old chunks."""
    rig = GateRig(stage.cell).run()
    rig.send(rig.chunk(2))
    rig.step(0.01)
    sent = {"duplicate": rig.chunk(2), "late": rig.chunk(1), Reason.WRONG_GOAL: rig.chunk(3, goal="other")}
    for reason, chunk in sent.items():
        rig.send(chunk)
        rig.refused(reason, chunk.sequence)
    rig.send(rig.chunk(4, stamp_ns=rig.wall_ns - 10 * NS))
    rig.refused("late", 4)
    report = rig.gate.report()
    expect(rig.running and report.chunks_accepted == 2, f"{rig.gate.status}, {report}")
    counted = f"{report.chunks_duplicate} duplicate, {report.chunks_late} late, {report.chunks_rejected} foreign"
    return Seen(f"dropped and counted: {counted}; motion goes on")


def not_finite(stage: Stage) -> Seen:
    """F6: NaN, sNaN, +Inf, -Inf in each slot of a chunk as it comes over the wire."""
    good = chunk_to_msg(GateRig(stage.cell).chunk(0, steps=4))
    slots = refused = 0
    for value in NOT_FINITE.values():
        for part in good.slices:
            for slot in range(len(part.data)):
                before, part.data[slot] = part.data[slot], value
                slots += 1
                refused += _code(good) == Reason.NON_FINITE
                part.data[slot] = before
    expect(refused == slots, f"{slots - refused} of {slots} were not refused as non_finite")
    rig = GateRig(stage.cell).run()
    began_ns = rig.now_ns
    for sequence in range(1, 1 + rig.gate.config.rejects_before_latch):
        expect(rig.running, f"latched after {sequence - 1}")
        bad = chunk_to_msg(rig.chunk(sequence))
        bad.slices[0].data[5] = float("nan")
        try:
            chunk_from_msg(bad)
        except DexError as error:
            rig.gate.refuse_chunk(GOAL, sequence, error)
        rig.step(0.01)
    rig.step(0.1, until=lambda: rig.held)
    took_ms = (rig.now_ns - began_ns) * 1e-6
    expect(rig.gate.status.reason == Reason.NON_FINITE and rig.gate.status.mode is Mode.FAULT, f"{rig.gate.status}")
    rig.step(1.0)
    expect(rig.last.mode is CommandMode.STOP, f"{rig.last.mode.name} at the end")
    return Seen(f"{refused} of {slots} slots refused whole; FAULT [non_finite] after {rig.gate.config.rejects_before_latch} in a row", took_ms)


def _code(message: object) -> str:
    try:
        chunk_from_msg(message)
    except DexError as error:
        return error.code
    return "accepted"


def misnamed(stage: Stage) -> Seen:
    """F7: wrong length, unknown, missing, repeated joint names; another order is matched by name."""
    seen = []
    for how, expected in (("missing", "joint_names"), ("unknown", "joint_names"), ("interface missing", "incomplete")):
        rig = GateRig(stage.cell).run(move=0.0)
        rig.send(_renamed(rig.chunk(1, move=0.2), how))
        rig.step(rig.gate.config.chunk_join_timeout_s + 0.1)
        rig.refused(expected, 1)
        seen.append(f"{how} [{expected}]")
    message = chunk_to_msg(GateRig(stage.cell).chunk(1))
    message.slices[0].names[1] = message.slices[0].names[0]
    repeated = _code(message)
    message = chunk_to_msg(GateRig(stage.cell).chunk(1))
    message.slices[0].rows += 1
    length = _code(message)
    expect(repeated == "joint_names" and length == "shape", f"repeated name [{repeated}], wrong length [{length}]")
    rig = GateRig(stage.cell).run(move=0.0)
    target = rig.joints + 0.1
    rig.send(_renamed(rig.chunk(1, move=0.1), "swapped"))
    rig.step(STEPS * 0.05 - 0.2)
    off = float(np.abs(rig.joints - target).max())
    expect(off < 0.02, f"another order of names ended {off:.3f} rad beside its target")
    return Seen("; ".join([*seen, "repeated [joint_names]", "wrong length [shape]"]) + "; another order is matched by name")


def _renamed(chunk: ActionChunk, how: str) -> ActionChunk:
    part = chunk.slices[0]
    names, data = list(part.names), part.data
    if how == "missing":
        names, data = names[:-1], data[:, :-1]
    elif how == "unknown":
        names[2] = "left_joint99"
    elif how == "swapped":
        names, data = names[::-1], data[:, ::-1]
    changed = () if how == "interface missing" else (ActionSlice(part.interface, part.space, data, tuple(names)),)
    return ActionChunk(chunk.stamp_ns, chunk.goal_id, chunk.sequence, chunk.dt_s, 1.0, (*changed, *chunk.slices[1:]), chunk.bundle_hash)


def out_of_limits(stage: Stage) -> Seen:
    """F8: a position outside its range, a leap, a speed spike: refused, or clamped with a report, never passed on."""
    rig = GateRig(stage.cell).run(move=0.0)
    knots = np.tile(rig.joints, (STEPS, 1))
    beyond, leap, spike = knots.copy(), knots.copy(), knots.copy()
    beyond[:, 1] = np.minimum(rig.joints[1] + 0.03 * np.arange(STEPS), rig.gate.limits.upper_rad[1] + 0.2)
    beyond[-20:, 1] = rig.gate.limits.upper_rad[1] + 0.2
    leap[30:, 0] += rig.gate.limits.step_rad[0] + 0.05
    spike[10:, 0] += 0.8 * rig.gate.limits.step_rad[0]
    for sequence, bad in ((1, beyond), (2, leap)):
        rig.send(rig.chunk(sequence, knots=bad))
        rig.refused("limit", sequence)
    rig.send(rig.chunk(3, knots=spike))
    rig.step(1.5)
    hits = {(hit.joint, hit.limit) for hit in rig.gate.report().limits}
    first = rig.cell.joint_names[0]
    acted = sorted(limit for joint, limit in hits if joint == first)
    refused = next((o.reason for o in rig.outcomes if o.sequence == 3 and not o.accepted), "")
    expect("velocity" in acted or refused, f"a speed spike went through: {hits}")
    how = f"refused [{refused}]" if refused else f"clamped and reported {acted}"
    return Seen(f"outside its range and leap refused [limit]; speed spike {how}")


def far_start(stage: Stage) -> Seen:
    """F9: the first command is far from measured."""
    rig = GateRig(stage.cell).arm()
    before, away = rig.joints.copy(), rig.joints.copy()
    away[0] += rig.gate.config.first_command_max_rad + 0.05
    rig.send(rig.chunk(0, start=away, move=0.0))
    rig.step(0.5)
    moved = float(np.abs(rig.joints - before).max())
    expect(rig.gate.status.reason == Reason.FIRST_COMMAND_FAR and moved < 1e-6, f"{rig.gate.status}; moved {moved:.4f} rad")
    hand = next(name for name, part in rig.cell.interfaces.items() if part.robot.kind == "hand")
    slow = _hand_approaches(stage, hand)
    return Seen(f"arm refused [{rig.gate.status.reason}], moved {moved:.0e} rad; {hand} approaches at {slow:.2f} rad/s", 0.0)


def _hand_approaches(stage: Stage, hand: str) -> float:
    rig = GateRig(stage.cell).arm()
    where = rig.columns(hand)
    limits = rig.gate.limits
    away = rig.joints.copy()
    away[where] += 0.8 * (limits.upper_rad[where] - away[where])
    rig.send(rig.chunk(0, start=away, move=0.0))
    fastest, before = 0.0, None
    for _ in range(60):
        rig.step(0.01)
        command = rig.last.command.position_rad
        if before is not None and len(command) == len(before):
            fastest = max(fastest, float(np.abs(command[where] - before[where]).max()) / (rig.gate.period_ns / NS))
        before = command.copy()
    allowed = rig.gate.config.hand_approach_rad_s
    expect(0.0 < fastest <= allowed * 1.01, f"{hand} moved at {fastest:.2f} rad/s; at most {allowed} is allowed from afar")
    return fastest


def zeros(stage: Stage) -> Seen:
    """F10: a chunk of zeros."""
    rig = GateRig(stage.cell).arm()
    before = rig.joints.copy()
    rig.send(rig.chunk(0, knots=np.zeros((STEPS, len(rig.joints)))))
    rig.step(0.5)
    reason = rig.gate.status.reason or next((o.reason for o in rig.outcomes if not o.accepted), "")
    moved = float(np.abs(rig.joints - before).max())
    expect(reason and moved < 1e-6, f"zeros moved {moved:.3f} rad: {rig.gate.status}")
    return Seen(f"a target like any other: refused [{reason}], moved {moved:.0e} rad", 0.0)


def clock_steps(stage: Stage) -> Seen:
    """F20: the wall clock is set by 10 s and by an hour, in both directions, with a silent camera afterwards."""
    times = []
    for step_s in (10.0, -10.0, 3600.0, -3600.0):
        rig = GateRig(stage.cell).run()
        rig.wall_step_ns = round(step_s * NS)
        rig.step(0.3)
        expect(rig.running, f"a step of {step_s:+g} s alone ended the goal: {rig.gate.status}")
        rig.silent.add("camera")
        times.append(rig.hold_ms(Reason.CAMERA_LOST))
    return Seen("a step trips nothing, and the steady watchdogs still fire [camera_lost]", max(times))


def clock_skew(stage: Stage) -> Seen:
    """F21: the policy's host is 0.2 s ahead."""
    rig = GateRig(stage.cell).run()
    rig.send(rig.chunk(1, stamp_ns=rig.wall_ns + round(0.2 * NS)))
    words = rig.refused("future", 1)
    expect(rig.running, f"{rig.gate.status}")
    return Seen(f"refused [future]: {words}")


def bad_line(stage: Stage) -> Seen:
    """F38: the policy's line loses 5 % of the chunks and delays each by 200 ms; then nothing for 5 s."""
    rig = GateRig(stage.cell).run()
    rng = np.random.default_rng(0)
    lost = 0
    for sequence in range(1, 41):
        stamp_ns, knots_from = rig.wall_ns, rig.last.command.position_rad.copy()
        rig.step(0.2)
        if rng.random() < 0.05:
            lost += 1
        else:
            rig.send(rig.chunk(sequence, start=knots_from, move=rng.uniform(-0.05, 0.05), stamp_ns=stamp_ns))
        rig.step(0.2)
        expect(rig.running, f"chunk {sequence}: {rig.gate.status}")
    accepted = rig.gate.report().chunks_accepted
    expect(accepted == 41 - lost, f"{accepted} of {41 - lost} chunks were followed")
    left_s = (rig.gate.intake.track.end_ns - rig.now_ns) / NS
    took_s = rig.step(left_s + 1.0, until=lambda: rig.held)
    if not rig.held:
        raise Unexpected(f"went on without chunks: {rig.gate.status}")
    rig.step(max(0.0, 5.0 - took_s) + 0.1)
    expect(rig.gate.status.reason == Reason.CHUNK_STARVED, f"{rig.gate.status}")
    text = f"{accepted} of 41 chunks followed at 200 ms and {lost} lost, no jump; 5 s of nothing: hold [chunk_starved] when the plan ran out"
    return Seen(text, max(0.0, took_s - left_s) * 1e3)
