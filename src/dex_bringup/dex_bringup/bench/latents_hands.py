# SPDX-License-Identifier: Apache-2.0
"""Hands and latent bundles as the scores of a latent space need them, joints mapped by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from dex_core.bundle import Bundle, LoadOptions, load_bundle
from dex_core.config import load_robot, read_description
from dex_core.errors import DexError
from dex_core.kinematics.hand_ik_groups import groups_of
from dex_core.kinematics.tree import KinematicTree, rotation_rpy
from dex_core.retarget.latent_scores import Codec, ScoredHand
from dex_core.runtime import run_rows
from dex_core.types import Array

FREE = "_free"
"""Ends the name of a hand whose following joints are moved one by one, as a released network may want it."""
MIRROR = np.array([1.0, -1.0, 1.0])


class CodedHand(NamedTuple):
    """A hand, its codec in one space, and ``expand`` (n', n): its joints from those of the hand the samples are of."""

    hand: ScoredHand
    codec: Codec
    expand: Array


class Space(NamedTuple):
    """A latent bundle and, by name, every hand of one side it codes; ``name_free`` besides ``name`` where it has both."""

    bundle: Bundle
    hands: dict[str, CodedHand]


def scored_hand(name: str, side: str) -> ScoredHand:
    """A hand of ``config/hands``, or ``<name>_free``: the same without couplings, each follower within its leader's limits."""
    robot = load_robot(name.removesuffix(FREE)).for_side(side)
    text = read_description(robot.urdf, side)
    followers = _followers(text) if name.endswith(FREE) else {}
    tree = KinematicTree(_uncoupled(text) if followers else text, (*robot.actuated, *followers))
    palm = robot.palm[side] if robot.palm else None
    if palm is None or not robot.fingers:
        raise DexError(f"hand {name!r} gives no palm frame or no fingers for side {side!r}; scores need both", code="config_invalid")
    limits = [robot.limits[followers.get(joint, joint)] for joint in tree.names]
    lower, upper = np.maximum(tree.lower_rad, [x.lower_rad for x in limits]), np.minimum(tree.upper_rad, [x.upper_rad for x in limits])
    axes = tree.place(palm.link).rotation @ rotation_rpy(palm.rpy_rad)  # of the palm at rest in the root frame
    if tree.place(palm.link).joint >= 0:
        raise DexError(f"hand {name!r}: the palm {palm.link!r} moves with a joint; scores need one that stands still", code="config_invalid")
    axes = axes * (MIRROR if side == "left" else 1.0)
    tips = [finger.tip for finger in robot.fingers.values()]
    groups = groups_of(tree, tips, lower, upper)
    k, n = len(tips), len(tree.names)

    def positions(q: Array) -> Array:
        out = np.empty((len(q), k, 3))
        for group in groups:
            out[:, group.fingers] = group.forward.tips(q[:, group.columns])
        return out @ axes

    def with_jacobian(q: Array) -> tuple[Array, Array]:
        out, jacobian = np.empty((len(q), k, 3)), np.zeros((len(q), k, 3, n))
        for group in groups:
            out[:, group.fingers], part = group.forward.tips_and_jacobian(q[:, group.columns])
            jacobian[:, group.fingers[:, None], :, group.columns[None, :]] = np.moveaxis(part, (0, 1, 3), (2, 0, 1))
        return out @ axes, np.einsum("mkin,ij->mkjn", jacobian, axes)

    return ScoredHand(name, tree.names, tuple(robot.fingers), lower, upper, positions, with_jacobian)


def _followers(text: str) -> dict[str, str]:
    """Joint that mimics -> the joint it follows, of those that do so one to one."""
    return {
        joint.attrib["name"]: mimic.attrib["joint"] for joint in ElementTree.fromstring(text).iter("joint")
        if (mimic := joint.find("mimic")) is not None
    }


def _uncoupled(text: str) -> str:
    tree = ElementTree.fromstring(text)
    for joint in tree.iter("joint"):
        for mimic in joint.findall("mimic"):
            joint.remove(mimic)
    return ElementTree.tostring(tree, encoding="unicode")


def load_space(source: Path | str, side: str, hands: Sequence[str], *, free: bool = False) -> Space:
    """The hands of ``hands`` that a latent bundle codes on that side; decoded joints are held inside the hardware's limits, as the gate does.

    ``free``: those with free followers, too, where the bundle has them.

    Raises:
        BundleError: the bundle is refused. DexError: it is no latent space, has one latent for a whole chunk, or codes none of the hands.
    """
    bundle = load_bundle(source, LoadOptions())
    if bundle.manifest.kind != "latent_space":
        raise DexError(f"{bundle.folder} is of kind {bundle.manifest.kind!r}; scores need a latent_space", code="space_mismatch")
    coded: dict[str, CodedHand] = {}
    for name in (*hands, *(f"{hand}{FREE}" for hand in hands if free)):
        if f"{side}_{name}" in bundle.embodiments:
            coded[name] = coded_hand(bundle, name, side)
    if not coded:
        raise DexError(f"{bundle.folder} codes {list(bundle.embodiments)}, none of {list(hands)} on side {side!r}", code="space_mismatch")
    return Space(bundle, coded)


def coded_hand(bundle: Bundle, name: str, side: str, *, clamp: bool = True) -> CodedHand:
    """One hand of a bundle. ``clamp`` False: decoded joints as they are, samples within the bundle's limits (for its own protocol)."""
    embodiment = bundle.embodiments[f"{side}_{name}"]
    encoder, decoder = (bundle.sessions[f"{side}_{name}/{part}"] for part in ("encoder", "decoder"))
    if len(encoder.spec.inputs[0].shape) != 2:
        raise DexError(f"{bundle.folder}: {encoder.name} takes {list(encoder.spec.inputs[0].shape)}; scores are of one latent a frame", code="shape")
    hand = scored_hand(name, side)
    if set(hand.joints) != set(embodiment.joints):
        raise DexError(f"{bundle.folder}: {side}_{name} has joints {list(embodiment.joints)}, the hand {list(hand.joints)}", code="joint_names")
    there = [embodiment.joints.index(joint) for joint in hand.joints]
    back = [hand.joints.index(joint) for joint in embodiment.joints]
    low, high = np.array(embodiment.lower_rad), np.array(embodiment.upper_rad)
    if clamp:
        hand = hand._replace(lower_rad=np.maximum(hand.lower_rad, low[there]), upper_rad=np.minimum(hand.upper_rad, high[there]))
    else:
        hand = hand._replace(lower_rad=low[there], upper_rad=high[there])

    def encode(q: Array) -> Array:
        return run_rows(encoder, np.clip(q[:, back], low, high)).astype(np.float64)

    def decode(z: Array) -> Array:
        return np.clip(run_rows(decoder, z).astype(np.float64)[:, there], hand.lower_rad, hand.upper_rad)

    base = scored_hand(name.removesuffix(FREE), side) if name.endswith(FREE) else hand
    leader = _followers(read_description(load_robot(base.name).urdf, side))
    expand = np.array([[float(j == (joint if joint in base.joints else leader[joint])) for j in base.joints] for joint in hand.joints])
    return CodedHand(hand, Codec(encode, decode), expand)
