# SPDX-License-Identifier: Apache-2.0
"""What every hand must do, one function per check: order, units, limits, couplings, frames, closing, fingers, bodies."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dex_core.config import FINGERS
from dex_core.contracts.hand_bodies import self_collisions
from dex_core.contracts.hand_case import FAILED, PASSED, REPORTED, HandCase, Outcome
from dex_core.errors import DexError, NonFiniteError, ShapeError
from dex_core.kinematics import RobotKinematics, load_hand
from dex_core.kinematics.hand_ik import HandIk

SAME_M = 1e-9
REACHED_M = 1e-3
IK_POSES, IK_COLD_LEAST = 20, 0.9
LIMIT_SLACK_RAD = 1e-3
LARGEST_RAD, LARGEST_SLIDE_M = 2.0 * np.pi, 0.5
PROBE = 0.05
"""So far towards its limit a joint moves when the sign of its motion is asked for."""


def order_by_name(case: HandCase) -> Outcome:
    """Actuated joints are the URDF's free ones, and results depend on names, never on places."""
    hand, actuated = case.hand, case.robot.actuated
    if hand.names != actuated:
        return _failed(f"kinematics name {list(hand.names)}, the configuration {list(actuated)}")
    turned = RobotKinematics(case.urdf, actuated[::-1])
    for q in case.random_poses(5):
        gap = float(np.abs(turned.positions(q[::-1], hand.tips) - hand.fingertips(q)).max())
        if gap > SAME_M:
            return _failed(f"in reversed order of names the tips are {1e3 * gap:.3g} mm away")
    return _passed(f"{len(actuated)} joints")


def radians(case: HandCase) -> Outcome:
    """Limits have the size of radians (prismatic: metres), not of degrees or counts."""
    tree = case.hand.tree
    slides = {name for name, slide in zip(tree.joints, tree.prismatic, strict=True) if slide}
    for name, limit in case.robot.limits.items():
        most = LARGEST_SLIDE_M if name in slides else LARGEST_RAD
        if max(abs(limit.lower_rad), abs(limit.upper_rad)) > most:
            return _failed(f"{name}: {limit.lower_rad} to {limit.upper_rad} is beyond {most:.3g} {'m' if name in slides else 'rad'}")
    return _passed(f"largest {max(max(abs(v.lower_rad), abs(v.upper_rad)) for v in case.robot.limits.values()):.3g}")


def hardware_round_trip(case: HandCase) -> Outcome:
    """Joints to the hardware's units and back are the same joints."""
    hardware = case.robot.hardware
    if not hardware:
        return _passed("counts in radians itself")
    worst = 0.0
    for name, limit in case.robot.limits.items():
        ends, span = hardware[name], limit.upper_rad - limit.lower_rad
        if not np.isfinite([ends.at_lower, ends.at_upper]).all() or ends.at_lower == ends.at_upper:
            return _failed(f"{name}: units from {ends.at_lower} to {ends.at_upper} cannot be turned back into joints")
        q = np.linspace(limit.lower_rad, limit.upper_rad, 11)
        units = ends.at_lower + (q - limit.lower_rad) / span * (ends.at_upper - ends.at_lower)
        back = limit.lower_rad + (units - ends.at_lower) / (ends.at_upper - ends.at_lower) * span
        worst = max(worst, float(np.abs(back - q).max()))
    return _failed(f"off by {worst:.3g} rad") if worst > 1e-9 else _passed(case.robot.hardware_unit or "linear")


def limits(case: HandCase) -> Outcome:
    """Finite, ordered, with a range left, and inside what this side's URDF allows."""
    hand, bounds = case.hand, case.bounds_rad
    if not (np.isfinite(hand.lower_rad).all() and np.isfinite(hand.upper_rad).all()):
        return _failed(f"not finite: {hand.lower_rad} to {hand.upper_rad}")
    for name, low, high in zip(hand.names, hand.lower_rad, hand.upper_rad, strict=True):
        if not low < high:
            return _failed(f"{name}: {low} to {high} rad")
        limit = case.robot.limits[name]
        if limit.lower_rad < bounds[name][0] - 1e-9 or limit.upper_rad > bounds[name][1] + 1e-9:
            return _failed(f"{name}: {limit.lower_rad} to {limit.upper_rad} in the configuration, {bounds[name]} in the URDF")
    return _passed("inside the URDF's")


