# SPDX-License-Identifier: Apache-2.0
"""Every topic, service and action name once; all relative, so that a namespace moves the whole cell."""

IMAGE = "camera/color/image_raw"
COMPRESSED = "camera/color/image_raw/compressed"
CAMERA_INFO = "camera/color/camera_info"
DEPTH = "camera/aligned_depth_to_color/image_raw"
DEPTH_INFO = "camera/aligned_depth_to_color/camera_info"
ACTION_CHUNK = "action_chunk"
DECODED_CHUNK = "decoded_chunk"
JOINT_COMMAND = "joint_command"
COMMAND_REPORT = "command_report"
CHUNK_REPORT = "chunk_report"
CHUNK_LATENCY = "chunk_latency"
SAFETY_STATE = "safety_state"
POLICY_STATUS = "policy_status"
HEARTBEATS = "heartbeats"
TASK_STATE = "task_state"
JOINT_STATES = "joint_states"
ROBOT_DESCRIPTION = "robot_description"
SCENE_MARKERS = "scene/markers"
PLANNED_CHUNK = "planned_chunk"
DIAGNOSTICS = "/diagnostics"

GATE_STOP = "gate/stop"
GATE_RESET = "gate/reset"
GATE_SET_GOAL = "gate/set_goal"
POLICY_SET_GOAL = "policy/set_goal"
POLICY_CHECK_GOAL = "policy/check_goal"
SIM_RESET = "sim/reset"
RUN_TASK = "run_task"
TASK_CANCEL = "task/cancel"
TASK_KEEPALIVE = "task/keepalive"
SEGMENT = "segmentation/segment"
SEGMENT_CANCEL = "segmentation/cancel"
SEGMENT_RESULT = "segmentation/result"
SEGMENT_MASK = "segmentation/mask"
SEGMENT_CLOUD = "segmentation/object_cloud"
SEGMENT_COMPLETED = "segmentation/completed_cloud"
SWAP_HAND = "supervisor/swap_hand"
FAULTS_INJECT = "faults/inject"
SIM_INJECT = "sim/inject_fault"


def device_states(interface: str) -> str:
    """``left_arm`` -> ``left/arm/joint_states``, ``body`` -> ``body/joint_states``."""
    return f"{_stem(interface)}/joint_states"


def of_camera(topic: str, scope: str = "") -> str:
    """The topic of a camera other than the cell's first, ``CellConfig.camera_scope``: ``wrist/camera/color/image_raw``."""
    return f"{scope}/{topic}" if scope else topic


def unfaulted(topic: str) -> str:
    """Where the publishers of a topic are sent when faults may be put on it: ``joint_command`` -> ``unfaulted/joint_command``."""
    return f"unfaulted/{topic}"


def mounted_hand(side: str) -> str:
    """``left`` -> ``left/mounted_hand``."""
    return f"{side}/mounted_hand"


def device_trajectory(interface: str) -> str:
    """``left_arm`` -> ``left/arm_controller/follow_joint_trajectory``, ``body`` -> ``body_controller/follow_joint_trajectory``."""
    return f"{_stem(interface)}_controller/follow_joint_trajectory"


def touch(interface: str) -> str:
    """``left_hand`` -> ``left/hand/touch``."""
    return f"{_stem(interface)}/touch"


def motor_currents(interface: str) -> str:
    """``left_hand`` -> ``left/hand/motor_currents``."""
    return f"{_stem(interface)}/motor_currents"


def _stem(interface: str) -> str:
    """A side is a namespace of its own; a body has none."""
    return interface.replace("_", "/", 1)
