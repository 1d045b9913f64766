# SPDX-License-Identifier: Apache-2.0
"""A URDF as plain values: what a simulator or a viewer has to know of each link and joint."""
from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

Vector = tuple[float, ...]
ZERO3: Vector = (0.0, 0.0, 0.0)
JOINT_KINDS = ("fixed", "revolute", "prismatic")


@dataclass(frozen=True)
class Origin:
    """Pose of a frame in its parent: position in m, fixed-axis roll, pitch, yaw in rad."""

    xyz_m: Vector = ZERO3
    rpy_rad: Vector = ZERO3


@dataclass(frozen=True)
class Shape:
    """A primitive: ``box`` (full sizes x, y, z), ``cylinder`` (radius, length) or ``sphere`` (radius), in m."""

    kind: str
    size_m: Vector
    origin: Origin
    rgba: Vector | None = None


@dataclass(frozen=True)
class Inertia:
    """Mass in kg, centre of mass, and (ixx, iyy, izz, ixy, ixz, iyz) in kg m^2 about it, axes of the link."""

    mass_kg: float
    centre_m: Vector
    inertia_kg_m2: Vector


@dataclass(frozen=True)
class Link:
    """One link with its shapes."""

    name: str
    inertia: Inertia | None
    visuals: tuple[Shape, ...]
    collisions: tuple[Shape, ...]


@dataclass(frozen=True)
class Mimic:
    """Coupling: position = multiplier * position of ``joint`` + offset."""

    joint: str
    multiplier: float
    offset_rad: float


@dataclass(frozen=True)
class Joint:
    """One joint; limits are None for a fixed joint. Of a prismatic joint they are in m, N and m/s."""

    name: str
    kind: str
    parent: str
    child: str
    origin: Origin
    axis: Vector
    lower_rad: float | None
    upper_rad: float | None
    effort_nm: float | None
    velocity_rad_s: float | None
    mimic: Mimic | None


@dataclass(frozen=True)
class RobotDescription:
    """All links and joints of one URDF, in file order."""

    name: str
    links: tuple[Link, ...]
    joints: tuple[Joint, ...]

    @property
    def root(self) -> str:
        """Name of the only link that is nobody's child."""
        children = {joint.child for joint in self.joints}
        roots = [link.name for link in self.links if link.name not in children]
        if len(roots) != 1:
            raise ValueError(f"description {self.name!r} must have one root link, has {roots}")
        return roots[0]

    @property
    def actuated(self) -> tuple[str, ...]:
        """Names of the joints that move by themselves, in file order."""
        return tuple(j.name for j in self.joints if j.kind != "fixed" and j.mimic is None)

    def link(self, name: str) -> Link:
        """The link of that name."""
        return _named(self.links, name, "link", self.name)

    def joint(self, name: str) -> Joint:
        """The joint of that name."""
        return _named(self.joints, name, "joint", self.name)

    def joints_below(self, link: str) -> tuple[Joint, ...]:
        """Joints whose parent is ``link``, in file order."""
        return tuple(joint for joint in self.joints if joint.parent == link)


def parse_urdf(text: str) -> RobotDescription:
    """Read a URDF made of primitives.

    Raises:
        ValueError: not a URDF, a mesh, or a joint kind this stack does not use.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"not a URDF: {error}") from error
    if root.tag != "robot":
        raise ValueError(f"not a URDF: the root element is {root.tag!r}, expected 'robot'")
    colours = {
        material.get("name", ""): _vector(material.find("color").get("rgba"))  # type: ignore[union-attr]
        for material in root.iter("material")
        if material.find("color") is not None
    }
    links = tuple(_link(element, colours) for element in root.findall("link"))
    joints = tuple(_joint(element) for element in root.findall("joint"))
    _check_tree(links, joints)
    return RobotDescription(root.get("name", ""), links, joints)


def _check_tree(links: tuple[Link, ...], joints: tuple[Joint, ...]) -> None:
    """Raises ValueError when a name is given twice or a link has two parents: following such a tree would never end."""
    for what, names in (("link", [link.name for link in links]), ("joint", [j.name for j in joints]), ("child", [j.child for j in joints])):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{what} {twice[0]!r} is there more than once")


def _named(items: tuple, name: str, what: str, owner: str):  # noqa: ANN202 - the type of the items
    for item in items:
        if item.name == name:
            return item
    raise ValueError(f"{owner!r} has no {what} {name!r}; it has {', '.join(i.name for i in items)}")


def _vector(text: str | None, default: Vector = ZERO3) -> Vector:
    return default if text is None else tuple(float(word) for word in text.split())


def _origin(element: ElementTree.Element) -> Origin:
    origin = element.find("origin")
    if origin is None:
        return Origin()
    return Origin(_vector(origin.get("xyz")), _vector(origin.get("rpy")))


def _shape(element: ElementTree.Element, colours: dict[str, Vector]) -> Shape:
    geometry = element.find("geometry")
    primitive = None if geometry is None or len(geometry) == 0 else geometry[0]
    if primitive is None or primitive.tag not in ("box", "cylinder", "sphere"):
        found = "nothing" if primitive is None else primitive.tag
        raise ValueError(f"a shape must be box, cylinder or sphere, found {found}")
    if primitive.tag == "box":
        size = _vector(primitive.get("size"))
    elif primitive.tag == "cylinder":
        size = (float(primitive.get("radius", "nan")), float(primitive.get("length", "nan")))
    else:
        size = (float(primitive.get("radius", "nan")),)
    material = element.find("material")
    rgba = None if material is None else colours.get(material.get("name", ""))
    return Shape(primitive.tag, size, _origin(element), rgba)


def _link(element: ElementTree.Element, colours: dict[str, Vector]) -> Link:
    inertial = element.find("inertial")
    inertia = None
    if inertial is not None:
        tensor = inertial.find("inertia").attrib  # type: ignore[union-attr]
        inertia = Inertia(
            float(inertial.find("mass").get("value")),  # type: ignore[union-attr, arg-type]
            _origin(inertial).xyz_m,
            tuple(float(tensor[k]) for k in ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")),
        )
    visuals = tuple(_shape(shape, colours) for shape in element.findall("visual"))
    collisions = tuple(_shape(shape, colours) for shape in element.findall("collision"))
    return Link(element.get("name", ""), inertia, visuals, collisions)


def _joint(element: ElementTree.Element) -> Joint:
    name, kind = element.get("name", ""), element.get("type", "")
    if kind not in JOINT_KINDS:
        raise ValueError(f"joint {name!r} has kind {kind!r}; allowed: {', '.join(JOINT_KINDS)}")
    limit, mimic, axis = element.find("limit"), element.find("mimic"), element.find("axis")
    numbers = [None] * 4 if limit is None else [
        float(limit.get(key, "nan")) for key in ("lower", "upper", "effort", "velocity")
    ]
    return Joint(
        name,
        kind,
        element.find("parent").get("link"),  # type: ignore[union-attr, arg-type]
        element.find("child").get("link"),  # type: ignore[union-attr, arg-type]
        _origin(element),
        _vector(None if axis is None else axis.get("xyz"), (1.0, 0.0, 0.0)),
        *numbers,
        None if mimic is None else Mimic(
            mimic.get("joint", ""), float(mimic.get("multiplier", "1")), float(mimic.get("offset", "0"))
        ),
    )
