# SPDX-License-Identifier: Apache-2.0
"""From our joints and poses to a server's numbers and back; one class per kind of part."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dex_core.bundle.stats import Statistic
from dex_core.config import CellConfig
from dex_core.config.cell import Interface
from dex_core.errors import ConfigError
from dex_core.policy.base import Observation
from dex_core.policy.observation import ObservationRefused, joints_in_order
from dex_core.policy.ranges import RangeCheck
from dex_core.types import POSE_COLUMNS, Array
from dex_policy.foreign.part import Part
from dex_policy.foreign.rotation import FROM_MATRIX, TO_MATRIX


class Columns(Protocol):
    """Neighbouring numbers of a server's vector, as joints of an interface or as its wrist pose.

    Attributes:
        interface: whose; empty: nobody's. space: of what ``write`` gives. names: of its columns, with the side's prefix.
        width: how many numbers the server's side has.
    """

    interface: str
    space: str
    names: tuple[str, ...]
    width: int

    def read(self, observation: Observation) -> Array:
        """(width,) the server's numbers of what is measured. Raises ObservationRefused."""
        ...

    def write(self, values: Array, observation: Observation) -> Array:
        """(T, len(names)) what (T, width) numbers of the server mean. Raises DexError."""
        ...


def measured(observation: Observation, interface: Interface, joints: tuple[str, ...]) -> NDArray[np.float64]:
    """(n,) measured positions of joints named without prefix [rad]. Raises ObservationRefused as ``joints_in_order``, and ``state_stale``."""
    state = observation.joints.get(interface.name)
    if state is None:
        raise ObservationRefused(f"no joint state of {interface.name}", code="state_stale")
    limits = [interface.robot.limits[name] for name in joints]
    wanted = tuple(interface.prefix + name for name in joints)
    return joints_in_order(state, wanted, np.array([m.lower_rad for m in limits]), np.array([m.upper_rad for m in limits]), interface.name)


class JointColumns:
    """Joints, each a straight line between our angle and the server's number: angle = gain * number + offset."""

    space = "joint_position"

    def __init__(self, part: Part, interface: Interface) -> None:
        unknown = [name for name in part.joints if name not in interface.robot.actuated]
        if unknown:
            raise ConfigError(f"{interface.name} has no joint {unknown[0]!r}; it has {list(interface.robot.actuated)}")
        self.interface, self.width, self._of = interface.name, part.width, interface
        self._joints, self._reference = part.joints, part.reference
        self.names = tuple(interface.prefix + name for name in part.joints)
        ones = np.ones(len(part.joints))
        if part.unit == "range":
            low, high = np.array(part.range_rad).T
            first, last = part.value_range
            self._gain = (high - low) / (last - first)
            self._offset = low - self._gain * first
        else:
            unit = (math.pi / 180.0 if part.unit == "deg" else 1.0) * (1.0 if part.scale is None else part.scale)
            self._gain = unit * np.array(part.sign or ones)
            self._offset = np.array(part.zero_rad or 0.0 * ones)

    def read(self, observation: Observation) -> Array:
        """See ``Columns``."""
        return (measured(observation, self._of, self._joints) - self._offset) / self._gain

    def write(self, values: Array, observation: Observation) -> Array:
        """See ``Columns``."""
        if self._reference == "absolute":
            return values * self._gain + self._offset
        steps = values * self._gain
        return measured(observation, self._of, self._joints) + (np.cumsum(steps, axis=0) if self._reference == "delta_to_previous" else steps)


