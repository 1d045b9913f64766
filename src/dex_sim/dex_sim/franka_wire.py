# SPDX-License-Identifier: Apache-2.0
"""Frames of the Franka control interface, version 10: commands on TCP, states and motion commands on UDP.

Little-endian and packed. Layout, codes and names as in libfranka-common d96c221 (Apache-2.0), which the arm's own server follows too.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from dex_core.errors import DexError

VERSION = 10
PORT = 1337
HEADER = struct.Struct("<III")
JOINTS = 7


class Command(IntEnum):
    """What a client asks on TCP."""

    CONNECT = 0
    MOVE = 1
    STOP_MOVE = 2
    SET_COLLISION_BEHAVIOR = 3
    SET_JOINT_IMPEDANCE = 4
    SET_CARTESIAN_IMPEDANCE = 5
    SET_GUIDING_MODE = 6
    SET_EE_TO_K = 7
    SET_NE_TO_EE = 8
    SET_LOAD = 9
    AUTOMATIC_ERROR_RECOVERY = 10
    GET_ROBOT_MODEL = 11


class MoveStatus(IntEnum):
    """Replies to MOVE: one when it starts or is refused, one when it ends."""

    SUCCESS = 0
    STARTED = 1
    PREEMPTED = 2
    PREEMPTED_BY_SAFETY = 3
    REJECTED_BY_SAFETY = 4
    NOT_POSSIBLE = 5
    SINGULAR_START = 6
    INVALID_ARGUMENT = 7
    REFLEX_ABORTED = 8
    EMERGENCY_ABORTED = 9
    INPUT_ERROR_ABORTED = 10
    ABORTED = 11


class SetterStatus(IntEnum):
    """Replies to commands that set something."""

    SUCCESS = 0
    NOT_POSSIBLE = 1
    INVALID_ARGUMENT = 2
    REJECTED_BY_SAFETY = 3


class PlainStatus(IntEnum):
    """Replies to STOP_MOVE, GET_ROBOT_MODEL and AUTOMATIC_ERROR_RECOVERY."""

    SUCCESS = 0
    NOT_POSSIBLE = 1
    REJECTED_BY_SAFETY = 2


class Generator(IntEnum):
    """What a motion is led by, as states show it; a MOVE request counts one lower."""

    IDLE = 0
    JOINT_POSITION = 1
    JOINT_VELOCITY = 2
    CARTESIAN_POSITION = 3
    CARTESIAN_VELOCITY = 4
    NONE = 5


class Controller(IntEnum):
    """What turns a motion into torques, as states show it."""

    JOINT_IMPEDANCE = 0
    CARTESIAN_IMPEDANCE = 1
    EXTERNAL = 2
    OTHER = 3


class Mode(IntEnum):
    """What the robot is doing."""

    OTHER = 0
    IDLE = 1
    MOVE = 2
    GUIDING = 3
    REFLEX = 4
    USER_STOPPED = 5
    RECOVERY = 6


ERRORS = (
    "joint_position_limits_violation", "cartesian_position_limits_violation", "self_collision_avoidance_violation",
    "joint_velocity_violation", "cartesian_velocity_violation", "force_control_safety_violation", "joint_reflex", "cartesian_reflex",
    "max_goal_pose_deviation_violation", "max_path_pose_deviation_violation", "cartesian_velocity_profile_safety_violation",
    "joint_position_motion_generator_start_pose_invalid", "joint_motion_generator_position_limits_violation",
    "joint_motion_generator_velocity_limits_violation", "joint_motion_generator_velocity_discontinuity",
    "joint_motion_generator_acceleration_discontinuity", "cartesian_position_motion_generator_start_pose_invalid",
    "cartesian_motion_generator_elbow_limit_violation", "cartesian_motion_generator_velocity_limits_violation",
    "cartesian_motion_generator_velocity_discontinuity", "cartesian_motion_generator_acceleration_discontinuity",
    "cartesian_motion_generator_elbow_sign_inconsistent", "cartesian_motion_generator_start_elbow_invalid",
    "force_controller_desired_force_tolerance_violation", "start_elbow_sign_inconsistent", "communication_constraints_violation",
    "power_limit_violation", "cartesian_motion_generator_joint_position_limits_violation",
    "cartesian_motion_generator_joint_velocity_limits_violation", "cartesian_motion_generator_joint_velocity_discontinuity",
    "cartesian_motion_generator_joint_acceleration_discontinuity", "cartesian_position_motion_generator_invalid_frame",
    "controller_torque_discontinuity", "joint_p2p_insufficient_torque_for_planning", "tau_j_range_violation", "instability_detected",
    "joint_move_in_wrong_direction", "cartesian_spline_motion_generator_violation",
    "joint_via_motion_generator_planning_joint_limit_violation", "base_acceleration_initialization_timeout",
    "base_acceleration_invalid_reading",
)
"""Names of the 41 error bits, in their order."""

STATE = np.dtype([
    ("message_id", "<u8"), ("O_T_EE", "<f4", 16), ("O_T_EE_d", "<f4", 16), ("F_T_EE", "<f4", 16), ("EE_T_K", "<f4", 16),
    ("F_T_NE", "<f4", 16), ("NE_T_EE", "<f4", 16), ("m_ee", "<f4"), ("I_ee", "<f4", 9), ("F_x_Cee", "<f4", 3), ("m_load", "<f4"),
    ("I_load", "<f4", 9), ("F_x_Cload", "<f4", 3), ("elbow", "<f4", 2), ("elbow_d", "<f4", 2), ("tau_J", "<f4", 7), ("tau_J_d", "<f4", 7),
    ("dtau_J", "<f4", 7), ("q", "<f4", 7), ("q_d", "<f4", 7), ("dq", "<f4", 7), ("dq_d", "<f4", 7), ("ddq_d", "<f4", 7),
    ("joint_contact", "<f4", 7), ("cartesian_contact", "<f4", 6), ("joint_collision", "<f4", 7), ("cartesian_collision", "<f4", 6),
    ("tau_ext_hat_filtered", "<f4", 7), ("O_F_ext_hat_K", "<f4", 6), ("K_F_ext_hat_K", "<f4", 6), ("O_dP_EE_d", "<f4", 6),
    ("O_ddP_O", "<f4", 3), ("elbow_c", "<f4", 2), ("delbow_c", "<f4", 2), ("ddelbow_c", "<f4", 2), ("O_T_EE_c", "<f4", 16),
    ("O_dP_EE_c", "<f4", 6), ("O_ddP_EE_c", "<f4", 6), ("theta", "<f4", 7), ("dtheta", "<f4", 7), ("accelerometer_top", "<f4", (6, 3)),
    ("accelerometer_bottom", "<f4", (6, 3)), ("motion_generator_mode", "u1"), ("controller_mode", "u1"), ("errors", "u1", 41),
    ("reflex_reason", "u1", 41), ("robot_mode", "u1"), ("control_command_success_rate", "<f4"),
])
"""A state, 1377 bytes. 4x4 transforms are column by column; ``message_id`` is also the time [ms]."""

MOTION = np.dtype([
    ("message_id", "<u8"), ("q_c", "<f8", 7), ("dq_c", "<f8", 7), ("O_T_EE_c", "<f8", 16), ("O_dP_EE_c", "<f8", 6), ("elbow_c", "<f8", 2),
    ("valid_elbow", "u1"), ("motion_finished", "u1"), ("tau_J_d", "<f8", 7), ("torque_finished", "u1"),
])
"""A motion command, 371 bytes; ``message_id`` is that of the state it answers."""

_MOVE = struct.Struct("<II6d?7d")
_DOUBLES = {
    Command.SET_COLLISION_BEHAVIOR: 52, Command.SET_JOINT_IMPEDANCE: 7, Command.SET_CARTESIAN_IMPEDANCE: 6, Command.SET_EE_TO_K: 16,
    Command.SET_NE_TO_EE: 16, Command.SET_LOAD: 13,
}
_SIZES = {
    Command.CONNECT: 4, Command.MOVE: _MOVE.size, Command.STOP_MOVE: 0, Command.SET_GUIDING_MODE: 7, Command.AUTOMATIC_ERROR_RECOVERY: 0,
    Command.GET_ROBOT_MODEL: 0, **{command: 8 * n for command, n in _DOUBLES.items()},
}


class FrankaWireError(DexError):
    """Bytes that are no frame of this interface; the connection cannot be trusted any more."""

    code = "wire"


@dataclass(frozen=True)
class Request:
    """One request of a client."""

    command: Command
    number: int
    payload: bytes

    def doubles(self) -> np.ndarray:
        """(n,) numbers of a setter."""
        return np.frombuffer(self.payload, "<f8")

    def reply(self, status: int, payload: bytes = b"") -> bytes:
        """The frame that answers it."""
        return HEADER.pack(self.command, self.number, HEADER.size + 1 + len(payload)) + bytes((status,)) + payload


@dataclass(frozen=True)
class Move:
    """What a MOVE asks for. ``max_velocity_rad_s`` (7,) counts where the robot itself plans towards targets (``planned``)."""

    controller: Controller
    generator: Generator
    planned: bool
    max_velocity_rad_s: np.ndarray

    @classmethod
    def parse(cls, payload: bytes) -> Move | None:
        """None when a code is not known or a velocity is not finite."""
        controller, generator, *numbers = _MOVE.unpack(payload)
        velocity = np.array(numbers[7:])
        if controller > Controller.EXTERNAL or generator > Generator.NONE - 1 or not np.isfinite(velocity).all():
            return None
        return cls(Controller(controller), Generator(generator + 1), bool(numbers[6]), velocity)


def parse_connect(payload: bytes) -> tuple[int, int]:
    """(version of the client, UDP port it listens on)."""
    version, port = struct.unpack("<HH", payload)
    return version, port


class RequestReader:
    """Bytes as they come -> whole requests."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Request]:
        """Requests completed by ``data``. Raises FrankaWireError when a header or a size cannot be right."""
        self._buffer += data
        requests = []
        while len(self._buffer) >= HEADER.size:
            command, number, size = HEADER.unpack_from(self._buffer)
            if command not in _SIZES or size != HEADER.size + _SIZES[Command(command)]:
                raise FrankaWireError(f"command {command} of {size} bytes; allowed: {[(int(c), HEADER.size + n) for c, n in sorted(_SIZES.items())]}")
            if len(self._buffer) < size:
                break
            requests.append(Request(Command(command), number, bytes(self._buffer[HEADER.size : size])))
            del self._buffer[:size]
        return requests


def parse_motion(data: bytes) -> np.void | None:
    """A motion command, or None for a datagram of another size."""
    return np.frombuffer(data, MOTION)[0] if len(data) == MOTION.itemsize else None
