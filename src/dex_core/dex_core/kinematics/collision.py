# SPDX-License-Identifier: Apache-2.0
"""Distances between everything that can touch in a robot or a whole cell, with gradients: ``CollisionModel(urdf_text).query(q)``."""
from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dex_core.config.robot import Coupling
from dex_core.errors import ConfigError, NonFiniteError, ShapeError
from dex_core.kinematics.collision_kernel import CompiledCollision
from dex_core.kinematics.collision_numpy import NumpyCollision
from dex_core.kinematics.collision_shapes import Shapes, read_shapes
from dex_core.kinematics.kernel import kernel
from dex_core.kinematics.tree import MOVING, KinematicTree
from dex_core.types import Array

ENGINES = ("", "numpy")
ALWAYS = 0.95
"""Pairs that touch in this share of sampled postures do so by construction."""
SAMPLES = 200


class Nearest(NamedTuple):
    """The nearest two links.

    Attributes:
        distance_m: between their surfaces; negative where they overlap; infinite where no pair is left.
        links: their names; empty where no pair is left.
        points_m: (2, 3) nearest points of the two surfaces in the root frame.
        gradient: (n,) derivative of the distance by the joints [m/rad].
    """

    distance_m: float
    links: tuple[str, ...]
    points_m: Array
    gradient: Array


class CheckedTrack(NamedTuple):
    """Distances along T postures.

    Attributes:
        distance_m: (T,). links: (T,) pairs of names.
        worst_step: where it is nearest; -1 for an empty track.
    """

    distance_m: Array
    links: tuple[tuple[str, ...], ...]
    worst_step: int

    @property
    def worst(self) -> tuple[float, tuple[str, ...]]:
        """Smallest distance of all and its links; infinite and empty for an empty track."""
        return (np.inf, ()) if self.worst_step < 0 else (float(self.distance_m[self.worst_step]), self.links[self.worst_step])


class CollisionModel:
    """Capsules of the moving links and boxes of the still ones, made from the collision shapes of a URDF. One thread at a time.

    Never compared: links that do not move against each other, links that one joint joins, and links that touch in nearly all of a
    fixed set of sampled postures, or in ``rest_rad``.

    Args:
        urdf_text: of a robot or a whole cell; primitives only.
        names: its actuated joints in the order of every ``q``; None: those of the URDF in its order.
        couplings: as in RobotKinematics.
        parts: link -> name of the part that begins there and ends where another begins, e.g. ``{"left_base": "left_hand"}``;
            links above all of them are of the part ``""``.
        skip: pairs of parts not to compare, e.g. ``[("left_hand", "left_hand")]``.
        ignore: pairs of links not to compare.
        rest_rad: (n,) a posture known to touch nothing that matters.
        engine: empty for the compiled kernel where there is one, or ``numpy``.

    Attributes:
        names: actuated joints. links: that can touch. parts: link -> part.
        pairs: names of the links compared. ignored: names of those left out for touching always.

    Raises:
        ConfigError: a mesh, an unknown link or part.
    """

    def __init__(
        self, urdf_text: str, names: Sequence[str] | None = None, *, couplings: Mapping[str, Coupling] | None = None,
        parts: Mapping[str, str] | None = None, skip: Iterable[tuple[str, str]] = (), ignore: Iterable[tuple[str, str]] = (),
        rest_rad: ArrayLike | None = None, engine: str = "",
    ) -> None:
        if engine not in ENGINES:
            raise ConfigError(f"engine is {engine!r}; allowed: {list(ENGINES)}")
        self._tree = KinematicTree(urdf_text, _actuated(urdf_text, couplings) if names is None else names, couplings)
        self.names = self._tree.names
        self._library = None if engine else kernel()
        self.compiled = self._library is not None
        self._shapes = read_shapes(urdf_text, self._tree)
        self.links = self._shapes.links
        self.parts = _parts(urdf_text, self.links, parts or {})
        pairs = _candidates(self._shapes, self.parts, {frozenset(p) for p in skip}, {frozenset(p) for p in ignore})
        always = self._touch_always(pairs, rest_rad)
        self.ignored = tuple((self.links[a], self.links[b]) for a, b in pairs[always])
        pairs = pairs[~always]
        self.pairs = tuple((self.links[a], self.links[b]) for a, b in pairs)
        between = [tuple(sorted((self.parts[a], self.parts[b]))) for a, b in self.pairs]
        self._between = tuple(sorted(set(between)))
        self._all = self._engine(np.column_stack([pairs, np.zeros(len(pairs), dtype=int)]), 1)
        self._by_part = self._engine(np.column_stack([pairs, [self._between.index(b) for b in between]]), max(1, len(self._between)))

    def query(self, q: ArrayLike) -> Nearest:
        """The smallest distance at ``q`` (n,) [rad]. Raises ShapeError, NonFiniteError."""
        distance, links, points, gradient = self._all.query(self._checked(q, (len(self.names),)))
        return self._nearest(0, distance, links, points, gradient)

    def query_parts(self, q: ArrayLike) -> dict[tuple[str, str], Nearest]:
        """The smallest distance between every two parts, the two names in order."""
        found = self._by_part.query(self._checked(q, (len(self.names),)))
        return {between: self._nearest(number, *found) for number, between in enumerate(self._between)}

    def check_chunk(self, q: ArrayLike) -> CheckedTrack:
        """Distances along ``q`` (T, n) [rad]."""
        postures = self._checked(q, (None, len(self.names)))
        if not len(postures):
            return CheckedTrack(np.zeros(0), (), -1)
        distance, links = self._all.chunk(postures)
        return CheckedTrack(distance, tuple(self._names_of(pair) for pair in links.tolist()), int(np.argmin(distance)))

    def _nearest(self, number: int, distance: Array, links: np.ndarray, points: Array, gradient: Array) -> Nearest:
        return Nearest(float(distance[number]), self._names_of(links[number].tolist()), points[number].copy(), gradient[number].copy())

    def _names_of(self, pair: Sequence[int]) -> tuple[str, ...]:
        return () if pair[0] < 0 else (self.links[pair[0]], self.links[pair[1]])

    def _engine(self, pairs: np.ndarray, classes: int) -> CompiledCollision | NumpyCollision:
        if self._library is None:
            return NumpyCollision(self._tree, self._shapes, pairs, classes)
        return CompiledCollision(self._library, self._tree, self._shapes, pairs, classes)

    def _touch_always(self, pairs: np.ndarray, rest_rad: ArrayLike | None) -> np.ndarray:
        engine = self._engine(np.column_stack([pairs, np.zeros(len(pairs), dtype=int)]), 1)
        lower, upper = np.maximum(self._tree.lower_rad, -np.pi), np.minimum(self._tree.upper_rad, np.pi)
        samples = np.random.default_rng(0).uniform(lower, upper, (SAMPLES, len(lower)))
        always = np.mean([engine.pairs(q) < 0.0 for q in samples], axis=0) >= ALWAYS
        if rest_rad is not None:
            always |= engine.pairs(self._checked(rest_rad, (len(self.names),))) < 0.0
        return always

    @staticmethod
    def _checked(q: ArrayLike, shape: tuple[int | None, ...]) -> Array:
        values = np.asarray(q, dtype=float)
        if values.ndim != len(shape) or any(want is not None and want != have for want, have in zip(shape, values.shape, strict=True)):
            raise ShapeError(f"joint positions: shape {values.shape}, expected {tuple('any' if s is None else s for s in shape)}")
        if not np.isfinite(values).all():
            bad = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
            raise NonFiniteError(f"joint positions: {values[bad]} at index {bad}; every number must be finite")
        return values


