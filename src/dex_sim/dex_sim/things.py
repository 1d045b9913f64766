# SPDX-License-Identifier: Apache-2.0
"""The objects of a world: those of the present task on the table, the others put away, weightless and untouchable."""
from __future__ import annotations

from collections.abc import Collection, Mapping

import mujoco
import numpy as np
from numpy.typing import NDArray

from dex_core.config import ObjectConfig, TaskConfig
from dex_sim.objects import PARK_M, PARK_STEP_M
from dex_sim.scene import place_objects

Vector = NDArray[np.float64]
LYING_YAW_RAD, YAW_SPREAD_RAD = 0.5 * np.pi, 0.5
"""A fruit lies across the table's x axis, give or take."""


class Things:
    """The free bodies of one model.

    Args:
        model: with a free body per object; its contact and gravity switches are this object's to set.
        configs: every object of the model.
    """

    def __init__(self, model: mujoco.MjModel, configs: Mapping[str, ObjectConfig]) -> None:
        self._model, self.configs = model, dict(configs)
        self._bodies = {name: int(model.body(name).id) for name in configs}
        self._qpos = {name: int(model.joint(name).qposadr[0]) for name in configs}
        self._qvel = {name: int(model.joint(name).dofadr[0]) for name in configs}
        self._geoms = {name: np.flatnonzero(model.geom_bodyid == body) for name, body in self._bodies.items()}
        self._masks = (model.geom_contype.copy(), model.geom_conaffinity.copy(), model.body_contype.copy(), model.body_conaffinity.copy())
        links = np.ones(model.nbody, dtype=bool)
        links[[0, *self._bodies.values()]] = False
        self._is_link = links

    @staticmethod
    def draw(task: TaskConfig, rng: np.random.Generator, own: np.random.Generator) -> dict[str, Vector]:
        """Object of ``task`` -> (x, y, yaw) [m, rad]: places from ``rng``, the lie of fruits from ``own``."""
        spots = place_objects(task, rng)
        fruits = task.of_kind("fruit")
        yaws = {name: LYING_YAW_RAD + own.uniform(-YAW_SPREAD_RAD, YAW_SPREAD_RAD) if name in fruits else 0.0 for name in spots}
        return {name: np.array([*spot, yaws[name]]) for name, spot in spots.items()}

    def lay_out(self, data: mujoco.MjData, spots: Mapping[str, Vector]) -> None:
        """Puts the named objects at their (x, y, yaw) on the table and all others away."""
        for number, name in enumerate(self.configs):
            here = name in spots
            self._switch(name, here)
            if here:
                self.put(data, name, spots[name])
            else:
                self._set(data, name, np.array([PARK_M[0], PARK_M[1] + PARK_STEP_M * number, PARK_M[2]]), 0.0)

    def put(self, data: mujoco.MjData, name: str, spot: Vector) -> None:
        """Sets one object at rest on the table at (x, y) or (x, y, yaw)."""
        self._set(data, name, np.array([spot[0], spot[1], 0.5 * self.configs[name].size_m[2]]), float(spot[2]) if len(spot) > 2 else 0.0)

    def poses(self, data: mujoco.MjData, names: Collection[str]) -> dict[str, Vector]:
        """Object -> (7,) position [m] and quaternion w, x, y, z."""
        return {name: data.qpos[self._qpos[name] : self._qpos[name] + 7].copy() for name in names}

    def speeds(self, data: mujoco.MjData, names: Collection[str]) -> dict[str, float]:
        """Object -> speed of its middle [m/s]."""
        return {name: float(np.linalg.norm(data.qvel[self._qvel[name] : self._qvel[name] + 3])) for name in names}

    def touched(self, data: mujoco.MjData, names: Collection[str]) -> frozenset[str]:
        """Those of ``names`` that a robot's link touches."""
        if not data.ncon:
            return frozenset()
        pairs = self._model.geom_bodyid[data.contact.geom[: data.ncon]]
        by_link = set(pairs[self._is_link[pairs].any(axis=1)].ravel().tolist())
        return frozenset(name for name in names if self._bodies[name] in by_link)

    def _set(self, data: mujoco.MjData, name: str, position: Vector, yaw: float) -> None:
        address, velocity = self._qpos[name], self._qvel[name]
        data.qpos[address : address + 7] = [*position, np.cos(0.5 * yaw), 0.0, 0.0, np.sin(0.5 * yaw)]
        data.qvel[velocity : velocity + 6] = 0.0

    def _switch(self, name: str, here: bool) -> None:
        """Contacts and weight of one object on or off."""
        model, body, geoms = self._model, self._bodies[name], self._geoms[name]
        geom_type, geom_affinity, body_type, body_affinity = self._masks
        model.geom_contype[geoms] = geom_type[geoms] if here else 0
        model.geom_conaffinity[geoms] = geom_affinity[geoms] if here else 0
        model.body_contype[body] = body_type[body] if here else 0
        model.body_conaffinity[body] = body_affinity[body] if here else 0
        model.body_gravcomp[body] = 0.0 if here else 1.0