def coupling_closure(case: HandCase) -> Outcome:
    """Over the actuated range every follower stays inside its own limits; every alternative coupling loads and is finite."""
    over, why = _worst_follower(case, ""), case.stated("coupling closure")
    if over[1] > LIMIT_SLACK_RAD:
        found = f"follower {over[0]} leaves its limits by {over[1]:.4f} rad"
        return Outcome(REPORTED, f"{found}: {why}") if why else _failed(found)
    notes = []
    for label in case.robot.couplings or {}:
        name, beyond = _worst_follower(case, label)
        notes.append(f"{label}" + (f" ({name} {beyond:.3f} rad beyond its limit)" if beyond > LIMIT_SLACK_RAD else ""))
        tips = load_hand(case.name, case.side, coupling=label).fingertips(case.closed_rad(0.5))
        if not np.isfinite(tips).all():
            return _failed(f"coupling {label!r}: tips are not finite")
    followers = len(case.hand.tree.joints) - len(case.hand.names)
    return _passed(f"{followers} followers" + (f"; alternatives: {', '.join(notes)}" if notes else ""))


def palm_frame(case: HandCase) -> Outcome:
    """+Z along the fingers, +Y to the thumb on a right hand and away from it on a left hand."""
    if case.robot.palm is None:
        return _failed("no palm frame in the configuration")
    tips = dict(zip(case.hand.fingers, case.tips_in_palm(case.rest_rad), strict=True))
    others = np.mean([tip for name, tip in tips.items() if name != "thumb"], axis=0)
    if others[2] < 0.6 * np.linalg.norm(others) and not case.is_gripper:
        return _failed(f"the open fingers point along {np.round(others / np.linalg.norm(others), 2)}, not +Z")
    sign = 1.0 if case.side == "right" else -1.0
    if "thumb" in tips and sign * (tips["thumb"] - others)[1] <= 0.0:
        side = f"{case.side} hand it must be further to {'+' if sign > 0 else '-'}Y"
        return _failed(f"the thumb is at y = {tips['thumb'][1]:+.3f} m, the fingers at {others[1]:+.3f} m; on a {side}")
    return _passed(f"open fingers reach {1e3 * others[2]:.0f} mm")


def closes_to_the_palm(case: HandCase) -> Outcome:
    """Towards its far limit every curling joint moves its tip to +X of the palm, and the closed tip is nearer to the palm's centre."""
    if case.is_gripper:
        gaps = [float(np.linalg.norm(np.diff(case.hand.fingertips(q)[:2], axis=0))) for q in (case.rest_rad, case.closed_rad())]
        return _passed(f"gap {1e3 * gaps[0]:.0f} to {1e3 * gaps[1]:.0f} mm") if gaps[1] < gaps[0] - 1e-3 else _failed(f"gap {gaps} m")
    rest, faults, nearer = case.rest_rad, [], []
    open_tips, closed_tips = case.tips_in_palm(rest), case.tips_in_palm(case.closed_rad())
    for row, finger in enumerate(case.hand.fingers):
        before, after = (float(np.linalg.norm(tips[row])) for tips in (open_tips, closed_tips))
        nearer.append(f"{finger} {1e3 * before:.0f}>{1e3 * after:.0f}")
        if after >= before and finger != "thumb":
            faults.append(f"{finger}: closed {1e3 * after:.0f} mm from the palm's centre, open {1e3 * before:.0f}")
        if finger == "thumb":
            continue
        flexors = case.flexors(finger)
        faults += [] if flexors else [f"{finger}: no joint turns about the palm's y axis"]
        for column in flexors:
            q = rest.copy()
            q[column] += PROBE * (case.far_rad - rest)[column]
            if (case.tips_in_palm(q) - open_tips)[row, 0] <= 0.0:
                faults.append(f"{case.hand.names[column]} moves the {finger}'s tip away from +X")
    return _failed("; ".join(faults)) if faults else _passed("mm to centre: " + ", ".join(nearer))


def non_finite_refused(case: HandCase) -> Outcome:
    """NaN, infinity and a wrong number of joints raise, in kinematics and in IK."""
    n, ik = len(case.hand.names), HandIk(case.hand)
    for bad, error in ((np.nan, NonFiniteError), (np.inf, NonFiniteError), (None, ShapeError)):
        q = np.zeros(n + 1) if bad is None else np.full(n, bad)
        tips = np.zeros((len(ik.fingers), 2)) if bad is None else np.full((len(ik.fingers), 3), bad)
        calls: tuple[Callable[[], object], ...] = (
            lambda q=q: case.hand.fingertips(q), lambda q=q: case.hand.fingertip_jacobian(q),
            lambda tips=tips: ik.solve(tips), lambda q=q: ik.solve(np.zeros((len(ik.fingers), 3)), previous_rad=q),
        )
        for call in calls:
            try:
                call()
            except error:
                continue
            except DexError as other:
                return _failed(f"{bad if bad is not None else 'wrong length'}: {type(other).__name__} instead of {error.__name__}")
            return _failed(f"{bad if bad is not None else 'wrong length'} is accepted")
    return _passed("NaN, infinity, wrong length")


