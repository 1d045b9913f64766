# SPDX-License-Identifier: Apache-2.0
"""Pure-Python core of the stack: kinematics, decoding, chunks, limits, bundles, devices. Never imports ROS."""
