# SPDX-License-Identifier: Apache-2.0
"""Values that travel between the stages. Immutable all the way down: frozen, with read-only arrays."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.errors import JointNameError, NonFiniteError, ShapeError

SPACES = ("joint_position", "latent", "wrist_pose", "fingertip_position", "token", "point_pair")
POSE_COLUMNS = ("x", "y", "z", "r00", "r10", "r20", "r01", "r11", "r21")
"""Columns of a ``wrist_pose`` slice: position [m], then the first and the second column of the rotation matrix; ``r10`` is row 1, column 0."""
Array = NDArray[np.float64]


def frozen_array(values: ArrayLike, shape: tuple[int | None, ...], where: str, *, finite: bool = True, dtype: type = np.float64) -> NDArray:
    """Copies ``values`` into a read-only array and checks it.

    Args:
        values: anything NumPy takes.
        shape: expected shape; ``None`` accepts any length on that axis.
        where: what the array is, for the error text.
        finite: refuse NaN and infinity.
        dtype: element type.

    Raises:
        ShapeError: other rank or length.
        NonFiniteError: a NaN or infinity, with its place.
    """
    out = np.array(values, dtype=dtype)
    if out.ndim != len(shape) or any(want is not None and want != have for want, have in zip(shape, out.shape, strict=True)):
        raise ShapeError(f"{where}: shape {out.shape}, expected {tuple('any' if s is None else s for s in shape)}")
    if finite and not np.isfinite(out).all():
        bad = tuple(int(i) for i in np.argwhere(~np.isfinite(out))[0])
        raise NonFiniteError(f"{where}: {out[bad]} at index {bad}; every number must be finite")
    out.setflags(write=False)
    return out


def index_map(names_from: tuple[str, ...] | list[str], names_to: tuple[str, ...] | list[str], where: str) -> NDArray[np.intp]:
    """``idx`` such that ``values_from[idx]`` is in the order of ``names_to``; both must hold the same names, once each.

    Raises:
        JointNameError: a name is missing, unknown or repeated.
    """
    if len(names_from) != len(names_to) or set(names_from) != set(names_to) or len(set(names_from)) != len(names_from):
        raise JointNameError(where, names_from, names_to)
    position = {name: i for i, name in enumerate(names_from)}
    return np.array([position[name] for name in names_to], dtype=np.intp)


@dataclass(frozen=True)
class JointState:
    """Measured joints of one device or of the whole cell.

    Attributes:
        names: joint names, with the side's prefix.
        position_rad: (n,) [rad].
        velocity_rad_s: (n,) [rad/s].
        effort: (n,) [N m], or NaN where the device reports none.
        stamp_ns: wall-clock time of the measurement [ns].
    """

    names: tuple[str, ...]
    position_rad: Array
    velocity_rad_s: Array
    effort: Array
    stamp_ns: int

    def __post_init__(self) -> None:
        n = len(self.names)
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "position_rad", frozen_array(self.position_rad, (n,), "joint state position"))
        object.__setattr__(self, "velocity_rad_s", frozen_array(self.velocity_rad_s, (n,), "joint state velocity"))
        object.__setattr__(self, "effort", frozen_array(self.effort, (n,), "joint state effort", finite=False))


@dataclass(frozen=True)
class ActionSlice:
    """One named slice of a chunk, (T, cols) numbers in one action space. Finite by construction.

    Attributes:
        interface: what it moves, e.g. ``left_arm``.
        space: one of ``SPACES``.
        data: (T, cols).
        names: column names (joint names for ``joint_position``, ``POSE_COLUMNS`` for ``wrist_pose``).
        frame_id: frame of Cartesian spaces.
        space_hash: sha256 of the decoder graph a latent was made for.
        residual_m: (T,) or empty: what decoding could not reach [m].
    """

    interface: str
    space: str
    data: Array
    names: tuple[str, ...] = ()
    frame_id: str = ""
    space_hash: str = ""
    residual_m: Array = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        where = f"slice {self.interface!r}"
        if self.space not in SPACES:
            raise ShapeError(f"{where}: unknown action space {self.space!r}; allowed: {SPACES}")
        object.__setattr__(self, "names", tuple(self.names))
        cols = len(self.names) if self.names else None
        object.__setattr__(self, "data", frozen_array(self.data, (None, cols), where))
        object.__setattr__(self, "residual_m", frozen_array(self.residual_m, (None,), f"{where} residual"))
        if self.space == "joint_position" and len(set(self.names)) != self.data.shape[1]:
            raise JointNameError(where, self.names, self.names or ("one name per column",))

    @property
    def steps(self) -> int:
        """T, the number of steps."""
        return int(self.data.shape[0])


@dataclass(frozen=True)
class ActionChunk:
    """T future steps for several interfaces. Action k is for ``stamp_ns + (first_action_offset + k) * dt_s``.

    Attributes:
        stamp_ns: wall-clock stamp of the observation it was computed from [ns].
        goal_id: goal it belongs to.
        sequence: grows by one per chunk of a goal.
        dt_s: step [s].
        first_action_offset: steps from the stamp to action 0.
        slices: at least one; all with the same number of steps.
        bundle_hash: which model made it.
        timing_ns: stage name -> wall-clock time [ns], the fields of ChunkTiming.
        observation_digest, stream_digests: of the observation and of its parts, see ``dex_core.policy.digest``; 0 and none where not known.
    """

    stamp_ns: int
    goal_id: str
    sequence: int
    dt_s: float
    first_action_offset: float
    slices: tuple[ActionSlice, ...]
    bundle_hash: str = ""
    timing_ns: dict[str, int] = field(default_factory=dict)
    observation_digest: int = 0
    stream_digests: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "slices", tuple(self.slices))
        if not 1e-4 <= self.dt_s <= 10.0:
            raise ShapeError(f"chunk dt_s is {self.dt_s}; allowed 0.0001 to 10 s")
        if not -1e3 <= self.first_action_offset <= 1e3:
            raise ShapeError(f"chunk first_action_offset is {self.first_action_offset}; allowed -1000 to 1000 steps")
        if not self.slices:
            raise ShapeError("chunk has no slice")
        lengths = {s.interface: s.steps for s in self.slices}
        if len(lengths) != len(self.slices):
            raise ShapeError(f"chunk names an interface twice: {[s.interface for s in self.slices]}")
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise ShapeError(f"chunk slices must have the same number of steps, at least one: {lengths}")

    @property
    def steps(self) -> int:
        """T, the number of steps."""
        return self.slices[0].steps

    def slice_of(self, interface: str) -> ActionSlice | None:
        """The slice of an interface, or None."""
        return next((s for s in self.slices if s.interface == interface), None)

    def time_of_step_ns(self, k: float) -> int:
        """Wall-clock time that step ``k`` is for [ns]."""
        return self.stamp_ns + round((self.first_action_offset + k) * self.dt_s * 1e9)
