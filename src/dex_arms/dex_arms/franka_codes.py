# SPDX-License-Identifier: Apache-2.0
"""A Franka's modes and errors in words for people. Names and order as in libfranka (Apache-2.0)."""

from __future__ import annotations

MODE_WORDS = {
    "Other": "in a mode without a name: brakes closed, or joints not referenced; look at Desk",
    "Idle": "idle, ready for a motion",
    "Move": "moving under a client's control",
    "Guiding": "led by hand: let go of the enabling button",
    "Reflex": "stopped by a reflex",
    "UserStopped": "user stop pressed: release it, and enable FCI in Desk where it asks for it",
    "AutomaticErrorRecovery": "recovering from an error",
}
ERROR_WORDS = {
    "joint_position_limits_violation": "a joint is at the end of its range",
    "cartesian_position_limits_violation": "the end effector is outside its space",
    "self_collision_avoidance_violation": "the arm is about to touch itself",
    "joint_velocity_violation": "a joint is too fast",
    "cartesian_velocity_violation": "the end effector is too fast",
    "force_control_safety_violation": "a safety limit of force control",
    "joint_reflex": "collision: the torque on a joint is above its upper threshold",
    "cartesian_reflex": "collision: the force at the end effector is above its upper threshold",
    "max_goal_pose_deviation_violation": "the goal was missed by too much",
    "max_path_pose_deviation_violation": "the path was left by too much",
    "cartesian_velocity_profile_safety_violation": "the speed profile of the end effector is not safe",
    "joint_position_motion_generator_start_pose_invalid": "the first position commanded is not where the arm is",
    "joint_motion_generator_position_limits_violation": "a commanded joint is out of its range",
    "joint_motion_generator_velocity_limits_violation": "a commanded joint velocity is too high for its place",
    "joint_motion_generator_velocity_discontinuity": "the commanded velocity jumped: acceleration too high",
    "joint_motion_generator_acceleration_discontinuity": "the commanded acceleration jumped: jerk too high",
    "cartesian_position_motion_generator_start_pose_invalid": "the first pose commanded is not where the end effector is",
    "cartesian_motion_generator_elbow_limit_violation": "the commanded elbow is out of its range",
    "cartesian_motion_generator_velocity_limits_violation": "the commanded velocity of the end effector is too high",
    "cartesian_motion_generator_velocity_discontinuity": "the commanded velocity of the end effector jumped",
    "cartesian_motion_generator_acceleration_discontinuity": "the commanded acceleration of the end effector jumped",
    "cartesian_motion_generator_elbow_sign_inconsistent": "the commanded elbow flips to the other side",
    "cartesian_motion_generator_start_elbow_invalid": "the first elbow commanded is not where it is",
    "cartesian_motion_generator_joint_position_limits_violation": "the commanded pose needs a joint out of its range",
    "cartesian_motion_generator_joint_velocity_limits_violation": "the commanded pose needs a joint too fast",
    "cartesian_motion_generator_joint_velocity_discontinuity": "the commanded pose makes a joint's velocity jump",
    "cartesian_motion_generator_joint_acceleration_discontinuity": "the commanded pose makes a joint's acceleration jump",
    "cartesian_position_motion_generator_invalid_frame": "the commanded pose is no rigid transform",
    "force_controller_desired_force_tolerance_violation": "the wanted force is out of tolerance",
    "controller_torque_discontinuity": "the commanded torque jumped",
    "start_elbow_sign_inconsistent": "the elbow's side does not agree at the start",
    "communication_constraints_violation": "20 commands in a row were late: look at network, kernel and load of this computer",
    "power_limit_violation": "the arm would need too much power",
    "joint_p2p_insufficient_torque_for_planning": "too little torque for the planned motion: overload?",
    "tau_j_range_violation": "a joint's torque sensor is out of its range",
    "instability_detected": "the arm oscillates: is the load set right?",
    "joint_move_in_wrong_direction": "a joint at its limit is moved further out: guide it back",
    "cartesian_spline_motion_generator_violation": "the path of the end effector cannot be planned",
    "joint_via_motion_generator_planning_joint_limit_violation": "the planned path leaves a joint's range",
    "base_acceleration_initialization_timeout": "the base's acceleration sensor did not start",
    "base_acceleration_invalid_reading": "the base's acceleration sensor reads nonsense",
}


def errors_in_words(names: list[str]) -> str:
    """``name (what it means)``, for each."""
    return "; ".join(f"{name} ({ERROR_WORDS.get(name, 'not known here')})" for name in names)
