# SPDX-License-Identifier: Apache-2.0
"""Two xArm7 with dexterous hands: `ros2 launch dex_bringup xarm_bimanual.launch.py hand:=inspire`."""

from dex_bringup.launching import cell_launch_description
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Simulated unless sim:=false; `--show-args` lists every argument."""
    return cell_launch_description("xarm_bimanual")
