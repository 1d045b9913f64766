# SPDX-License-Identifier: Apache-2.0
"""Messages <-> core values. Pure functions; nothing else in the project reads message fields of these types."""

from __future__ import annotations

import array
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from sensor_msgs.msg import JointState as JointStateMsg

from dex_core import encodings
from dex_core.errors import ShapeError
from dex_core.latency.stages import STAGES
from dex_core.types import ActionChunk, ActionSlice, JointState
from dex_msgs.msg import ActionChunk as ActionChunkMsg
from dex_msgs.msg import ActionSlice as ActionSliceMsg
from dex_msgs.msg import ChunkTiming

NS = 1_000_000_000
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
    return ChunkTiming(**{k: time_to_msg(v) for k, v in timing_ns.items() if k in STAGES})


def timing_from_msg(msg: ChunkTiming) -> dict[str, int]:
    """Stages that happened -> wall-clock ns."""
    stamps = {name: time_from_msg(getattr(msg, name)) for name in STAGES}
    return {name: stamp for name, stamp in stamps.items() if stamp}


def chunk_to_msg(chunk: ActionChunk) -> ActionChunkMsg:
    """Core chunk -> message."""
    msg = ActionChunkMsg(
        goal_id=chunk.goal_id, sequence=chunk.sequence, bundle_hash=chunk.bundle_hash, dt_s=chunk.dt_s,
        first_action_offset=chunk.first_action_offset, slices=[_slice_to_msg(s) for s in chunk.slices],
        timing=timing_to_msg(chunk.timing_ns), observation_digest=chunk.observation_digest,
    )
    msg.streams, msg.stream_digests = list(chunk.stream_digests), list(chunk.stream_digests.values())
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
        bundle_hash=msg.bundle_hash, timing_ns=timing_from_msg(msg.timing), observation_digest=int(msg.observation_digest),
        stream_digests={name: int(value) for name, value in zip(msg.streams, msg.stream_digests, strict=False)},
    )


def image_to_msg(image: NDArray[np.uint8], stamp_ns: int, frame_id: str) -> Image:
    """(H, W, 3) uint8 RGB -> sensor_msgs/Image rgb8."""
    return pixels_to_msg(image, "rgb8", stamp_ns, frame_id)


def depth_to_msg(depth_m: NDArray[np.float32], stamp_ns: int, frame_id: str, encoding: str = "32FC1") -> Image:
    """(H, W) float32 [m] -> sensor_msgs/Image 32FC1 [m] or 16UC1 [mm] (REP 118). Raises ShapeError for another encoding."""
    if encoding not in ("32FC1", "16UC1"):
        raise ShapeError(f"depth encoding {encoding!r}; allowed: 32FC1 [m], 16UC1 [mm]")
    pixels = encodings.to_millimetres(depth_m) if encoding == "16UC1" else np.asarray(depth_m, dtype=np.float32)
    return pixels_to_msg(pixels, encoding, stamp_ns, frame_id)


def pixels_to_msg(pixels: NDArray[Any], encoding: str, stamp_ns: int, frame_id: str) -> Image:
    """(H, W) or (H, W, C) -> sensor_msgs/Image, copied once and never as a list.

    Raises:
        ShapeError: not what the encoding says.
    """
    kind = encodings.encoding(encoding)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2] if pixels.ndim == 3 else 0
    if pixels.dtype != kind.dtype or channels != kind.channels:
        raise ShapeError(f"pixels are {pixels.dtype} {pixels.shape}; {encoding} needs {kind.dtype} with {kind.channels} channels")
    height, width = pixels.shape[:2]
    msg = Image(height=height, width=width, encoding=encoding, step=width * kind.pixel_bytes, is_bigendian=int(sys.byteorder == "big"))
    msg.header.stamp = time_to_msg(stamp_ns)
    msg.header.frame_id = frame_id
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
    msg.data = data
    return msg


def image_from_msg(msg: Image) -> NDArray[np.uint8]:
    """sensor_msgs/Image of any encoding with colours -> (H, W, 3) uint8 RGB; a view of the message when it is rgb8.

    Raises:
        ShapeError: an encoding without colours (a grey picture is none of a colour camera), or other than height x step bytes.
    """
    if encodings.encoding(msg.encoding).colour in ("", "GRAY"):
        raise ShapeError(f"picture with encoding {msg.encoding!r}; needed is one with colours, e.g. rgb8", code="encoding_conversion")
    return encodings.to_rgb(pixels_from_msg(msg), msg.encoding)


def depth_from_msg(msg: Image) -> NDArray[np.float32]:
    """sensor_msgs/Image 16UC1, mono16 [mm] or 32FC1 [m] -> (H, W) float32 [m], NaN where unknown. Raises ShapeError."""
    return encodings.to_metres(pixels_from_msg(msg), msg.encoding)


def pixels_from_msg(msg: Image) -> NDArray[Any]:
    """sensor_msgs/Image -> (H, W) or (H, W, C) as it is encoded, a view where possible: what cv_bridge's passthrough gives. Raises ShapeError."""
    return encodings.image_to_array(msg.encoding, msg.height, msg.width, msg.step, msg.data, bool(msg.is_bigendian))


def fill_doubles(values: Sequence[float] | NDArray[np.float64]) -> array.array:
    """float64 values -> the array type message fields take without a per-element check."""
    return array.array("d", np.ascontiguousarray(values, dtype=np.float64).tobytes())
