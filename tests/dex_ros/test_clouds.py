# SPDX-License-Identifier: Apache-2.0
"""Point clouds as messages: there and back, as PCL lays them out, and what is refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest

pytest.importorskip("sensor_msgs", reason="needs the ROS messages: make setup")

from sensor_msgs.msg import PointCloud2, PointField

from dex_core.clouds import Cloud
from dex_core.errors import ShapeError
from dex_ros.clouds import cloud_from_msg, cloud_to_msg

STAMP_NS = 1_700_000_000_123_456_789


def some(n: int = 50, rgb: bool = True, normals: bool = True) -> Cloud:
    rng = np.random.default_rng(n)
    turn = rng.normal(size=(n, 3)).astype(np.float32)
    colour = rng.integers(0, 256, (n, 3), dtype=np.uint8)
    return Cloud(rng.normal(size=(n, 3)).astype(np.float32), colour if rgb else None, turn if normals else None)


def same(a: Cloud, b: Cloud) -> None:
    for name in ("points_m", "rgb", "normals", "pixels"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        if x is not None:
            np.testing.assert_array_equal(x, y, err_msg=name)


def message(fields: list[tuple[str, int, int]], data: bytes, point_step: int, width: int, height: int = 1, **more: object) -> PointCloud2:
    more = {"row_step": point_step * width, **more}
    out = PointCloud2(height=height, width=width, point_step=point_step, **more)
    out.fields = [PointField(name=name, offset=offset, datatype=kind, count=1) for name, offset, kind in fields]
    out.data = list(data)
    return out


F4, F8, U1, U4 = PointField.FLOAT32, PointField.FLOAT64, PointField.UINT8, PointField.UINT32
XYZ = [("x", 0, F4), ("y", 4, F4), ("z", 8, F4)]


@pytest.mark.parametrize("n", [0, 1, 50])
@pytest.mark.parametrize("rgb", [False, True])
@pytest.mark.parametrize("normals", [False, True])
def test_there_and_back(n: int, rgb: bool, normals: bool) -> None:
    cloud = some(n, rgb, normals)
    msg = cloud_to_msg(cloud, STAMP_NS, "world")
    assert (msg.header.stamp.sec, msg.header.stamp.nanosec, msg.header.frame_id) == (1_700_000_000, 123_456_789, "world")
    assert (msg.height, msg.width, msg.row_step) == (1, n, n * msg.point_step) and msg.is_dense and not msg.is_bigendian
    same(cloud_from_msg(msg), cloud)


def test_fields_lie_as_pcl_and_rviz_expect() -> None:
    cloud = Cloud(np.array([[1, 2, 3]], np.float32), np.array([[0x11, 0x22, 0x33]], np.uint8), np.array([[0, 0, -1]], np.float32))
    msg = cloud_to_msg(cloud, 0, "camera")
    assert [(f.name, f.offset, f.datatype, f.count) for f in msg.fields] == [
        (name, 4 * k, F4, 1) for k, name in enumerate(("x", "y", "z", "rgb", "normal_x", "normal_y", "normal_z"))]
    assert bytes(msg.data) == struct.pack("<3fI3f", 1, 2, 3, 0x112233, 0, 0, -1)


def test_unknown_normals_are_not_dense_and_come_back() -> None:
    cloud = Cloud(np.zeros((2, 3), np.float32), None, np.array([[0, 0, 1], [np.nan] * 3], np.float32))
    msg = cloud_to_msg(cloud, 0, "camera")
    assert not msg.is_dense
    same(cloud_from_msg(msg), cloud)


def test_organised_clouds_keep_their_pixels() -> None:
    cloud = Cloud(np.arange(9, dtype=np.float32).reshape(3, 3), np.full((3, 3), 7, np.uint8), None, np.array([0, 4, 5], np.int32))
    msg = cloud_to_msg(cloud, 0, "camera", (2, 3))
    assert (msg.height, msg.width, msg.row_step, len(msg.data), msg.is_dense) == (2, 3, 48, 96, False)
    same(cloud_from_msg(msg), cloud)
    with pytest.raises(ShapeError, match="no pixels"):
        cloud_to_msg(some(), 0, "camera", (5, 10))


def test_the_layout_of_pcl_with_gaps_in_points_and_rows() -> None:
    fields = [*XYZ, ("normal_x", 16, F4), ("normal_y", 20, F4), ("normal_z", 24, F4), ("rgb", 32, F4), ("curvature", 36, F4)]
    point = struct.pack("<3f4x3f4xIf8x", 1, 2, 3, 0, 0, 1, 0xFF804020, 0.5)  # pcl::PointXYZRGBNormal
    other = struct.pack("<3f4x3f4xIf8x", 4, 5, float("nan"), 0, 1, 0, 0x00010203, 0.5)
    row = point + other + b"\xaa" * 10
    cloud = cloud_from_msg(message(fields, 2 * row, 48, 2, 2, row_step=106))
    same(cloud, Cloud(np.array([[1, 2, 3]] * 2, np.float32), np.array([[0x80, 0x40, 0x20]] * 2, np.uint8), np.array([[0, 0, 1]] * 2, np.float32),
                      np.array([0, 2], np.int32)))


@pytest.mark.parametrize("order", ["<", ">"])
def test_doubles_other_orders_other_colours_and_either_byte_order(order: str) -> None:
    big = {"is_bigendian": order == ">"}
    doubles = message([("intensity", 0, F4), ("z", 4, F8), ("y", 12, F8), ("x", 20, F8)], struct.pack(order + "f3d", 9, 3, 2, 1), 28, 1, **big)
    assert cloud_from_msg(doubles).points_m.tolist() == [[1, 2, 3]] and cloud_from_msg(doubles).rgb is None
    packed = message([*XYZ, ("rgba", 12, U4)], struct.pack(order + "3fI", 1, 2, 3, 0x7F102030), 16, 1, **big)
    assert cloud_from_msg(packed).rgb.tolist() == [[0x10, 0x20, 0x30]]
    apart = message([*XYZ, ("b", 12, U1), ("g", 13, U1), ("r", 14, U1)], struct.pack(order + "3f3B", 1, 2, 3, 30, 20, 10), 15, 1, **big)
    assert cloud_from_msg(apart).rgb.tolist() == [[10, 20, 30]]


@pytest.mark.parametrize(("fields", "data", "point_step", "more", "words"), [
    (XYZ[:2], bytes(8), 8, {}, r"no field \['z'\]"), ([*XYZ, XYZ[0]], bytes(12), 12, {}, "'x' is there twice"),
    ([*XYZ[:2], ("z", 8, U4)], bytes(12), 12, {}, "'z' has type 6"), ([*XYZ, ("rgb", 12, U1)], bytes(16), 16, {}, "'rgb'"),
    ([*XYZ[:2], ("z", 10, F4)], bytes(12), 12, {}, "leaves the point of 12"), (XYZ, bytes(11), 12, {}, "11 bytes, expected 12"),
    (XYZ, bytes(8), 12, {"row_step": 8}, "8 bytes, expected 12"), (XYZ, bytes(24), 12, {}, "24 bytes"), (XYZ, b"", 12, {}, "0 bytes"),
    ([*XYZ[:2], ("z", 8, 99)], bytes(12), 12, {}, "type 99"), ([], b"", 0, {}, "no field"),
])
def test_broken_messages_are_refused(fields: list, data: bytes, point_step: int, more: dict, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        cloud_from_msg(message(fields, data, point_step, 1, **more))


def test_what_is_not_finite_or_too_large_is_left_out() -> None:
    data = struct.pack("<9d", 1, 2, 3, float("inf"), 0, 0, 1e300, 0, 0)
    assert cloud_from_msg(message([("x", 0, F8), ("y", 8, F8), ("z", 16, F8)], data, 24, 3)).points_m.tolist() == [[1, 2, 3]]


def test_no_broken_message_does_more_than_be_refused() -> None:
    rng, refused = np.random.default_rng(0), 0
    for _ in range(1500):
        msg = cloud_to_msg(some(int(rng.integers(0, 6))), 0, "camera")
        for change in rng.integers(0, 7, rng.integers(1, 4)):
            number, field = int(rng.choice([0, 1, 3, 7, 12, 28, 29, 255, 2**31, 2**32 - 1])), msg.fields[int(rng.integers(len(msg.fields)))]
            if change < 4:
                setattr(msg, ("height", "width", "point_step", "row_step")[change], number)
            elif change == 4:
                field.offset = number
            elif change == 5:
                field.datatype = number % 256
            else:
                msg.data = msg.data[: int(rng.integers(0, len(msg.data) + 1))]
        try:
            assert np.isfinite(cloud_from_msg(msg).points_m).all()
        except ShapeError:
            refused += 1
    assert 500 < refused < 1500
