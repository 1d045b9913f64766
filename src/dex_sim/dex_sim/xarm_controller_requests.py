# SPDX-License-Identifier: Apache-2.0
"""Parameters of the xArm controller's requests, read with their checks, and what is remembered of a client."""

from __future__ import annotations

import math
from collections.abc import Callable

from dex_sim import xarm_controller_wire as wire
from dex_sim.xarm_controller_kinematics import JOINT_RANGES_RAD
from dex_sim.xarm_controller_wire import Request

ALL_JOINTS = 0x7F
RANGE_TOLERANCE_RAD = math.radians(0.1)


class InvalidRequest(Exception):
    """The function is unknown to this simulator or its parameters are too short."""


class ClientSession:
    """What the controller remembers of one connection to port 502."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self.send = send
        self.feedback_mask = 0


def read_bytes(request: Request, count: int) -> bytes:
    """The first ``count`` parameter bytes. Raises InvalidRequest."""
    if len(request.params) < count:
        raise InvalidRequest
    return request.params[:count]


def read_numbers(request: Request, count: int, offset: int = 0) -> tuple[float, ...]:
    """``count`` floats from byte ``offset`` of the parameters. Raises InvalidRequest."""
    numbers = wire.read_floats(request.params[offset:], count)
    if numbers is None:
        raise InvalidRequest
    return numbers


def out_of_range(joints_rad: tuple[float, ...]) -> bool:
    """Whether one of seven joints lies outside the controller's own ranges."""
    return any(
        not low - RANGE_TOLERANCE_RAD <= q <= high + RANGE_TOLERANCE_RAD for q, (low, high) in zip(joints_rad, JOINT_RANGES_RAD, strict=True)
    )


def read_switch(request: Request) -> tuple[int, int]:
    """(bits of the joints, on or off) of a request that names joint 1 to 7, or 8 for all. Raises InvalidRequest."""
    joint, on = read_bytes(request, 2)
    if not 1 <= joint <= 8:
        raise InvalidRequest
    return ALL_JOINTS if joint == 8 else 1 << (joint - 1), on
