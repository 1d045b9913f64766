# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/PointCloud2 <-> Cloud: written as PCL and RViz read it, read in whatever layout others write it."""

from __future__ import annotations

import array
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField

from dex_core.clouds import Cloud
from dex_core.errors import ShapeError
from dex_ros.convert import time_to_msg

LARGEST_POINT = 1 << 16
"""Bytes of one point; far above what any point type holds."""
POSITION, NORMAL = ("x", "y", "z"), ("normal_x", "normal_y", "normal_z")
_CODES = {
    PointField.INT8: "i1", PointField.UINT8: "u1", PointField.INT16: "i2", PointField.UINT16: "u2", PointField.INT32: "i4", PointField.UINT32: "u4",
    PointField.FLOAT32: "f4", PointField.FLOAT64: "f8",
}
_FLOATS, _PACKED, _BYTE = ("f4", "f8"), ("f4", "u4", "i4"), ("u1",)


def cloud_to_msg(cloud: Cloud, stamp_ns: int, frame_id: str, size_hw: tuple[int, int] | None = None) -> PointCloud2:
    """Fields x y z, rgb if the cloud has colour, normal_x normal_y normal_z if it has normals; float32 all, without gaps, little-endian.

    ``rgb`` holds 0x00RRGGBB in the bits of a float, as PCL defines it.

    Args:
        cloud: its points.
        stamp_ns: wall-clock time of the exposure [ns].
        frame_id: the frame the points are in.
        size_hw: height and width of the picture, for an organised cloud: one point per pixel, NaN where there is none; None: the points alone.

    Raises:
        ShapeError: an organised cloud is asked for of one that knows no pixels, or of a smaller picture.
    """
    names = (*POSITION, *(("rgb",) if cloud.rgb is not None else ()), *(NORMAL if cloud.normals is not None else ()))
    table = np.empty((len(cloud), len(names)), dtype="<f4")
    table[:, :3] = cloud.points_m
    if cloud.rgb is not None:
        red, green, blue = cloud.rgb.T.astype(np.uint32)
        table[:, 3] = (red << 16 | green << 8 | blue).view(np.float32)
    if cloud.normals is not None:
        table[:, -3:] = cloud.normals
    dense = bool(np.isfinite(table).all())
    height, width = (1, len(cloud)) if size_hw is None else size_hw
    if size_hw is not None:
        table, dense = cloud.picture(table, size_hw), dense and len(cloud) == height * width
    msg = PointCloud2(height=height, width=width, point_step=4 * len(names), row_step=4 * len(names) * width, is_bigendian=False, is_dense=dense)
    msg.fields = [PointField(name=name, offset=4 * place, datatype=PointField.FLOAT32, count=1) for place, name in enumerate(names)]
    msg.header.stamp = time_to_msg(stamp_ns)
    msg.header.frame_id = frame_id
    data = array.array("B")
    data.frombytes(table.tobytes())
    msg.data = data
    return msg


def cloud_from_msg(msg: PointCloud2) -> Cloud:
    """The finite points of a message, in its order; an organised one (height above 1) also tells their pixels.

    Read by name, at any offset, with any gaps between points and rows, in either byte order: x y z and normal_x normal_y normal_z as float32 or
    float64; colour as ``rgb`` or ``rgba`` packed in 32 bits, or as ``r``, ``g``, ``b`` of 8 bits. Other fields are passed over.

    Raises:
        ShapeError: x, y or z is missing, a field of another type, outside the point or there twice, or fewer bytes than height x row_step.
    """
    table = _table(msg)
    points = _columns(table, POSITION)
    keep = np.flatnonzero(np.isfinite(points).all(axis=1))
    colour = _colour(table)
    normals = _columns(table, NORMAL) if set(NORMAL) <= set(table.dtype.names) else None
    pixels = keep.astype(np.int32) if msg.height > 1 else None
    return Cloud(points[keep], None if colour is None else colour[keep], None if normals is None else normals[keep], pixels)


def _table(msg: PointCloud2) -> NDArray[np.void]:
    """(N,) points with the fields that are read, in the message's own bytes."""
    allowed = {**dict.fromkeys((*POSITION, *NORMAL), _FLOATS), "rgb": _PACKED, "rgba": _PACKED, **dict.fromkeys("rgb", _BYTE)}
    found: dict[str, PointField] = {}
    for field in msg.fields:
        if field.name in found:
            raise ShapeError(f"point cloud: field {field.name!r} is there twice")
        if field.name in allowed:
            found[field.name] = field
    missing = [name for name in POSITION if name not in found]
    if missing:
        raise ShapeError(f"point cloud: no field {missing}; there are {[field.name for field in msg.fields]}")
    if msg.point_step > LARGEST_POINT:
        raise ShapeError(f"point cloud: points of {msg.point_step} bytes; at most {LARGEST_POINT} are read")
    order = ">" if msg.is_bigendian else "<"
    formats = {name: order + _code(field, allowed, msg.point_step) for name, field in found.items()}
    if msg.row_step < msg.point_step * msg.width or len(msg.data) != msg.height * msg.row_step:
        words = f"{msg.width} x {msg.height} points of {msg.point_step} bytes, rows of {msg.row_step}"
        raise ShapeError(f"point cloud: {words}: {len(msg.data)} bytes, expected {msg.height * max(msg.row_step, msg.point_step * msg.width)}")
    layout = np.dtype({"names": list(found), "formats": list(formats.values()), "offsets": [field.offset for field in found.values()],
                       "itemsize": msg.point_step})
    return np.ndarray((msg.height, msg.width), layout, buffer=msg.data, strides=(msg.row_step, msg.point_step)).reshape(-1)


def _code(field: PointField, allowed: Mapping[str, tuple[str, ...]], point_step: int) -> str:
    """NumPy's code of a field. Raises ShapeError for a type that the field's name does not have, or a place outside the point."""
    code = _CODES.get(field.datatype, "")
    if code not in allowed[field.name] or field.count not in (0, 1):
        got = f"type {field.datatype} x {field.count}"
        raise ShapeError(f"point cloud: field {field.name!r} has {got}; allowed is one of {list(allowed[field.name])}")
    if field.offset + int(code[1]) > point_step:
        raise ShapeError(f"point cloud: field {field.name!r} at {field.offset} leaves the point of {point_step} bytes")
    return code


def _columns(table: NDArray[np.void], names: tuple[str, ...]) -> NDArray[np.float32]:
    out = np.empty((len(table), len(names)), dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for place, name in enumerate(names):
            out[:, place] = table[name]
    return out


def _colour(table: NDArray[np.void]) -> NDArray[np.uint8] | None:
    """(N, 3) red, green, blue; None where the message has no colour."""
    names = table.dtype.names
    packed = next((name for name in ("rgb", "rgba") if name in names), None)
    if packed is not None:
        column = table[packed]
        bits = np.ascontiguousarray(column).view(column.dtype.str[0] + "u4")
        return np.stack([bits >> 16, bits >> 8, bits], axis=1).astype(np.uint8)
    if {"r", "g", "b"} <= set(names):
        return np.stack([table[name] for name in ("r", "g", "b")], axis=1)
    return None
