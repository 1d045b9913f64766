#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Sources the ROS install and this workspace, then runs the command.
set -e
source /opt/ros/jazzy/setup.bash
source /dex/install/local_setup.bash
exec "$@"
