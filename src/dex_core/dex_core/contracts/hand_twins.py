# SPDX-License-Identifier: Apache-2.0
"""A hand beside another description: the published URDF of the same hand, and the other side of the same hand."""
from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
from numpy.typing import NDArray

from dex_core.contracts.hand_case import FAILED, PASSED, REPORTED, SKIPPED, HandCase, Outcome
from dex_core.errors import DexError
from dex_core.kinematics import RobotKinematics
from dex_core.types import Array

EQUAL = 1e-6
"""Metres and radians a published description may differ by."""
MIRROR_M = 1e-3
POSES = 50
MIRROR = np.diag([1.0, -1.0, 1.0])
"""Through the y = 0 plane of the wrist."""


def equals_reference(case: HandCase) -> Outcome:
    """Every link that the published URDF also has moves as there, seen from the root of the palm."""
    if case.reference is None or not case.reference.is_file():
        return Outcome(SKIPPED, "no published URDF is given" if case.reference is None else f"{case.reference.name} is not here")
    text, prefix = case.reference.read_text(encoding="utf-8"), f"{case.side}_"
    free = [str(j.get("name")) for j in ElementTree.fromstring(text).findall("joint") if j.get("type") != "fixed" and j.find("mimic") is None]
    try:
        reference = RobotKinematics(text, free)
    except DexError as error:
        return Outcome(FAILED, f"{case.reference.name}: {error}")
    theirs = {link.removeprefix(prefix): link for link in reference.tree.links}
    shared = [link for link in case.hand.tree.links if link.removeprefix(prefix) in theirs]
    base = case.robot.root_link if case.robot.root_link in shared else case.robot.tip_link
    missing = [name for name in free if name.removeprefix(prefix) not in {j.removeprefix(prefix) for j in case.hand.tree.joints}]
    if base not in shared or missing:
        return Outcome(FAILED, f"joints {missing} are not here" if missing else f"neither has a link {base!r}; links there: {list(theirs)}")
    ours = {j.removeprefix(prefix): row for row, j in enumerate(case.hand.tree.joints)}
    worst, where = 0.0, ""
    for q in case.random_poses(POSES):
        drive = case.hand.tree.expand(q)[0]
        there = np.array([drive[ours[name.removeprefix(prefix)]] for name in free])
        for link in shared:
            here = _seen_from(case.hand, q, base, link)
            gap = float(np.abs(here - _seen_from(reference, there, theirs[base.removeprefix(prefix)], theirs[link.removeprefix(prefix)])).max())
            worst, where = (gap, link) if gap > worst else (worst, where)
    absent = [tip for tip in case.hand.tips if tip not in shared]
    note = f"{len(shared)} links from {base}" + (f"; it has no {', '.join(absent)}" if absent else "")
    return Outcome(FAILED, f"{where} differs by {worst:.3g} (m or rad)") if worst > EQUAL else Outcome(PASSED, f"{worst:.1e}: {note}")


def mirror_symmetry(case: HandCase) -> Outcome:
    """At the same joint values, finger by finger, the tips of left and right are mirror images through the wrist's y = 0 plane."""
    if set(case.robot.sides) != {"left", "right"}:
        return Outcome(SKIPPED, f"there is only {list(case.robot.sides)}")
    other = HandCase(case.name, "left" if case.side == "right" else "right")
    swap = slice(None, None, -1 if case.is_gripper else 1)  # a gripper's fingers are each other's image
    match = _columns(case, other)
    signs = np.ones(1) if case.is_gripper else _signs(case, other, match)
    low, high = other.hand.lower_rad[match], other.hand.upper_rad[match]
    gaps, image = np.zeros(len(case.hand.fingers)), np.zeros(len(match))
    for q in case.random_poses(POSES):
        image[match] = np.clip(signs * q, low, high)
        mirrored = case.hand.fingertips(signs * image[match]) @ MIRROR
        gaps = np.maximum(gaps, np.linalg.norm(mirrored - other.hand.fingertips(image)[swap], axis=1))
    turned = [name for name, sign in zip(case.hand.names, signs, strict=True) if sign < 0.0]
    row = int(np.argmax(gaps))
    found = f"worst {case.hand.fingers[row]} {1e3 * gaps[row]:.2f} mm" + (f"; turned joints: {', '.join(turned)}" if turned else "")
    if gaps[row] <= MIRROR_M and not turned:
        return Outcome(PASSED, found)
    why = case.stated("mirror symmetry")
    if why and gaps[row] <= case.mirror_within_m:
        return Outcome(REPORTED, f"{found}: {why}")
    return Outcome(FAILED, f"{found}; " + (f"at most {1e3 * case.mirror_within_m:.2f} mm is stated" if why else "no reason is stated"))


def _columns(case: HandCase, other: HandCase) -> NDArray[np.intp]:
    """(n,) column of the other side that stands for each of this one's: the same name, or the same place in a finger of other joints."""
    match = {name: name for name in case.hand.names}
    for finger, entry in (case.robot.fingers or {}).items():
        match.update(zip(entry.joints, (other.robot.fingers or {})[finger].joints, strict=True))
    return np.array([other.hand.names.index(match[name]) for name in case.hand.names], dtype=np.intp)


def _signs(case: HandCase, other: HandCase, match: NDArray[np.intp]) -> Array:
    """(n,) -1 where a joint of the other side turns the other way for the mirrored motion and its range is turned as well."""
    here, there = case.hand, other.hand
    moved = np.einsum("ij,kjn->kin", MIRROR, here.fingertip_jacobian(0.5 * (here.lower_rad + here.upper_rad)))
    there_moved = there.fingertip_jacobian(0.5 * (there.lower_rad + there.upper_rad))[:, :, match]
    opposed = np.einsum("kin,kin->n", moved, there_moved) < 0.0
    shared = np.minimum(-here.lower_rad, there.upper_rad[match]) - np.maximum(-here.upper_rad, there.lower_rad[match])
    return np.where(opposed & (shared > 0.5 * (here.upper_rad - here.lower_rad)), -1.0, 1.0)


def _seen_from(robot: RobotKinematics, q: Array, base: str, link: str) -> Array:
    pose = robot.pose(q, base)
    pose[:3, 3], pose[:3, :3] = -pose[:3, :3].T @ pose[:3, 3], pose[:3, :3].T
    return pose @ robot.pose(q, link)
