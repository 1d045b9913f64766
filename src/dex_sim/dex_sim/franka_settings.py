# SPDX-License-Identifier: Apache-2.0
"""What a client may set on a simulated Franka: frames, load, collision thresholds. They show in its states where the interface has a place."""

from __future__ import annotations

import numpy as np

from dex_sim.franka_wire import Command, Request, SetterStatus

FIRST_THRESHOLD_NM = 20.0


class FrankaSettings:
    """Settings of one controller, as after power-on.

    Args:
        state: the state that is sent (one record of ``franka_wire.STATE``), to write into.

    Attributes:
        torque_thresholds: (4, 7) lower and upper while accelerating, lower and upper otherwise [N m].
    """

    def __init__(self, state: np.void) -> None:
        self._state = state
        self.torque_thresholds = np.full((4, 7), FIRST_THRESHOLD_NM)
        for key in ("F_T_EE", "EE_T_K", "F_T_NE", "NE_T_EE"):
            state[key] = np.eye(4).ravel()

    def apply(self, request: Request) -> SetterStatus:
        """Obeys a setter, or refuses numbers that make no sense. Impedances are checked and change nothing."""
        numbers, state = request.doubles(), self._state
        if not np.isfinite(numbers).all():
            return SetterStatus.INVALID_ARGUMENT
        if request.command in (Command.SET_EE_TO_K, Command.SET_NE_TO_EE):
            rotation = numbers.reshape(4, 4, order="F")[:3, :3]
            if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-5):
                return SetterStatus.INVALID_ARGUMENT
            state["EE_T_K" if request.command is Command.SET_EE_TO_K else "NE_T_EE"] = numbers
            state["F_T_EE"] = self.tool().T.ravel()
        elif request.command is Command.SET_LOAD:
            if numbers[0] < 0.0:
                return SetterStatus.INVALID_ARGUMENT
            state["m_load"], state["F_x_Cload"], state["I_load"] = numbers[0], numbers[1:4], numbers[4:]
        elif (numbers < 0.0).any():
            return SetterStatus.INVALID_ARGUMENT
        elif request.command is Command.SET_COLLISION_BEHAVIOR:
            self.torque_thresholds = numbers[:28].reshape(4, 7).copy()
        return SetterStatus.SUCCESS

    def tool(self) -> np.ndarray:
        """(4, 4) pose of the end effector in the flange."""
        flange_to_nominal, nominal_to_tool = (np.array(self._state[key], dtype=float).reshape(4, 4, order="F") for key in ("F_T_NE", "NE_T_EE"))
        return flange_to_nominal @ nominal_to_tool
