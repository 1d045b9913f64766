# SPDX-License-Identifier: Apache-2.0
"""What leads a simulated Franka's desired joints, and how its motion commands are judged: one class for each motion generator.

A command is judged against the one received before it, over the time between them; which of the vendor's error bits a violation sets
is his, how much is tolerated beyond a limit is chosen here (SLACK).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pinocchio
import ruckig

from dex_sim.franka_model import FrankaModel, Vector
from dex_sim.franka_wire import Generator, Move

PERIOD_S = 0.001
SLACK = 1.01
START_RAD, START_POSE = 0.002, 0.002
"""How far from the desired pose the first command of a position generator may lie [rad; m and rad]; chosen here."""
TORQUE_RATE_NM_S = 1000.0
PATH_LIMITS = np.array([[3.0] * 3 + [2.5] * 3, [9.0] * 3 + [17.0] * 3, [4500.0] * 3 + [8500.0] * 3])
"""Velocity, acceleration and jerk of the end effector: m and rad; rate_limiting.h of libfranka."""
IK_DAMPING = 1e-6


class Desired:
    """Desired joints of the arm, (7,) each: rad, rad/s, rad/s^2; and torque [N m] or velocity of the end effector (6,) where a client leads by it."""

    def __init__(self, position: Vector) -> None:
        self.position = np.array(position)
        self.velocity, self.acceleration, self.torque = np.zeros(7), np.zeros(7), np.zeros(7)
        self.twist, self.twist_rate = np.zeros(6), np.zeros(6)

    def advance(self, acceleration: Vector) -> None:
        """One period at this acceleration."""
        self.acceleration = acceleration
        self.velocity = self.velocity + acceleration * PERIOD_S
        self.position = self.position + self.velocity * PERIOD_S

    def step_to(self, position: Vector) -> None:
        """One period to this position."""
        velocity = (position - self.position) / PERIOD_S
        self.acceleration = (velocity - self.velocity) / PERIOD_S
        self.velocity, self.position = velocity, np.array(position)

    def brake(self, deceleration: Vector) -> bool:
        """One period of slowing down; True when at rest."""
        self.advance(-np.clip(self.velocity / PERIOD_S, -deceleration, deceleration))
        return not self.velocity.any()


class Leader(Protocol):
    """Moves the desired joints by one command a period."""

    def follow(self, command: np.void, periods: int) -> str:
        """Obeys a command that came ``periods`` after the one before; returns the name of the error it is, or nothing."""
        ...

    def extrapolate(self) -> None:
        """A period without a command."""
        ...


class Judge:
    """Velocity, acceleration and jerk of a commanded signal (n,) by divided differences, also of commands that are unequally far apart.

    Args:
        size: n.
        positions: velocities are themselves differences of commanded positions, hence belong half a period earlier.
    """

    def __init__(self, size: int, *, positions: bool) -> None:
        self.velocity, self.acceleration, self.jerk = np.zeros(size), np.zeros(size), np.zeros(size)
        self._positions = positions
        self._periods = [1, 1]

    def see(self, velocity: Vector, periods: int) -> None:
        """The next velocity of the signal, ``periods`` after the one before."""
        before, earlier = self._periods
        self._periods = [periods, before]
        spans = ((periods + before) / 2, (periods + before + earlier) / 3) if self._positions else (periods, (periods + before) / 2)
        acceleration = (velocity - self.velocity) / (spans[0] * PERIOD_S)
        self.jerk = (acceleration - self.acceleration) / (spans[1] * PERIOD_S)
        self.velocity, self.acceleration = velocity, acceleration

    def discontinuity(self, acceleration: Vector, jerk: Vector) -> str:
        """``velocity_discontinuity`` or ``acceleration_discontinuity`` beyond these limits (n,), or nothing."""
        if (np.abs(self.acceleration) > SLACK * acceleration).any():
            return "velocity_discontinuity"
        return "acceleration_discontinuity" if (np.abs(self.jerk) > SLACK * jerk).any() else ""


class JointLeader:
    """Joint position and joint velocity generators.

    Attributes:
        peaks: (3, 7) largest velocity, acceleration and jerk so far.
    """

    def __init__(self, model: FrankaModel, desired: Desired, *, velocity: bool) -> None:
        self._limits, self._desired, self._by_velocity = model.limits, desired, velocity
        self._judge = Judge(7, positions=not velocity)
        self.peaks = np.zeros((3, 7))
        self._before = desired.position.copy()
        self._started = False

    def follow(self, command: np.void, periods: int) -> str:
        """See Leader."""
        if self._by_velocity:
            velocity = np.array(command["dq_c"])
            target = self._desired.position + velocity * PERIOD_S
        else:
            target = np.array(command["q_c"])
            if not self._started and np.abs(target - self._before).max() > START_RAD:
                return "joint_position_motion_generator_start_pose_invalid"
            velocity = (target - self._before) / (periods * PERIOD_S)
        self._started = True
        self._judge.see(velocity, periods)
        self.peaks = np.maximum(self.peaks, np.abs((velocity, self._judge.acceleration, self._judge.jerk)))
        error = self._error(target, velocity)
        if not error:
            self._before = target
            self._desired.step_to(target)
            self._desired.velocity, self._desired.acceleration = velocity, self._judge.acceleration
        return error

    def extrapolate(self) -> None:
        """Goes on at the last acceleration, within the speed that is allowed."""
        low, high = self._limits.velocity_range(self._desired.position)
        wanted = np.clip(self._desired.velocity + self._desired.acceleration * PERIOD_S, low, high)
        self._desired.advance((wanted - self._desired.velocity) / PERIOD_S)

    def _error(self, target: Vector, velocity: Vector) -> str:
        limits = self._limits
        if (target < limits.lower).any() or (target > limits.upper).any():
            return "joint_motion_generator_position_limits_violation"
        low, high = limits.velocity_range(target)
        if (velocity < low * SLACK - 1e-3).any() or (velocity > high * SLACK + 1e-3).any():
            return "joint_motion_generator_velocity_limits_violation"
        kind = self._judge.discontinuity(limits.acceleration, limits.jerk)
        return f"joint_motion_generator_{kind}" if kind else ""


class PathLeader:
    """Cartesian pose and Cartesian velocity generators: the end effector leads, the joints follow by the inverse of the Jacobian.

    Args:
        tool: (4, 4) pose of the end effector in the flange.
    """

    def __init__(self, model: FrankaModel, desired: Desired, tool: np.ndarray, *, velocity: bool) -> None:
        self._model, self._desired, self._tool, self._by_velocity = model, desired, tool, velocity
        self._judge = Judge(6, positions=not velocity)
        self._before = model.flange(desired.position) @ tool
        self._started = False

    def follow(self, command: np.void, periods: int) -> str:
        """See Leader."""
        here = self._model.flange(self._desired.position) @ self._tool
        if self._by_velocity:
            twist = wanted = np.array(command["O_dP_EE_c"])
        else:
            pose = np.array(command["O_T_EE_c"]).reshape(4, 4, order="F")
            if not self._started and np.abs(_twist(self._before, pose)).max() > START_POSE:
                return "cartesian_position_motion_generator_start_pose_invalid"
            twist, wanted = _twist(self._before, pose) / (periods * PERIOD_S), _twist(here, pose) / PERIOD_S
            self._before = pose
        self._started = True
        self._judge.see(twist, periods)
        self._desired.twist, self._desired.twist_rate = self._judge.velocity, self._judge.acceleration
        elbow_rad = float(command["elbow_c"][0]) if command["valid_elbow"] else None
        return self._error() or self._move(wanted, here[:3, 3], elbow_rad)

    def extrapolate(self) -> None:
        """Goes on at the last velocity of the end effector."""
        here = self._model.flange(self._desired.position) @ self._tool
        self._move(self._judge.velocity, here[:3, 3], None)

    def _error(self) -> str:
        if (np.abs(self._judge.velocity) > SLACK * PATH_LIMITS[0]).any():
            return "cartesian_motion_generator_velocity_limits_violation"
        kind = self._judge.discontinuity(PATH_LIMITS[1], PATH_LIMITS[2])
        return f"cartesian_motion_generator_{kind}" if kind else ""

    def _move(self, twist: Vector, point: Vector, elbow_rad: float | None) -> str:
        position, limits = self._desired.position, self._model.limits
        jacobian = self._model.jacobian(position, point)
        if elbow_rad is not None:  # the elbow's first number is joint 3: a seventh row
            jacobian = np.vstack([jacobian, np.eye(7)[2]])
            twist = np.append(twist, (elbow_rad - position[2]) / PERIOD_S)
        velocity = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + IK_DAMPING * np.eye(len(twist)), twist)
        target = position + velocity * PERIOD_S
        low, high = limits.velocity_range(target)
        if (target < limits.lower).any() or (target > limits.upper).any():
            return "cartesian_motion_generator_joint_position_limits_violation"
        if (velocity < low * SLACK - 1e-3).any() or (velocity > high * SLACK + 1e-3).any():
            return "cartesian_motion_generator_joint_velocity_limits_violation"
        self._desired.step_to(target)
        return ""


class TorqueLeader:
    """The client commands torques; the arm answers with its own dynamics, and the joints of the world follow what comes out of it."""

    def __init__(self, model: FrankaModel, desired: Desired) -> None:
        self._model, self._desired = model, desired

    def follow(self, command: np.void, periods: int) -> str:
        """See Leader."""
        torque, limits = np.array(command["tau_J_d"]), self._model.limits
        if (np.abs(torque - self._desired.torque) > SLACK * TORQUE_RATE_NM_S * PERIOD_S * periods).any():
            return "controller_torque_discontinuity"
        if (np.abs(torque) > limits.torque).any():
            return "tau_j_range_violation"
        self._desired.torque = torque
        self.extrapolate()
        position, velocity = self._desired.position, self._desired.velocity
        if (position < limits.lower).any() or (position > limits.upper).any():
            return "joint_position_limits_violation"
        return "joint_velocity_violation" if (np.abs(velocity) > limits.velocity).any() else ""

    def extrapolate(self) -> None:
        """The last torque goes on."""
        desired = self._desired
        desired.advance(self._model.acceleration(desired.position, desired.velocity, desired.torque))


class PlannedLeader:
    """The robot itself plans towards joint targets that come at any rate, at rest in each."""

    def __init__(self, model: FrankaModel, desired: Desired, max_velocity_rad_s: Vector) -> None:
        self._limits, self._desired = model.limits, desired
        self._planner = ruckig.Ruckig(7, PERIOD_S)
        self._input, self._output = ruckig.InputParameter(7), ruckig.OutputParameter(7)
        self._input.current_position = desired.position.tolist()
        self._input.target_position = desired.position.tolist()
        self._input.max_velocity = np.clip(max_velocity_rad_s, 1e-3, model.limits.velocity).tolist()
        self._input.max_acceleration, self._input.max_jerk = model.limits.acceleration.tolist(), model.limits.jerk.tolist()

    def follow(self, command: np.void, periods: int) -> str:
        """See Leader."""
        target = np.array(command["q_c"])
        if (target < self._limits.lower).any() or (target > self._limits.upper).any():
            return "joint_motion_generator_position_limits_violation"
        self._input.target_position = target.tolist()
        self.extrapolate()
        return ""

    def extrapolate(self) -> None:
        """On towards the newest target."""
        if self._planner.update(self._input, self._output) not in (ruckig.Result.Working, ruckig.Result.Finished):
            return
        self._output.pass_to_input(self._input)
        self._desired.position = np.array(self._output.new_position)
        self._desired.velocity = np.array(self._output.new_velocity)
        self._desired.acceleration = np.array(self._output.new_acceleration)


def make_leader(move: Move, model: FrankaModel, desired: Desired, tool: np.ndarray) -> Leader:
    """What leads a motion that was asked for."""
    if move.generator is Generator.NONE:
        return TorqueLeader(model, desired)
    if move.planned:
        return PlannedLeader(model, desired, move.max_velocity_rad_s)
    velocity = move.generator in (Generator.JOINT_VELOCITY, Generator.CARTESIAN_VELOCITY)
    if move.generator in (Generator.JOINT_POSITION, Generator.JOINT_VELOCITY):
        return JointLeader(model, desired, velocity=velocity)
    return PathLeader(model, desired, tool, velocity=velocity)


def _twist(start: np.ndarray, end: np.ndarray) -> Vector:
    """(6,) translation [m] and rotation [rad], in the base, from one pose (4, 4) to another."""
    return np.concatenate([end[:3, 3] - start[:3, 3], pinocchio.log3(end[:3, :3] @ start[:3, :3].T)])