def ik_round_trip(case: HandCase) -> Outcome:
    """Tips of random postures are reached within a millimetre from a little beside, and inside the limits; from nowhere, nearly all."""
    hand, ik = case.hand, HandIk(case.hand)
    worst, cold = 0.0, []
    for q in case.random_poses(IK_POSES):
        tips = hand.fingertips(q)
        beside = hand.clip(q + 0.1 * (hand.upper_rad - hand.lower_rad) * np.where(np.arange(q.size) % 2, 1.0, -1.0))
        for previous in (beside, None):
            found = ik.solve(tips, previous_rad=previous)
            if (found.position_rad < hand.lower_rad).any() or (found.position_rad > hand.upper_rad).any():
                return _failed("a solution leaves the limits")
            away = float(np.linalg.norm(hand.fingertips(found.position_rad) - tips, axis=1).max())
            worst, cold = (worst, [*cold, away]) if previous is None else (max(worst, away), cold)
    reached = sum(away <= REACHED_M for away in cold)
    told = f"worst {1e3 * worst:.4f} mm; without a start {reached} of {len(cold)}, worst {1e3 * max(cold):.4f} mm"
    return _failed(told) if worst > REACHED_M or reached < IK_COLD_LEAST * len(cold) else _passed(told)


def fingers_consistent(case: HandCase) -> Outcome:
    """Semantic fingers are in the usual order, each with a tip of its own and exactly the joints that move it."""
    fingers, tree = case.robot.fingers or {}, case.hand.tree
    if list(fingers) != [name for name in FINGERS if name in fingers]:
        return _failed(f"fingers are {list(fingers)}; the order is {list(FINGERS)}")
    if len({finger.tip for finger in fingers.values()}) != len(fingers):
        return _failed("two fingers share a tip")
    for name, finger in fingers.items():
        moving = [tree.names[c] for c in tree.columns_of(finger.tip)]
        if sorted(moving) != sorted(finger.joints):
            return _failed(f"{name}: {finger.tip} is moved by {moving}, the configuration says {list(finger.joints)}")
    return _passed(", ".join(fingers))


def fingers_side_by_side(case: HandCase) -> Outcome:
    """From the thumb's side to the other: index, middle, ring, little."""
    tips = dict(zip(case.hand.fingers, case.tips_in_palm(case.rest_rad), strict=True))
    names = [name for name in FINGERS[1:] if name in tips]
    sign = 1.0 if case.side == "right" else -1.0
    across = [sign * float(tips[name][1]) for name in names]
    if all(first > second for first, second in zip(across, across[1:], strict=False)):
        return _passed(" > ".join(f"{name} {1e3 * y:.0f}" for name, y in zip(names, across, strict=True)) + " mm")
    found = f"open tips lie at {', '.join(f'{name} {1e3 * y:.0f}' for name, y in zip(names, across, strict=True))} mm towards the thumb's side"
    why = case.stated("fingers side by side")
    return Outcome(REPORTED, f"{found}: {why}") if why else _failed(found)


def fist_collisions(case: HandCase) -> Outcome:
    """Which parts of the fully closed fist meet: every real hand blocks itself there, so this is a report."""
    found = self_collisions(case, case.closed_rad())
    worst = ", ".join(f"{o.first}-{o.second} {1e3 * o.depth_m:.0f} mm" for o in found[:3])
    return Outcome(REPORTED, f"{len(found)} pairs" + (f": {worst}" if found else ""))


def _worst_follower(case: HandCase, coupling: str) -> tuple[str, float]:
    """The follower that goes furthest beyond its URDF limits, and by how much."""
    hand = load_hand(case.name, case.side, coupling=coupling)
    worst = ("", 0.0)
    for share in np.linspace(0.0, 1.0, 41):
        position, _ = hand.tree.expand(hand.lower_rad + share * (hand.upper_rad - hand.lower_rad))
        for name, value in zip(hand.tree.joints, position, strict=True):
            if name in hand.names or name not in case.bounds_rad:
                continue
            low, high = case.bounds_rad[name]
            beyond = max(low - float(value), float(value) - high)
            worst = (name, beyond) if beyond > worst[1] else worst
    return worst


def _passed(detail: str) -> Outcome:
    return Outcome(PASSED, detail)


def _failed(detail: str) -> Outcome:
    return Outcome(FAILED, detail)

