# SPDX-License-Identifier: Apache-2.0
"""What an observation must be before anything is inferred from it: whole, fresh, around one stamp, and not a dead picture."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dex_core.clock import NS
from dex_core.errors import DexError, JointNameError
from dex_core.images import check_rgb, is_blank
from dex_core.policy.base import Observation, PolicySpec
from dex_core.types import JointState

MAX_FUTURE_S = 0.05
FROZEN_MOVE_RAD = 0.05
LIMIT_MARGIN_RAD = 0.05


class ObservationRefused(DexError):
    """Nothing is inferred from this observation; ``code`` says why (camera_lost, state_stale, image_blank...)."""

    code = "observation_refused"


def check_observation(observation: Observation, spec: PolicySpec, now_ns: int, image_max_age_s: float, state_max_age_s: float) -> None:
    """Completeness, ages against the one stamp, picture size and content.

    Args:
        observation: as collected.
        spec: of the policy that will see it.
        now_ns: wall-clock time now [ns].
        image_max_age_s: oldest allowed picture [s].
        state_max_age_s: how far a joint state may be from the picture's stamp [s].

    Raises:
        ObservationRefused: ``camera_lost``, ``image_shape``, ``image_blank``, ``state_stale``.
    """
    age_s = (now_ns - observation.stamp_ns) / NS
    if not -MAX_FUTURE_S <= age_s <= image_max_age_s:
        raise ObservationRefused(
            f"picture is {age_s * 1e3:.0f} ms old; allowed {-MAX_FUTURE_S * 1e3:.0f} to {image_max_age_s * 1e3:.0f} ms", code="camera_lost"
        )
    for camera, image_hw in spec.cameras.items():
        image = observation.images.get(camera)
        if image is None:
            raise ObservationRefused(f"no picture of camera {camera!r} yet", code="camera_lost")
        check_picture(image, image_hw, camera)
    for interface in spec.joint_interfaces:
        state = observation.joints.get(interface)
        if state is None:
            raise ObservationRefused(f"no joint state of {interface} yet", code="state_stale")
        apart_s = abs(state.stamp_ns - observation.stamp_ns) / NS
        if apart_s > state_max_age_s:
            raise ObservationRefused(
                f"joint state of {interface} is {apart_s * 1e3:.0f} ms from the picture; at most {state_max_age_s * 1e3:.0f} ms is allowed",
                code="state_stale",
            )


def check_picture(image: NDArray[np.uint8], image_hw: tuple[int, int], camera: str) -> None:
    """Raises ObservationRefused (``image_shape``, ``image_blank``) for a camera's picture of another size or without content."""
    try:
        check_rgb(image, f"picture of {camera}")
    except DexError as error:
        raise ObservationRefused(str(error), code="image_shape") from error
    if image.shape[:2] != tuple(image_hw):
        raise ObservationRefused(
            f"picture of {camera} is {image.shape[1]} x {image.shape[0]}, the policy was trained with {image_hw[1]} x {image_hw[0]}",
            code="image_shape",
        )
    if is_blank(image):
        raise ObservationRefused(f"picture of {camera} is blank: all pixels are near {float(image.mean()):.0f}", code="image_blank")


def joints_in_order(state: JointState, names: tuple[str, ...], lower_rad: NDArray, upper_rad: NDArray, interface: str) -> NDArray[np.float64]:
    """(n,) measured positions [rad] in the order of ``names``; each within its limits and 0.05 rad.

    Raises:
        ObservationRefused: ``joint_names`` or ``joint_limits``.
    """
    position = {name: value for name, value in zip(state.names, state.position_rad, strict=False)}
    if set(names) - set(position) or len(position) != len(state.names):
        raise ObservationRefused(str(JointNameError(f"joint state of {interface}", state.names, names)), code="joint_names")
    q = np.array([position[n] for n in names])
    over = np.maximum(lower_rad - q, q - upper_rad)
    worst = int(np.argmax(over))
    if over[worst] > LIMIT_MARGIN_RAD:
        raise ObservationRefused(
            f"{names[worst]} is measured at {q[worst]:.3f} rad; limits {lower_rad[worst]:.3f} to {upper_rad[worst]:.3f} rad "
            f"and {LIMIT_MARGIN_RAD} rad margin",
            code="joint_limits",
        )
    return q


class StateHistory:
    """A short memory of one interface's joint states; gives the one nearest to a stamp.

    Args:
        depth: how many states are kept.
    """

    def __init__(self, depth: int = 64) -> None:
        self._states: deque[JointState] = deque(maxlen=depth)

    def add(self, state: JointState) -> None:
        """Keeps a state; stamps may come out of order."""
        self._states.append(state)

    def nearest(self, stamp_ns: int) -> JointState | None:
        """The state measured nearest to ``stamp_ns``, or None when there is none."""
        return min(self._states, key=lambda s: abs(s.stamp_ns - stamp_ns), default=None)

    def newest(self) -> JointState | None:
        """The state with the latest stamp, or None."""
        return max(self._states, key=lambda s: s.stamp_ns, default=None)


class FrozenPictureGuard:
    """Tells a frozen camera: the very same pixels although an arm moved by more than 0.05 rad since they first came."""

    def __init__(self) -> None:
        self._image: NDArray[np.uint8] | None = None
        self._joints: dict[str, NDArray[np.float64]] = {}

    def reset(self) -> None:
        """Forgets the picture."""
        self._image = None

    def check(self, image: NDArray[np.uint8], joints: Mapping[str, JointState]) -> None:
        """Raises ObservationRefused ``camera_frozen``."""
        arms = {k: s.position_rad for k, s in joints.items() if k.endswith("_arm")}
        if self._image is None or not np.array_equal(image, self._image):
            self._image, self._joints = image, arms
            return
        for interface, position in arms.items():
            before = self._joints.get(interface)
            if before is not None and before.shape == position.shape and np.abs(position - before).max() > FROZEN_MOVE_RAD:
                raise ObservationRefused(
                    f"the picture has not changed by one pixel while {interface} moved {np.abs(position - before).max():.2f} rad",
                    code="camera_frozen",
                )
