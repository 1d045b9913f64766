# SPDX-License-Identifier: Apache-2.0
"""Forward kinematics and Jacobians of one robot, joints and frames by name, couplings folded in."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pinocchio as pin
from numpy.typing import ArrayLike, NDArray

from dex_core.config.robot import Coupling
from dex_core.errors import ConfigError
from dex_core.kinematics.tree import KinematicTree
from dex_core.types import frozen_array

Array = NDArray[np.float64]


class RobotKinematics:
    """Kinematics of a URDF whose coupled joints follow actuated ones, on Pinocchio.

    Every ``q`` is (n,) rad in the order of ``names``; every pose is in the URDF's root frame.
    One thread at a time: pinocchio's work space belongs to the object.

    Args:
        urdf_text: the URDF itself, not its path.
        names: actuated joints in the caller's order, usually the hardware's.
        couplings: joint that follows -> how, in place of the URDF's mimic.
        locked_rad: joint that stands still -> where; such joints are in no column.

    Attributes:
        names: the same, as a tuple.
        tree: the same robot as arrays, for the compiled kernel.
        lower_rad, upper_rad: (n,) position limits, read-only.
    """

    def __init__(
        self, urdf_text: str, names: Sequence[str], couplings: Mapping[str, Coupling] | None = None,
        locked_rad: Mapping[str, float] | None = None,
    ) -> None:
        self.names = tuple(names)
        self.tree = KinematicTree(urdf_text, self.names, couplings, locked_rad)
        try:
            self._model = pin.buildModelFromXML(urdf_text)
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"the URDF cannot be loaded: {error}") from error
        self._data = self._model.createData()
        self._idx_q, self._idx_v = (np.array(list(c), dtype=np.intp) for c in zip(*map(self._index, self.tree.joints), strict=True))
        self._base_q = pin.neutral(self._model)
        for name, value in (locked_rad or {}).items():
            self._base_q[self._index(name)[0]] = value
        n = len(self.names)
        self.lower_rad = frozen_array(self.tree.lower_rad, (n,), "lower limits")
        self.upper_rad = frozen_array(self.tree.upper_rad, (n,), "upper limits")
        self._frames = {frame.name: i for i, frame in enumerate(self._model.frames)}

    def limit(self, lower_rad: ArrayLike, upper_rad: ArrayLike) -> None:
        """Narrows the limits to what also lies inside these, (n,) each in the order of ``names``."""
        n = len(self.names)
        self.lower_rad = frozen_array(np.maximum(self.lower_rad, lower_rad), (n,), "lower limits")
        self.upper_rad = frozen_array(np.minimum(self.upper_rad, upper_rad), (n,), "upper limits")
        for name, low, high in zip(self.names, self.lower_rad, self.upper_rad, strict=True):
            if not low < high:
                raise ConfigError(f"joint {name!r} has no range left: {low} to {high} rad")

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of all frames of the URDF."""
        return tuple(self._frames)

    def pose(self, q: ArrayLike, frame: str) -> Array:
        """(4, 4) homogeneous transform of ``frame`` in the root frame."""
        self._update(q)
        return self._data.oMf[self._frame(frame)].homogeneous.copy()

    def positions(self, q: ArrayLike, frames: tuple[str, ...]) -> Array:
        """(k, 3) origins of ``frames`` in the root frame in m."""
        self._update(q)
        return np.array([self._data.oMf[self._frame(frame)].translation for frame in frames])

    def jacobian(self, q: ArrayLike, frame: str) -> Array:
        """(6, n) linear (m/rad) then angular (rad/rad) Jacobian of ``frame``, axes of the root frame."""
        index = self._frame(frame)
        model_q, gain = self._to_model(q)
        full = pin.computeFrameJacobian(self._model, self._data, model_q, index, pin.ReferenceFrame.LOCAL_WORLD_ALIGNED)
        return self._fold(full, gain)

    def clip(self, q: ArrayLike) -> Array:
        """(n,) ``q`` moved inside the limits."""
        return np.clip(np.asarray(q, dtype=float), self.lower_rad, self.upper_rad)

    def _update(self, q: ArrayLike) -> None:
        pin.framesForwardKinematics(self._model, self._data, self._to_model(q)[0])

    def _to_model(self, q: ArrayLike) -> tuple[Array, Array]:
        """All of Pinocchio's coordinates, and the derivative of each moving joint by its actuated one."""
        checked = frozen_array(q, (len(self.names),), "joint positions")
        position, gain = self.tree.expand(checked)
        ordered = self._base_q.copy()
        ordered[self._idx_q] = position
        return ordered, gain

    def _fold(self, full: Array, gain: Array) -> Array:
        """(r, nv) by Pinocchio's coordinates -> (r, n) by the actuated joints."""
        folded = np.zeros((len(self.names), full.shape[0]))
        np.add.at(folded, self.tree.actuated, (full[:, self._idx_v] * gain).T)
        return folded.T

    def _index(self, joint: str) -> tuple[int, int]:
        found = self._model.joints[self._model.getJointId(joint)]
        if found.nq != 1:
            raise ConfigError(f"joint {joint!r} is continuous; give it limits: angles are one number each here")
        return found.idx_q, found.idx_v

    def _frame(self, name: str) -> int:
        if name not in self._frames:
            raise ConfigError(f"the URDF has no frame {name!r}; it has {', '.join(self._frames)}")
        return self._frames[name]
