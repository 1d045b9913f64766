# SPDX-License-Identifier: Apache-2.0
"""Distances of capsules and boxes in NumPy: the reference of collision.c, and the fallback without a compiler."""
from __future__ import annotations

import numpy as np

from dex_core.kinematics.collision_shapes import Shapes
from dex_core.kinematics.tree import KinematicTree
from dex_core.types import Array

SEARCHES = 44
GOLDEN = 0.6180339887498949


class NumpyCollision:
    """Distances between pairs of links.

    Args:
        pairs: (p, 3) two links and the class they count to.
    """

    def __init__(self, tree: KinematicTree, shapes: Shapes, pairs: np.ndarray, classes: int) -> None:
        self._tree, self._shapes, self._pairs, self._classes = tree, shapes, pairs, classes
        count = np.diff(shapes.first)
        self._link_of = np.repeat(np.arange(len(shapes.links)), count)
        rows = [
            (p, i, j) for p, (a, b, _) in enumerate(pairs)
            for i in range(shapes.first[a], shapes.first[a + 1]) for j in range(shapes.first[b], shapes.first[b + 1])
            if not (shapes.is_box[i] and shapes.is_box[j])
        ]
        self._rows = np.array(rows, dtype=int).reshape(-1, 3)

    def pairs(self, q: Array) -> Array:
        """(p,) distance of every pair [m]."""
        distance = np.full(len(self._pairs), np.inf)
        np.minimum.at(distance, self._rows[:, 0], self._contacts(q)[0])
        return distance

    def chunk(self, q: Array) -> tuple[Array, np.ndarray]:
        """(T, n) -> distance (T,) and links (T, 2) of class 0."""
        found = [self.query(step) for step in q]
        return np.array([d[0] for d, *_ in found]), np.array([links[0] for _, links, *_ in found])

    def query(self, q: Array) -> tuple[Array, np.ndarray, Array, Array]:
        """Of each class: distance (c,), links (c, 2), nearest points (c, 2, 3), gradient (c, n)."""
        all_distance, p, r, normal, frames = self._contacts(q)
        c, n = self._classes, len(self._tree.names)
        distance, links = np.full(c, np.inf), np.full((c, 2), -1)
        points, gradient = np.zeros((c, 2, 3)), np.zeros((c, n))
        row_class = self._pairs[self._rows[:, 0], 2]
        for k in range(c):
            own = np.flatnonzero(row_class == k)
            if not len(own):
                continue
            row = own[np.argmin(all_distance[own])]
            distance[k] = all_distance[row]
            for side, (axis, sign) in enumerate(((p[row], 1.0), (r[row], -1.0))):
                shape = self._rows[row, 1 + side]
                links[k, side] = self._link_of[shape]
                radius = 0.0 if self._shapes.is_box[shape] else self._shapes.data[shape, 6]
                points[k, side] = axis - sign * radius * normal[row]
                self._add_gradient(frames, int(self._shapes.joint[self._link_of[shape]]), axis, sign * normal[row], gradient[k])
        return distance, links, points, gradient

    def _contacts(self, q: Array) -> tuple[Array, Array, Array, Array, tuple]:
        frames, shapes = _place(self._tree, q), self._shapes
        rotation, origin, *_ = frames
        joint = shapes.joint[self._link_of]
        ends = np.einsum("sij,sej->sei", rotation[joint], shapes.data[:, :6].reshape(-1, 2, 3)) + origin[joint][:, None]
        _, i, j = self._rows.T
        p, r = nearest_of_segments(ends[i, 0], ends[i, 1], ends[j, 0], ends[j, 1])
        normal = p - r
        length = np.linalg.norm(normal, axis=1)
        normal /= np.maximum(length, 1e-12)[:, None]
        distance = length - shapes.data[i, 6] - shapes.data[j, 6]
        for box in np.flatnonzero(shapes.is_box):
            for mine, other, near, far, sign in ((j, i, p, r, 1.0), (i, j, r, p, -1.0)):
                rows = np.flatnonzero(mine == box)
                if not len(rows):
                    continue
                capsule = other[rows]
                apart, point = segment_to_box(shapes.data[box], ends[capsule, 0], ends[capsule, 1])
                outward = box_distance(shapes.data[box], point)[1]
                near[rows], far[rows] = point, point - apart[:, None] * outward
                normal[rows], distance[rows] = sign * outward, apart - shapes.data[capsule, 6]
        return distance, p, r, normal, frames

    def _add_gradient(self, frames: tuple, joint: int, world: Array, normal: Array, gradient: Array) -> None:
        _, origin, axis, gain = frames
        while joint >= 0:
            motion = axis[joint] if self._tree.prismatic[joint] else np.cross(axis[joint], world - origin[joint])
            gradient[self._tree.actuated[joint]] += gain[joint] * float(motion @ normal)
            joint = int(self._tree.parent[joint])


