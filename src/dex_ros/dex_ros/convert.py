# SPDX-License-Identifier: Apache-2.0
"""Messages <-> core values. Pure functions; nothing else in the project reads message fields of these types."""

from __future__ import annotations

import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from sensor_msgs.msg import JointState as JointStateMsg

from dex_core.errors import ShapeError
from dex_core.types import ActionChunk, ActionSlice, JointState
from dex_msgs.msg import ActionChunk as ActionChunkMsg
from dex_msgs.msg import ActionSlice as ActionSliceMsg
from dex_msgs.msg import ChunkTiming

NS = 1_000_000_000
TIMING_FIELDS = (
    "observed", "observation_ready", "inference_started", "inferred", "published", "decoded", "accepted", "first_command",
)
MAX_STEPS = 4096


def time_to_msg(stamp_ns: int) -> Time:
    """Nanoseconds -> Time."""
    return Time(sec=stamp_ns // NS, nanosec=stamp_ns % NS)


def time_from_msg(stamp: Time) -> int:
    """Time -> nanoseconds."""
    return stamp.sec * NS + stamp.nanosec


def joint_state_to_msg(state: JointState) -> JointStateMsg:
    """Core joint state -> sensor_msgs/JointState; effort is left empty where it is not measured."""
    msg = JointStateMsg()
    msg.header.stamp = time_to_msg(state.stamp_ns)
    msg.name = list(state.names)
    msg.position = array.array("d", state.position_rad.tobytes())
    msg.velocity = array.array("d", state.velocity_rad_s.tobytes())
    if np.isfinite(state.effort).all():
        msg.effort = array.array("d", state.effort.tobytes())
    return msg


def joint_state_from_msg(msg: JointStateMsg) -> JointState:
    """sensor_msgs/JointState -> core.

    Raises:
        ShapeError, NonFiniteError: positions missing, of another length than the names, or not finite.
    """
    n = len(msg.name)
    return JointState(
        names=tuple(msg.name),
        position_rad=np.asarray(msg.position),
        velocity_rad_s=np.asarray(msg.velocity) if len(msg.velocity) else np.zeros(n),
        effort=np.asarray(msg.effort) if len(msg.effort) else np.full(n, np.nan),
        stamp_ns=time_from_msg(msg.header.stamp),
    )


def _slice_to_msg(part: ActionSlice) -> ActionSliceMsg:
    msg = ActionSliceMsg(interface=part.interface, space=part.space, frame_id=part.frame_id, space_hash=part.space_hash)
    msg.names = list(part.names)
    msg.rows, msg.cols = part.data.shape
    msg.data = array.array("f", part.data.astype(np.float32).tobytes())
    msg.residual = array.array("f", part.residual_m.astype(np.float32).tobytes())
    return msg


def _slice_from_msg(msg: ActionSliceMsg) -> ActionSlice:
    if not 1 <= msg.rows <= MAX_STEPS or msg.rows * msg.cols != len(msg.data):
        raise ShapeError(f"slice {msg.interface!r}: {msg.rows} rows x {msg.cols} columns but {len(msg.data)} numbers; at most {MAX_STEPS} rows")
    data = np.asarray(msg.data, dtype=np.float64).reshape(msg.rows, msg.cols)
    return ActionSlice(
        interface=msg.interface, space=msg.space, data=data, names=tuple(msg.names), frame_id=msg.frame_id,
        space_hash=msg.space_hash, residual_m=np.asarray(msg.residual, dtype=np.float64),
    )


def timing_to_msg(timing_ns: dict[str, int]) -> ChunkTiming:
    """Stage -> wall-clock ns; stages that did not happen stay zero."""
    return ChunkTiming(**{k: time_to_msg(v) for k, v in timing_ns.items() if k in TIMING_FIELDS})


def timing_from_msg(msg: ChunkTiming) -> dict[str, int]:
    """Stages that happened -> wall-clock ns."""
    stamps = {name: time_from_msg(getattr(msg, name)) for name in TIMING_FIELDS}
    return {name: stamp for name, stamp in stamps.items() if stamp}


def chunk_to_msg(chunk: ActionChunk) -> ActionChunkMsg:
    """Core chunk -> message."""
    msg = ActionChunkMsg(
        goal_id=chunk.goal_id, sequence=chunk.sequence, bundle_hash=chunk.bundle_hash, dt_s=chunk.dt_s,
        first_action_offset=chunk.first_action_offset, slices=[_slice_to_msg(s) for s in chunk.slices],
        timing=timing_to_msg(chunk.timing_ns),
    )
    msg.header.stamp = time_to_msg(chunk.stamp_ns)
    return msg


def chunk_from_msg(msg: ActionChunkMsg) -> ActionChunk:
    """Message -> core chunk, checked.

    Raises:
        ShapeError, NonFiniteError, JointNameError: anything malformed; the whole chunk is refused.
    """
    return ActionChunk(
        stamp_ns=time_from_msg(msg.header.stamp), goal_id=msg.goal_id, sequence=msg.sequence, dt_s=msg.dt_s,
        first_action_offset=msg.first_action_offset, slices=tuple(_slice_from_msg(s) for s in msg.slices),
        bundle_hash=msg.bundle_hash, timing_ns=timing_from_msg(msg.timing),
    )


def image_to_msg(image: NDArray[np.uint8], stamp_ns: int, frame_id: str) -> Image:
    """(H, W, 3) uint8 RGB -> sensor_msgs/Image rgb8, without a list in between."""
    height, width, channels = image.shape
    msg = Image(height=height, width=width, encoding="rgb8", step=width * channels, is_bigendian=0)
    msg.header.stamp = time_to_msg(stamp_ns)
    msg.header.frame_id = frame_id
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(image).data)
    msg.data = data
    return msg


def depth_to_msg(depth_m: NDArray[np.float32], stamp_ns: int, frame_id: str) -> Image:
    """(H, W) float32 [m] -> sensor_msgs/Image 32FC1 (REP 118)."""
    height, width = depth_m.shape
    msg = Image(height=height, width=width, encoding="32FC1", step=width * 4, is_bigendian=0)
    msg.header.stamp = time_to_msg(stamp_ns)
    msg.header.frame_id = frame_id
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(depth_m, dtype=np.float32).tobytes())
    msg.data = data
    return msg


def image_from_msg(msg: Image) -> NDArray[np.uint8]:
    """sensor_msgs/Image rgb8 or bgr8 -> (H, W, 3) uint8 RGB, a view where possible.

    Raises:
        ShapeError: another encoding, or fewer bytes than height x step.
    """
    if msg.encoding not in ("rgb8", "bgr8"):
        raise ShapeError(f"image encoding {msg.encoding!r}; allowed: rgb8, bgr8")
    if msg.step < 3 * msg.width or len(msg.data) != msg.height * msg.step or not msg.height or not msg.width:
        raise ShapeError(f"image {msg.width} x {msg.height}, step {msg.step}: {len(msg.data)} bytes, expected {msg.height * msg.step}")
    rows = np.frombuffer(msg.data, dtype=np.uint8).reshape(msg.height, msg.step)
    image = rows[:, : 3 * msg.width].reshape(msg.height, msg.width, 3)
    return image if msg.encoding == "rgb8" else image[:, :, ::-1]


def fill_doubles(values: Sequence[float] | NDArray[np.float64]) -> array.array:
    """float64 values -> the array type message fields take without a per-element check."""
    return array.array("d", np.ascontiguousarray(values, dtype=np.float64).tobytes())
