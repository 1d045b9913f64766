# SPDX-License-Identifier: Apache-2.0
"""Messages of segmentation and of transforms <-> plain values; what they mean the segmentation node knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Vector3
from numpy.typing import NDArray
from tf2_msgs.msg import TFMessage

from dex_core.errors import ShapeError
from dex_msgs.action import Segment
from dex_msgs.msg import Segmentation
from dex_ros.convert import pixels_to_msg, time_from_msg, time_to_msg


def goal_to_fields(goal: Segment.Goal) -> dict[str, Any]:
    """A goal -> the keyword arguments of a request: arrays (K, 2) and (L, 3), times in seconds.

    Raises:
        ShapeError: a click with a z, or a box of other than no or four numbers.
    """
    if any(p.z for p in goal.clicks):
        raise ShapeError("clicks: z is not 0; a click is a pixel, for points in space there is 'points'", code="prompt_invalid")
    if len(goal.box) not in (0, 4):
        raise ShapeError(f"box has {len(goal.box)} numbers; expected none or x_min, y_min, x_max, y_max", code="prompt_invalid")
    return {
        "text": goal.text, "box_px": tuple(float(v) for v in goal.box) if len(goal.box) else None,
        "clicks_px": np.array([(p.x, p.y) for p in goal.clicks], dtype=np.float64).reshape(-1, 2),
        "click_positive": np.array(goal.click_labels, dtype=bool),
        "points_m": np.array([(p.x, p.y, p.z) for p in goal.points], dtype=np.float64).reshape(-1, 3),
        "point_positive": np.array(goal.point_labels, dtype=bool), "points_frame": goal.points_frame, "continuous": goal.continuous,
        "preempt": goal.preempt, "budget_s": goal.budget_ms * 1e-3, "max_age_s": goal.max_age_s,
    }


def result_to_msg(stamp_ns: int, frame_id: str, **fields: Any) -> Segmentation:
    """'No target' of a picture, until :func:`add_object` is called.

    Args:
        stamp_ns, frame_id: of the colour picture.
        fields: the message's other plain fields, by name.
    """
    msg = Segmentation(found=False, **fields)
    msg.header.stamp, msg.header.frame_id = time_to_msg(stamp_ns), frame_id
    return msg


def add_object(msg: Segmentation, mask: NDArray[np.uint8], centre_m: NDArray, size_m: NDArray, points: int) -> None:
    """The object that was found: (H, W) mask, centre and size (3,) in the world [m], points of its cloud."""
    c, s = (np.asarray(v, dtype=float).tolist() for v in (centre_m, size_m))
    msg.found, msg.points = True, points
    msg.mask = pixels_to_msg(mask, "mono8", time_from_msg(msg.header.stamp), msg.header.frame_id)
    msg.centre, msg.size = Point(x=c[0], y=c[1], z=c[2]), Vector3(x=s[0], y=s[1], z=s[2])


def transforms_in(msg: TFMessage) -> Iterator[tuple[str, str, tuple[float, float, float], tuple[float, float, float, float], int]]:
    """(parent, child, translation [m], quaternion xyzw, stamp [ns]) of each transform."""
    for t in msg.transforms:
        p, q = t.transform.translation, t.transform.rotation
        yield t.header.frame_id, t.child_frame_id, (p.x, p.y, p.z), (q.x, q.y, q.z, q.w), time_from_msg(t.header.stamp)
