# SPDX-License-Identifier: Apache-2.0
"""Descriptions of the arms, hands and cells: files and how to put them together."""
from dex_description.compose import camera_rotation, compose_cell_urdf, interface_description, interface_urdf
from dex_description.paths import description_path, read_urdf, resolve
from dex_description.urdf import RobotDescription, parse_urdf

__all__ = [
    "RobotDescription", "camera_rotation", "compose_cell_urdf", "description_path", "interface_description",
    "interface_urdf", "parse_urdf", "read_urdf", "resolve",
]