def _actuated(urdf_text: str, couplings: Mapping[str, Coupling] | None) -> list[str]:
    try:
        joints = ElementTree.fromstring(urdf_text).findall("joint")
    except ElementTree.ParseError as error:
        raise ConfigError(f"the URDF cannot be read: {error}") from error
    return [j.get("name") for j in joints if j.get("type") in MOVING and j.find("mimic") is None and j.get("name") not in (couplings or {})]


def _parts(urdf_text: str, links: Sequence[str], beginnings: Mapping[str, str]) -> dict[str, str]:
    robot = ElementTree.fromstring(urdf_text)
    parent = {joint.find("child").get("link"): joint.find("parent").get("link") for joint in robot.findall("joint")}
    unknown = sorted(set(beginnings) - {link.get("name") for link in robot.findall("link")})
    if unknown:
        raise ConfigError(f"part {beginnings[unknown[0]]!r} begins at {unknown[0]!r}, which the URDF does not have")
    found = {}
    for name in links:
        at: str | None = name
        while at is not None and at not in beginnings:
            at = parent.get(at)
        found[name] = "" if at is None else beginnings[at]
    return found


def _candidates(shapes: Shapes, parts: Mapping[str, str], skip: set[frozenset[str]], ignore: set[frozenset[str]]) -> np.ndarray:
    """(p, 2) links worth comparing."""
    for what, given, known in (("part", skip, set(parts.values())), ("link", ignore, set(shapes.links))):
        names = {name for pair in given for name in pair}
        if names - known:
            raise ConfigError(f"{what} {sorted(names - known)[0]!r} is not known; there are {sorted(known)}")
    links = shapes.links
    pairs = [
        (a, b) for a in range(len(links)) for b in range(a + 1, len(links)) if (a, b) not in shapes.neighbours
        and frozenset((parts[links[a]], parts[links[b]])) not in skip and frozenset((links[a], links[b])) not in ignore
    ]
    return np.array(pairs, dtype=int).reshape(-1, 2)
