# SPDX-License-Identifier: Apache-2.0
"""MountedHand <-> message. Apart from the other conversions: only decoders and policies need what it imports."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Pose
from numpy.typing import ArrayLike

from dex_core.decode.mounted import MountedHand
from dex_core.errors import DexError
from dex_core.types import Array
from dex_msgs.msg import MountedHand as MountedHandMsg

NORM_TOLERANCE = 1e-3


def pose_to_msg(pose: Array) -> Pose:
    """(4, 4) homogeneous -> Pose."""
    msg = Pose()
    msg.position.x, msg.position.y, msg.position.z = (float(v) for v in pose[:3, 3])
    o = msg.orientation
    o.x, o.y, o.z, o.w = (float(v) for v in quaternion_xyzw(pose[:3, :3]))
    return msg


def pose_from_msg(msg: Pose) -> Array:
    """Pose -> (4, 4) homogeneous. Raises DexError ``rotation`` for a quaternion that is not of length one."""
    o, out = msg.orientation, np.eye(4)
    out[:3, :3], out[:3, 3] = rotation_of((o.x, o.y, o.z, o.w)), (msg.position.x, msg.position.y, msg.position.z)
    return out


def quaternion_xyzw(rotation: Array) -> Array:
    """(4,) unit quaternion of a (3, 3) rotation, the largest part positive."""
    r, trace = rotation, float(np.trace(rotation))
    squares = np.array([1.0 + 2.0 * r[i, i] - trace for i in range(3)] + [1.0 + trace])  # four times each part squared
    most = int(np.argmax(squares))
    table = np.array(
        [
            [squares[0], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[2, 1] - r[1, 2]],
            [r[0, 1] + r[1, 0], squares[1], r[1, 2] + r[2, 1], r[0, 2] - r[2, 0]],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], squares[2], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], squares[3]],
        ]
    )
    return table[most] / np.linalg.norm(table[most])


def rotation_of(xyzw: ArrayLike) -> Array:
    """(3, 3) of a quaternion. Raises DexError ``rotation`` unless its length is 1."""
    q = np.asarray(xyzw, dtype=np.float64)
    length = float(np.linalg.norm(q))
    if not abs(length - 1.0) <= NORM_TOLERANCE:
        raise DexError(f"quaternion {q.tolist()} has length {length:.6g}; expected 1", code="rotation")
    x, y, z, w = q / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def mounted_to_msg(hand: MountedHand) -> MountedHandMsg:
    """Core -> message; the stamp is the caller's."""
    msg = MountedHandMsg(side=hand.side, hand=hand.hand, grasp=pose_to_msg(hand.grasp_in_flange), decoder_sha256=hand.decoder_sha256)
    msg.header.frame_id = hand.flange
    return msg


def mounted_from_msg(msg: MountedHandMsg) -> MountedHand:
    """Message -> core. Raises DexError for a side that is none or a frame that is no pose."""
    if msg.side not in ("left", "right"):
        raise DexError(f"mounted hand on side {msg.side!r}; allowed: left, right", code="hand_unknown")
    return MountedHand(msg.side, msg.hand, msg.header.frame_id, pose_from_msg(msg.grasp), msg.decoder_sha256)
