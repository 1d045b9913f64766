# SPDX-License-Identifier: Apache-2.0
"""Where every link of a cell is, by forward kinematics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.config import CellConfig
from dex_core.kinematics.chain import RobotKinematics
from dex_description import compose_cell_urdf


class CellKinematics(RobotKinematics):
    """All robots of a cell as one tree; ``q`` is in the order of ``cell.joint_names`` [rad or m]."""

    def __init__(self, cell: CellConfig) -> None:
        super().__init__(compose_cell_urdf(cell), cell.joint_names)

    def poses(self, q: ArrayLike, links: Sequence[str]) -> NDArray[np.float64]:
        """(k, 4, 4) poses of ``links`` in the world. Raises ConfigError when there is no such link."""
        self._update(q)
        return np.array([self._data.oMf[self._frame(link)].homogeneous for link in links]).reshape(-1, 4, 4)