class GripperColumn:
    """A whole hand as one number, on the straight line between an open and a closed posture."""

    space, width = "joint_position", 1

    def __init__(self, part: Part, interface: Interface) -> None:
        if set(part.open_rad) != set(interface.robot.actuated):
            raise ConfigError(f"open_rad names {sorted(part.open_rad)}; {interface.name} has {sorted(interface.robot.actuated)}")
        assert part.open_value is not None and part.closed_value is not None  # the part's own check
        self.interface, self._of, self._joints = interface.name, interface, tuple(interface.robot.actuated)
        self.names = tuple(interface.prefix + name for name in self._joints)
        for posture, angles in (("open_rad", part.open_rad), ("closed_rad", part.closed_rad)):
            for name, angle in angles.items():
                limit = interface.robot.limits[name]
                if not limit.lower_rad <= angle <= limit.upper_rad:
                    raise ConfigError(f"{posture}.{name} is {angle}; allowed {limit.lower_rad} to {limit.upper_rad} rad")
        self._open = np.array([part.open_rad[name] for name in self._joints])
        self._closing = np.array([part.closed_rad[name] for name in self._joints]) - self._open
        self._open_value, self._span = part.open_value, part.closed_value - part.open_value
        self._binary = part.binary

    def read(self, observation: Observation) -> Array:
        """The number of the posture on the line that is nearest to the measured one."""
        apart = measured(observation, self._of, self._joints) - self._open
        share = np.clip(apart @ self._closing / (self._closing @ self._closing), 0.0, 1.0)
        return np.array([self._open_value + share * self._span])

    def write(self, values: Array, observation: Observation) -> Array:
        """See ``Columns``; a number beyond open or closed is the end it is beyond."""
        del observation  # absolute
        share = np.clip((values - self._open_value) / self._span, 0.0, 1.0)  # (T, 1)
        if self._binary:
            share = np.where(share < 0.5, 0.0, 1.0)
        return self._open + share * self._closing


class PoseColumns:
    """The pose in ``world`` of the grasp frame of the hand on an arm."""

    space, names = "wrist_pose", POSE_COLUMNS

    def __init__(self, part: Part, interface: Interface) -> None:
        if interface.robot.kind != "arm":
            raise ConfigError(f"a wrist pose is of an arm; {interface.name} is a {interface.robot.kind}")
        self.interface, self.width = interface.name, part.width
        self._to_matrix, self._from_matrix = TO_MATRIX[part.rotation], FROM_MATRIX[part.rotation]

    def read(self, observation: Observation) -> Array:
        """See ``Columns``."""
        pose = observation.poses.get(self.interface)
        if pose is None:
            raise ObservationRefused(f"no measured pose of the hand on {self.interface}", code="state_stale")
        return np.concatenate([pose[:3, 3], self._from_matrix(pose[:3, :3])])

    def write(self, values: Array, observation: Observation) -> Array:
        """See ``Columns``."""
        del observation  # absolute
        rotation = self._to_matrix(values[:, 3:])  # (T, 3, 3)
        return np.concatenate([values[:, :3], rotation[:, :, 0], rotation[:, :, 1]], axis=1)


class FixedColumns:
    """Numbers that are nobody's: constants of a state, or columns of an action that move nothing."""

    interface, space, names = "", "", ()

    def __init__(self, part: Part) -> None:
        self.width, self._values = part.width, np.array(part.values)

    def read(self, observation: Observation) -> Array:
        """The constants."""
        del observation
        return self._values

    def write(self, values: Array, observation: Observation) -> Array:
        """Nothing."""
        del observation
        return values[:, :0]


_KINDS = {"joints": JointColumns, "gripper": GripperColumn, "wrist_pose": PoseColumns}


def columns_of(part: Part, cell: CellConfig) -> Columns:
    """What runs one part on a cell. Raises ConfigError: no such interface or joint, a posture outside its limits."""
    kind = _KINDS.get(part.of)
    return FixedColumns(part) if kind is None else kind(part, cell.interface(part.interface))


def range_check(part: Part, where: str) -> RangeCheck | None:
    """Check of the server's numbers of one part of an action against its limits."""
    if not part.limits:
        return None
    low, high = (tuple(float(pair[i]) for pair in part.limits) for i in (0, 1))
    zeros = (0.0,) * len(low)
    return RangeCheck(Statistic("none", 1, low, high, zeros, zeros, low, high, (False,) * len(low)), where)
