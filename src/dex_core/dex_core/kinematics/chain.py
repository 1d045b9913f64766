# SPDX-License-Identifier: Apache-2.0
"""Forward kinematics and Jacobians of one robot, joints and frames by name, couplings folded in."""
from __future__ import annotations

import numpy as np
import pinocchio as pin
from numpy.typing import ArrayLike, NDArray

from dex_core.errors import ConfigError, JointNameError
from dex_core.types import frozen_array

Array = NDArray[np.float64]


class RobotKinematics:
    """Kinematics of a URDF whose coupled (mimic) joints follow actuated ones.

    Every ``q`` is (n,) rad in the order of ``names``; every pose is in the URDF's root frame.
    One thread at a time: pinocchio's work space belongs to the object.

    Args:
        urdf_text: the URDF itself, not its path.
        names: actuated joints in the caller's order, usually the hardware's.

    Attributes:
        names: the same, as a tuple.
        lower_rad, upper_rad: (n,) position limits of the URDF, read-only.
    """

    def __init__(self, urdf_text: str, names: tuple[str, ...] | list[str]) -> None:
        try:
            self._model = pin.buildModelFromXML(urdf_text, mimic=True)
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"the URDF cannot be loaded: {error}") from error
        self.names = tuple(names)
        moving = [n for j, n in enumerate(self._model.names) if j > 0 and self._model.joints[j].nq > 0]
        if set(moving) != set(self.names) or len(moving) != len(self.names):
            raise JointNameError("kinematics", self.names, moving)
        self._data = self._model.createData()
        columns = [self._model.joints[self._model.getJointId(name)].idx_q for name in self.names]
        self._idx_model = np.array(columns, dtype=np.intp)
        n = len(self.names)
        self.lower_rad = frozen_array(self._model.lowerPositionLimit[self._idx_model], (n,), "lower limits")
        self.upper_rad = frozen_array(self._model.upperPositionLimit[self._idx_model], (n,), "upper limits")
        self._frames = {frame.name: i for i, frame in enumerate(self._model.frames)}

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
        full = pin.computeFrameJacobian(
            self._model, self._data, self._to_model(q), index, pin.ReferenceFrame.LOCAL_WORLD_ALIGNED
        )
        return full[:, self._idx_model]

    def clip(self, q: ArrayLike) -> Array:
        """(n,) ``q`` moved inside the limits."""
        return np.clip(np.asarray(q, dtype=float), self.lower_rad, self.upper_rad)

    def _update(self, q: ArrayLike) -> None:
        pin.framesForwardKinematics(self._model, self._data, self._to_model(q))

    def _to_model(self, q: ArrayLike) -> Array:
        checked = frozen_array(q, (len(self.names),), "joint positions")
        ordered = np.empty(len(self.names))
        ordered[self._idx_model] = checked
        return ordered

    def _frame(self, name: str) -> int:
        if name not in self._frames:
            raise ConfigError(f"the URDF has no frame {name!r}; it has {', '.join(self._frames)}")
        return self._frames[name]
