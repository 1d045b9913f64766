# SPDX-License-Identifier: Apache-2.0
"""One URDF of a whole cell: both arms, both hands, the table and the camera, names prefixed by side."""
from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import numpy as np

from dex_core.config import CameraConfig, CellConfig, Interface
from dex_description.forward import transform
from dex_description.paths import read_urdf
from dex_description.urdf import Origin, RobotDescription, parse_urdf

TABLE_SIZE_M = (0.90, 1.50, 0.04)
TABLE_CENTRE_M = (0.36, 0.0, -0.02)
WORLD = "world"


def interface_urdf(interface: Interface) -> str:
    """URDF text of the robot of one interface, names without prefix."""
    return read_urdf("urdf/" + interface.robot.urdf.format(side=interface.side))


def interface_description(interface: Interface) -> RobotDescription:
    """The same, parsed."""
    return parse_urdf(interface_urdf(interface))


def compose_cell_urdf(cell: CellConfig) -> str:
    """URDF of the cell: root link ``world``, every robot below its mount, one ``camera_link`` with optical frame per camera."""
    robot = ElementTree.Element("robot", name=cell.name)
    ElementTree.SubElement(robot, "link", name=WORLD)
    _add_table(robot)
    trees = {name: ElementTree.fromstring(interface_urdf(interface)) for name, interface in cell.interfaces.items()}
    for name, interface in cell.interfaces.items():
        others = [trees[other] for other, i in cell.interfaces.items() if other != name and i.prefix == interface.prefix]
        _add_interface(robot, interface, trees[name], _shared(trees[name], others) if interface.robot.kind == "arm" else frozenset())
    for index, (name, camera) in enumerate(cell.cameras.items()):
        _add_camera(robot, "camera" if index == 0 else f"{name}_camera", camera)
    ElementTree.indent(robot)
    return ElementTree.tostring(robot, encoding="unicode", xml_declaration=True) + "\n"


def camera_rotation(camera: CameraConfig) -> np.ndarray:
    """(3, 3) rotation of ``camera_link`` in what it is mounted on: x along the view, y left, z up in the picture."""
    if camera.pose is not None:
        return transform(Origin(rpy_rad=camera.pose.rpy_rad))[:3, :3]
    forward = np.subtract(camera.look_at_m, camera.position_m)
    length = float(np.linalg.norm(forward))
    if length < 1e-6:
        raise ValueError(f"the camera looks at its own position {camera.position_m}")
    x_axis = forward / length
    y_axis = np.cross((0.0, 0.0, 1.0), x_axis)
    if np.linalg.norm(y_axis) < 1e-6:
        raise ValueError("a camera that looks straight up or down has no upright picture")
    y_axis /= np.linalg.norm(y_axis)
    return np.stack([x_axis, y_axis, np.cross(x_axis, y_axis)], axis=1)


def _shared(tree: ElementTree.Element, others: list[ElementTree.Element]) -> frozenset[tuple[str, str]]:
    """(tag, name) of links and joints that another robot with the same prefix has too."""
    named = [{(e.tag, e.get("name", "")) for e in one if e.tag in ("link", "joint")} for one in (tree, *others)]
    return frozenset(named[0] & set().union(*named[1:]))


def _add_interface(robot: ElementTree.Element, interface: Interface, tree: ElementTree.Element, shared: frozenset[tuple[str, str]]) -> None:
    """Appends one robot, names prefixed; a name of an arm that its hand has too (mostly ``base``) becomes ``right_arm_base``.

    Raises:
        ValueError: such a name is an actuated joint or the link that carries the hand.
    """
    fixed_names = {*interface.robot.actuated, interface.robot.tip_link, *interface.robot.tool_links} & {name for _, name in shared}
    if fixed_names:
        raise ValueError(f"{interface.name} ({interface.robot.name}) and its hand both have {sorted(fixed_names)}")

    def full(tag: str, name: str) -> str:
        return (f"{interface.name}_" if (tag, name) in shared else interface.prefix) + name

    for material in tree.iter("material"):
        material.set("name", f"{interface.robot.name}_{material.get('name')}")
    known = {material.get("name") for material in robot.findall("material")}
    for element in tree:
        if element.tag == "material" and element.get("name") in known:
            continue
        if element.tag in ("link", "joint"):
            element.set("name", full(element.tag, element.get("name", "")))
        for child in element.iter():
            for key, tags in (("link", ("parent", "child")), ("joint", ("mimic",))):
                if child.tag in tags and child.get(key) is not None:
                    child.set(key, full(key, child.get(key, "")))
        if element.tag == "joint":
            _fill_limit(element, interface)
        robot.append(element)
    origin = Origin(interface.mount.xyz_m, interface.mount.rpy_rad)
    _fixed(robot, f"{interface.name}_mount_joint", interface.mounted_on, full("link", interface.robot.root_link), origin)


def _fill_limit(joint: ElementTree.Element, interface: Interface) -> None:
    """Where a description leaves effort or velocity at 0, the configuration's: 0 would forbid every motion."""
    limit, known = joint.find("limit"), interface.robot.limits.get(joint.get("name", "").removeprefix(interface.prefix))
    if limit is None or known is None:
        return
    for key, value in (("effort", known.effort_nm), ("velocity", known.velocity_rad_s)):
        if not float(limit.get(key, "0")) and value is not None:
            limit.set(key, repr(value))


def _add_table(robot: ElementTree.Element) -> None:
    material = ElementTree.SubElement(robot, "material", name="table")
    ElementTree.SubElement(material, "color", rgba="0.72 0.62 0.50 1")
    link = ElementTree.SubElement(robot, "link", name="table")
    for tag in ("visual", "collision"):
        shape = ElementTree.SubElement(link, tag)
        ElementTree.SubElement(shape, "origin", xyz=_words(TABLE_CENTRE_M))
        geometry = ElementTree.SubElement(shape, "geometry")
        ElementTree.SubElement(geometry, "box", size=_words(TABLE_SIZE_M))
        if tag == "visual":
            ElementTree.SubElement(shape, "material", name="table")
    _fixed(robot, "table_joint", WORLD, "table", Origin())


def _add_camera(robot: ElementTree.Element, prefix: str, camera: CameraConfig) -> None:
    turn = (0.0, *_pitch_and_yaw(camera_rotation(camera))) if camera.pose is None else camera.pose.rpy_rad
    for name in (f"{prefix}_link", f"{prefix}_color_optical_frame"):
        ElementTree.SubElement(robot, "link", name=name)
    _fixed(robot, f"{prefix}_joint", camera.mounted_on, f"{prefix}_link", Origin(camera.centre_m, turn))
    optical = Origin(rpy_rad=(-math.pi / 2.0, 0.0, -math.pi / 2.0))
    _fixed(robot, f"{prefix}_color_optical_joint", f"{prefix}_link", f"{prefix}_color_optical_frame", optical)


def _pitch_and_yaw(rotation: np.ndarray) -> tuple[float, float]:
    return -math.asin(float(np.clip(rotation[2, 0], -1.0, 1.0))), math.atan2(rotation[1, 0], rotation[0, 0])


def _fixed(robot: ElementTree.Element, name: str, parent: str, child: str, origin: Origin) -> None:
    joint = ElementTree.SubElement(robot, "joint", name=name, type="fixed")
    ElementTree.SubElement(joint, "parent", link=parent)
    ElementTree.SubElement(joint, "child", link=child)
    ElementTree.SubElement(joint, "origin", xyz=_words(origin.xyz_m), rpy=_words(origin.rpy_rad))


def _words(values: tuple[float, ...]) -> str:
    return " ".join(repr(float(value)) for value in values)