def nearest_of_segments(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array]:
    """(r, 3) ends of segments ab and cd -> their nearest points, (r, 3) each."""
    u, v, w = b - a, d - c, a - c
    uu, vv, uv, uw, vw = (np.einsum("ij,ij->i", x, y) for x, y in ((u, u), (v, v), (u, v), (u, w), (v, w)))
    tiny, safe_uu, safe_vv = 1e-14, np.maximum(uu, 1e-14), np.maximum(vv, 1e-14)
    det = uu * vv - uv * uv
    crossing = det > 1e-12 * uu * vv
    s = np.where(crossing, np.clip((uv * vw - vv * uw) / np.where(crossing, det, 1.0), 0.0, 1.0), 0.5)
    t = (uv * s + vw) / safe_vv
    outside = (t < 0.0) | (t > 1.0)
    t = np.clip(t, 0.0, 1.0)
    s = np.where(outside, np.clip((uv * t - uw) / safe_uu, 0.0, 1.0), s)
    point_u, point_v = uu <= tiny, vv <= tiny
    s, t = np.where(point_v, np.clip(-uw / safe_uu, 0.0, 1.0), s), np.where(point_u, np.clip(vw / safe_vv, 0.0, 1.0), t)
    s, t = np.where(point_u, 0.0, s), np.where(point_v, 0.0, t)
    return a + s[:, None] * u, c + t[:, None] * v


def box_distance(box: Array, points: Array) -> tuple[Array, Array]:
    """Signed distance (m,) of points (m, 3) to a box (15,) and its gradient (m, 3)."""
    rotation, centre, half = box[:9].reshape(3, 3), box[9:12], box[12:]
    local = (points - centre) @ rotation
    beyond = np.abs(local) - half
    outside = np.maximum(beyond, 0.0)
    length, most = np.linalg.norm(outside, axis=1), beyond.max(axis=1)
    inside = most <= 0.0
    face = np.eye(3)[np.argmax(beyond, axis=1)]
    slope = np.where(inside[:, None], face, outside / np.where(inside, 1.0, length)[:, None])
    return np.where(inside, most, length), np.copysign(slope, local) @ rotation.T


def segment_to_box(box: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """Distances (m,) of segments with ends (m, 3) to a box, and the segments' nearest points (m, 3): the distance is convex along each."""
    def at(share: Array) -> Array:
        return box_distance(box, a + share[:, None] * (b - a))[0]

    low, high = np.zeros(len(a)), np.ones(len(a))
    left, right = high - GOLDEN, low + GOLDEN
    at_left, at_right = at(left), at(right)
    for _ in range(SEARCHES):
        down = at_left < at_right
        low, high = np.where(down, low, left), np.where(down, right, high)
        probe = np.where(down, high - GOLDEN * (high - low), low + GOLDEN * (high - low))
        value = at(probe)
        left, right, at_left, at_right = (
            np.where(down, probe, right), np.where(down, left, probe), np.where(down, value, at_right), np.where(down, at_left, value),
        )
    best, distance = 0.5 * (low + high), at(0.5 * (low + high))
    for end in (np.zeros(len(a)), np.ones(len(a))):  # the search never reaches the ends themselves
        value = at(end)
        nearer = value < distance - 1e-15
        best, distance = np.where(nearer, end, best), np.where(nearer, value, distance)
    return distance, a + best[:, None] * (b - a)


def _place(tree: KinematicTree, q: Array) -> tuple[Array, Array, Array, Array]:
    """Rotation (j + 1, 3, 3), origin (j + 1, 3) and axis (j, 3) of every moving joint, and its gain (j,); the last row is the root."""
    position, gain = tree.expand(q)
    count = len(tree.joints)
    rotation, origin, axis = np.tile(np.eye(3), (count + 1, 1, 1)), np.zeros((count + 1, 3)), np.zeros((count, 3))
    for j in range(count):
        parent = tree.parent[j]
        frame = rotation[parent] @ tree.rotation[j]
        origin[j] = origin[parent] + rotation[parent] @ tree.offset_m[j]
        axis[j] = frame @ tree.axis[j]
        if tree.prismatic[j]:
            rotation[j], origin[j] = frame, origin[j] + position[j] * axis[j]
            continue
        x, y, z = tree.axis[j]
        cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        rotation[j] = frame @ (np.eye(3) + np.sin(position[j]) * cross + (1.0 - np.cos(position[j])) * cross @ cross)
    return rotation, origin, axis, gain
