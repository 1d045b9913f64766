# SPDX-License-Identifier: Apache-2.0
"""The glue between the core and ROS: conversions, QoS, names, diagnostics and the node main."""
