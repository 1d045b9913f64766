# SPDX-License-Identifier: Apache-2.0
"""What an observation must be before anything is inferred from it: whole, fresh, around one stamp, with something to see."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dex_core.clock import NS
from dex_core.config import PolicyConfig
from dex_core.errors import DexError, JointNameError
from dex_core.images import check_rgb, is_blank
from dex_core.policy.base import Observation, PolicySpec
from dex_core.types import JointState

MAX_FUTURE_S = 0.05
LIMIT_MARGIN_RAD = 0.05


class ObservationRefused(DexError):
    """Nothing is inferred from this observation; ``code`` says why (camera_lost, state_stale, image_blank...)."""

    code = "observation_refused"


def check_observation(observation: Observation, spec: PolicySpec, now_ns: int, config: PolicyConfig) -> None:
    """Completeness, ages against the one stamp, picture sizes and content; of the newest observation and of those before it.

    Args:
        observation: as collected.
        spec: of the policy that will see it.
        now_ns: wall-clock time now [ns].
        config: how old and how far apart its parts may be.

    Raises:
        ObservationRefused: ``camera_lost``, ``state_stale``, ``history_short`` name every part that is missing or late; ``image_shape``,
            ``image_blank``.
    """
    found = [*_late_pictures(observation, spec, config, ""), *_late_states(observation, spec, config, "")]
    first, age_s = next(iter(spec.cameras), ""), (now_ns - observation.stamp_ns) / NS
    limit_s = config.max_age_of(first, config.image_max_age_s)
    if first and not -MAX_FUTURE_S <= age_s <= limit_s:
        text = f"picture of {first} is {age_s * 1e3:.0f} ms old; allowed {-MAX_FUTURE_S * 1e3:.0f} to {limit_s * 1e3:.0f} ms"
        found.insert(0, ("camera_lost", text))
    found += _late_history(observation, spec, config)
    if found:
        raise ObservationRefused("; ".join(text for _, text in found), code=found[0][0])
    for seen in (*observation.past, observation):
        for camera, image_hw in spec.cameras.items():
            check_picture(seen.images[camera], image_hw, camera)


def _late_pictures(observation: Observation, spec: PolicySpec, config: PolicyConfig, when: str) -> Iterator[tuple[str, str]]:
    for camera in spec.cameras:
        if camera not in observation.images:
            yield "camera_lost", f"no picture of {camera} yet{when}"
            continue
        limit_s, apart_s = config.max_age_of(camera, config.image_max_apart_s), abs(observation.image_stamp_ns(camera) - observation.stamp_ns) / NS
        if apart_s > limit_s:
            yield "camera_lost", f"picture of {camera} is {apart_s * 1e3:.0f} ms from the stamp{when}; at most {limit_s * 1e3:.0f} ms is allowed"


def _late_states(observation: Observation, spec: PolicySpec, config: PolicyConfig, when: str) -> Iterator[tuple[str, str]]:
    for interface in spec.joint_interfaces:
        state = observation.joints.get(interface)
        if state is None:
            yield "state_stale", f"no joint state of {interface} yet{when}"
            continue
        limit_s, apart_s = config.max_age_of(interface, config.state_max_age_s), abs(state.stamp_ns - observation.stamp_ns) / NS
        if apart_s > limit_s:
            text = f"joint state of {interface} is {apart_s * 1e3:.0f} ms from the picture{when}; at most {limit_s * 1e3:.0f} ms is allowed"
            yield "state_stale", text


def _late_history(observation: Observation, spec: PolicySpec, config: PolicyConfig) -> Iterator[tuple[str, str]]:
    if len(observation.past) != spec.history - 1:
        yield "history_short", f"{len(observation.past)} observations before this one; the policy sees {spec.history - 1}"
        return
    next_s = 0.0
    for back, before in zip(range(1, spec.history), reversed(observation.past), strict=True):
        wanted_s, back_s = back * spec.history_dt_s, (observation.stamp_ns - before.stamp_ns) / NS
        if abs(back_s - wanted_s) > config.image_max_apart_s:
            text = f"the nearest observation to {wanted_s * 1e3:.0f} ms before is from {back_s * 1e3:.0f} ms before"
            yield "history_short", f"{text}; at most {config.image_max_apart_s * 1e3:.0f} ms off is allowed"
        elif back_s <= next_s:
            yield "history_short", f"one picture, of {back_s * 1e3:.0f} ms before, would stand for two; the camera is too slow or has just begun"
        next_s = back_s
        when = f" {wanted_s * 1e3:.0f} ms before"
        yield from _late_pictures(before, spec, config, when)
        yield from _late_states(before, spec, config, when)


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
