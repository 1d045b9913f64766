# SPDX-License-Identifier: Apache-2.0
"""Keypoints of robots in pictures: forward kinematics through a lens, visibility, COCO files and overlays."""
