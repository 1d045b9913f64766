# SPDX-License-Identifier: Apache-2.0
"""A subject in a browser: its shapes, a slider per actuated joint, buttons for postures, and what can be switched on and off."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Callable, Mapping

import numpy as np
import viser
from numpy.typing import NDArray

from dex_bringup.show.subject import Part, Subject
from dex_core.errors import ConfigError, DeviceError
from dex_description.forward import joint_positions, joint_transform, transform
from dex_description.urdf import Joint, Origin, Shape

ROOT = "/robot"
TIP_AXES_M, PALM_AXES_M = 0.012, 0.04
COLLISION_RGB, PLAIN_RGB = (60, 150, 235), (178, 178, 178)
POSE_OF_BUTTON = {"open": "open", "close": "closed", "home": "home"}


class Viewer:
    """Serves one subject until :meth:`close`.

    Args:
        subject: what to show.
        pose: posture it starts in.
        host, port: where to listen; the next free port is taken when this one is in use.

    Attributes:
        sliders: actuated joint -> its slider [rad or m]; a change moves the joint and what is coupled to it.
        buttons: ``open``, ``close``, ``home``.
        nodes: child link -> the node that holds it, its pose relative to the parent link.
        url: where a browser finds it.
    """

    def __init__(self, subject: Subject, pose: str = "home", host: str = "127.0.0.1", port: int = 8080) -> None:
        logging.getLogger("websockets").setLevel(logging.ERROR)
        self.subject = subject
        self._lock = threading.RLock()
        self._positions = subject.pose(pose)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it announces itself in a box, and verbose does not stop that
                self._server = viser.ViserServer(host=host, port=port, label=f"dex show {subject.name}", verbose=False)
        except OSError as error:
            raise DeviceError(f"cannot listen on {host}:{port}: {error}") from error
        self.url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{self._server.get_port()}"
        self._moving = [joint for joint in subject.description.joints if joint.kind != "fixed"]
        self._below: dict[str, list[Joint]] = {}
        for joint in subject.description.joints:
            self._below.setdefault(joint.parent, []).append(joint)
        self.nodes: dict[str, viser.FrameHandle] = {}
        self._collision: list[viser.SceneNodeHandle] = []
        self._visual: list[viser.SceneNodeHandle] = []
        self._paths: dict[str, str] = {}
        with self._server.atomic():
            self._add_scene()
            self.sliders = self._add_controls()
            self._move(self._positions)

    def set(self, positions: Mapping[str, float]) -> None:
        """Moves actuated joints, and the sliders with them [rad or m].

        Raises:
            ConfigError: a name is no joint of the subject.
        """
        unknown = set(positions) - set(self.sliders)
        if unknown:
            raise ConfigError(f"{self.subject.name} has no joint {sorted(unknown)[0]!r}; it has {sorted(self.sliders)}")
        with self._server.atomic():
            for name, position in positions.items():
                self.sliders[name].value = float(position)  # its own call-back moves the joint

    def close(self) -> None:
        """Stops serving."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()

    # -- the scene ------------------------------------------------------------------------------------------------------
    def _add_scene(self) -> None:
        scene = self._server.scene
        scene.set_up_direction("+z")
        scene.configure_environment_map(None)
        scene.configure_default_lights(cast_shadow=True)
        for name, direction, strength in (("key", (1.0, -1.0, 2.0), 1.6), ("fill", (1.0, 1.5, 1.0), 0.9), ("back", (-1.5, 0.0, 1.0), 0.6)):
            scene.add_light_directional(f"/{name}", position=direction, intensity=strength)
        low, high = _extent(self.subject, self._positions)
        size = float(np.linalg.norm(high - low))
        cell_m, section_m = (0.05, 0.25) if size < 1.0 else (0.25, 1.0)
        scene.add_grid(
            "/floor", width=4.0 * size, height=4.0 * size, cell_size=cell_m, section_size=section_m, position=(0.0, 0.0, float(low[2])),
            shadow_opacity=0.25,
        )
        eye, centre = np.array((1.0, -0.55, 0.45)), 0.5 * (low + high)
        self._server.initial_camera.position = tuple(centre + 0.85 * size * eye / np.linalg.norm(eye))
        self._server.initial_camera.look_at = tuple(centre)
        root = self.subject.description.root
        self._paths[root] = ROOT
        scene.add_frame(ROOT, show_axes=False)
        self._add_link(root)
        self._tips = [self._axes(f"{self._paths[link]}/tip", TIP_AXES_M) for link in self.subject.tips.values()]
        self._palms = [
            self._axes(f"{self._paths[palm.link]}/palm", PALM_AXES_M, transform(Origin(palm.xyz_m, palm.rpy_rad)))
            for palm in self.subject.palms.values()
        ]

    def _add_link(self, link: str) -> None:
        path, described = self._paths[link], self.subject.description.link(link)
        for kind, shapes, handles in (("visual", described.visuals, self._visual), ("collision", described.collisions, self._collision)):
            handles += [self._add_shape(f"{path}/{kind}_{i}", shape, kind == "collision") for i, shape in enumerate(shapes)]
        for joint in self._below.get(link, ()):
            self._paths[joint.child] = f"{path}/{joint.child}"
            pose = joint_transform(joint, 0.0)
            self.nodes[joint.child] = self._server.scene.add_frame(
                self._paths[joint.child], show_axes=False, wxyz=_quaternion(pose), position=tuple(pose[:3, 3])
            )
            self._add_link(joint.child)

    def _add_shape(self, name: str, shape: Shape, collision: bool) -> viser.SceneNodeHandle:
        rgb = COLLISION_RGB if collision else PLAIN_RGB if shape.rgba is None else tuple(round(255 * part) for part in shape.rgba[:3])
        pose = transform(shape.origin)
        common = {
            "color": rgb, "wxyz": _quaternion(pose), "position": tuple(pose[:3, 3]), "visible": not collision, "opacity": 0.45 if collision else None,
            "cast_shadow": not collision,
        }
        if shape.kind == "box":
            return self._server.scene.add_box(name, dimensions=shape.size_m, **common)
        if shape.kind == "cylinder":
            return self._server.scene.add_cylinder(name, radius=shape.size_m[0], height=shape.size_m[1], **common)
        return self._server.scene.add_icosphere(name, radius=shape.size_m[0], **common)

    def _axes(self, name: str, length_m: float, pose: NDArray[np.float64] | None = None) -> viser.FrameHandle:
        at = np.eye(4) if pose is None else pose
        return self._server.scene.add_frame(
            name, axes_length=length_m, axes_radius=0.07 * length_m, wxyz=_quaternion(at), position=tuple(at[:3, 3]), visible=False
        )

    # -- the controls ---------------------------------------------------------------------------------------------------
    def _add_controls(self) -> dict[str, viser.GuiSliderHandle[float]]:
        gui = self._server.gui
        gui.configure_theme(control_width="medium", show_logo=False, show_share_button=False)
        coupled = sum(joint.mimic is not None for joint in self._moving)
        words = f"{len(self.subject.ranges)} actuated joints" + (f", {coupled} coupled to them move along" if coupled else "")
        gui.add_markdown(f"### {self.subject.title}\n{words}. Angles in rad, lengths in m.")
        self.buttons = {name: gui.add_button(name) for name in POSE_OF_BUTTON}
        for name, pose in POSE_OF_BUTTON.items():
            self.buttons[name].on_click(self._pose_setter(pose))
        for label, handles, shown in (
            ("visual shapes", self._visual, True), ("collision shapes", self._collision, False), ("fingertip frames", self._tips, False),
            ("palm frames", self._palms, False),
        ):
            box = gui.add_checkbox(label, shown, disabled=not handles)
            box.on_update(_switch(handles, box))
        sliders: dict[str, viser.GuiSliderHandle[float]] = {}
        for part in self.subject.parts:
            with gui.add_folder(part.label):
                sliders.update(self._add_sliders(part))
        return sliders

    def _add_sliders(self, part: Part) -> dict[str, viser.GuiSliderHandle[float]]:
        sliders = {}
        for joint in part.joints:
            low, high = self.subject.ranges[joint]
            start = min(max(self._positions[joint], low), high)
            hint = f"{low:.4g} to {high:.4g} {'m' if self.subject.description.joint(joint).kind == 'prismatic' else 'rad'}"
            slider = self._server.gui.add_slider(joint, low, high, (high - low) / 1000.0, start, hint=hint)
            slider.on_update(self._slider_moved(joint, slider))
            sliders[joint] = slider
        return sliders

    def _pose_setter(self, pose: str) -> Callable[[object], None]:
        return lambda _event: self.set(self.subject.pose(pose))

    def _slider_moved(self, joint: str, slider: viser.GuiSliderHandle[float]) -> Callable[[object], None]:
        return lambda _event: self._move({joint: float(slider.value)})

    def _move(self, positions: Mapping[str, float]) -> None:
        """Poses the nodes of the joints that these positions change."""
        with self._lock:
            self._positions.update(positions)
            found = joint_positions(self.subject.description, self._positions)
            for joint in self._moving:
                if joint.name in positions or joint.mimic is not None and joint.mimic.joint in positions:
                    pose, node = joint_transform(joint, found[joint.name]), self.nodes[joint.child]
                    node.wxyz, node.position = _quaternion(pose), tuple(pose[:3, 3])


def _switch(handles: list, box: viser.GuiCheckboxHandle) -> Callable[[object], None]:
    def act(_event: object) -> None:
        for handle in handles:
            handle.visible = box.value

    return act


def _extent(subject: Subject, positions: Mapping[str, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from dex_bringup.show.picture import outline

    points = outline(subject, dict(positions))
    return points.min(axis=0), points.max(axis=0)


def _quaternion(pose: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """w, x, y, z of a (4, 4) pose."""
    r = pose[:3, :3]
    x2, y2, z2 = r.diagonal()
    squares = np.array([1.0 + x2 + y2 + z2, 1.0 + x2 - y2 - z2, 1.0 - x2 + y2 - z2, 1.0 - x2 - y2 + z2])
    k = int(np.argmax(squares))  # the largest component divides the others: never by a small number
    rows = (
        (squares[0], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]),
        (r[2, 1] - r[1, 2], squares[1], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]),
        (r[0, 2] - r[2, 0], r[0, 1] + r[1, 0], squares[2], r[1, 2] + r[2, 1]),
        (r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], squares[3]),
    )
    w, x, y, z = np.array(rows[k]) / (2.0 * np.sqrt(squares[k]))
    return float(w), float(x), float(y), float(z)
