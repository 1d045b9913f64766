# SPDX-License-Identifier: Apache-2.0
"""A subject as a picture: MuJoCo draws it off screen in studio light, so that it needs neither a screen nor a browser."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dex_bringup.show.subject import Subject
from dex_core.errors import ConfigError, DexError
from dex_description.forward import joint_positions, link_poses
from dex_description.urdf import Shape

if TYPE_CHECKING:
    import mujoco
    from PIL import Image

PAPER = (0.955, 0.96, 0.965)
FOVY_DEG = 24.0
FILL = 0.86
"""Part of the picture that the subject may take."""
FINER = 2
"""Drawn so many times larger and made small again: smooth edges."""
SHADOW = 0.55
LIGHTS = (((-0.5, 0.55, -1.0), 0.50, True), ((-0.7, -0.9, -0.5), 0.22, False), ((0.8, 0.2, -0.4), 0.25, False))
"""Key, fill and back light: direction, strength, whether it casts the shadow."""
VIEWS = {"hand": (-0.5, 0.22), "arm": (0.70, 0.30), "cell": (0.35, 0.40)}
"""Azimuth and elevation of the eye, seen from the subject, +X ahead [rad]."""
TILE_WH = (480, 500)
CAPTION_PX = 52


def picture(subject: Subject, pose: str, size_wh: tuple[int, int] = (1280, 960), *, collision: bool = False) -> Image.Image:
    """Draws one subject, whole and centred, on paper with a soft shadow.

    Raises:
        DexError: this machine cannot draw off screen. ConfigError: no such pose.
    """
    return _render(subject, subject.pose(pose), size_wh, collision)


def portrait(
    subjects: Sequence[Subject], pose: str, columns: int = 0, tile_wh: tuple[int, int] = TILE_WH, *, collision: bool = False
) -> Image.Image:
    """Draws several subjects in one picture, each with its name under it. ``columns`` 0: as wide as is good to look at."""
    from PIL import Image, ImageDraw

    columns = columns or (len(subjects) if len(subjects) <= 3 else math.ceil(len(subjects) / 2) if len(subjects) <= 12 else 6)
    rows = math.ceil(len(subjects) / columns)
    width, height = tile_wh
    sheet = Image.new("RGB", (columns * width, rows * (height + CAPTION_PX)), tuple(round(255 * part) for part in PAPER))
    pen, font = ImageDraw.Draw(sheet), _font(26)
    for index, subject in enumerate(subjects):
        row, column = divmod(index, columns)
        in_row = min(columns, len(subjects) - row * columns)
        left, top = column * width + (columns - in_row) * width // 2, row * (height + CAPTION_PX)
        sheet.paste(picture(subject, pose, tile_wh, collision=collision), (left, top))
        pen.text((left + width // 2, top + height + CAPTION_PX // 2 - 6), subject.name, fill=(60, 64, 70), font=font, anchor="mm")
    return sheet


def parse_size(text: str) -> tuple[int, int]:
    """``1280x960`` -> width and height [px]. Raises ConfigError."""
    words = text.lower().split("x")
    if len(words) != 2 or not all(word.isascii() and word.isdigit() and 64 <= int(word) <= 4096 for word in words):
        raise ConfigError(f"size is {text!r}; allowed: WIDTHxHEIGHT, each 64 to 4096, for example 1280x960")
    return int(words[0]), int(words[1])


def save_picture(picture: Image.Image, path: Path) -> None:
    """Writes a PNG, making its folder. Raises ConfigError when it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, format="PNG", optimize=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}") from error


def _font(size: int) -> object:
    from PIL import ImageFont

    try:
        import matplotlib

        return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
    except (ImportError, OSError):
        return ImageFont.load_default(size)


def _render(subject: Subject, positions: dict[str, float], size_wh: tuple[int, int], collision: bool) -> Image.Image:
    os.environ.setdefault("MUJOCO_GL", "egl")
    import mujoco

    from dex_sim.bodies import COLLISION_GROUP, VISUAL_GROUP

    points, (width, height) = outline(subject, positions), (FINER * size_wh[0], FINER * size_wh[1])
    model = _studio(subject, points, (width, height))
    data = mujoco.MjData(model)
    for name, position in joint_positions(subject.description, positions).items():
        data.qpos[model.joint(name).qposadr[0]] = position
    mujoco.mj_forward(model, data)
    option = mujoco.MjvOption()
    option.geomgroup[:] = 0
    option.geomgroup[[0, COLLISION_GROUP if collision else VISUAL_GROUP]] = 1
    try:
        with mujoco.Renderer(model, height, width) as renderer:
            renderer.update_scene(data, _camera(points, _view(subject), size_wh), option)
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 1
            colour = renderer.render().copy()
            renderer.enable_segmentation_rendering()
            return _composed(colour, renderer.render()[:, :, 0], model.geom("paper").id, size_wh)
    except (mujoco.FatalError, RuntimeError, AttributeError, ImportError, OSError) as error:
        way = os.environ["MUJOCO_GL"]
        raise DexError(f"this machine cannot draw off screen with MUJOCO_GL={way}: {error}; apt install libegl1 libgl1-mesa-dri") from error


def _composed(colour: NDArray[np.uint8], geom: NDArray[np.int32], paper: int, size_wh: tuple[int, int]) -> Image.Image:
    """The subject on even paper: of what was drawn of the paper only its shadow is kept, made soft."""
    from PIL import Image, ImageFilter

    on_paper, ground = geom == paper, (geom == paper) | (geom < 0)
    light = colour.mean(axis=2)
    lit = float(np.percentile(light[on_paper], 90)) if on_paper.any() else 255.0
    shadow = np.where(on_paper, np.clip(1.05 * (1.0 - light / lit) - 0.05, 0.0, 1.0), 0.0)  # the paper itself is never quite even
    shadow = np.where(ground, shadow, shadow[ground].mean())
    drawn = Image.fromarray(np.round(255.0 * shadow).astype(np.uint8))
    blurred = drawn.filter(ImageFilter.MedianFilter(5)).filter(ImageFilter.GaussianBlur(size_wh[1] / 60))
    paper_rgb = 255.0 * np.array(PAPER) * (1.0 - SHADOW * np.asarray(blurred, dtype=float)[:, :, None] / 255.0)
    whole = np.where(ground[:, :, None], paper_rgb, colour)
    return Image.fromarray(np.round(whole).astype(np.uint8)).resize(size_wh, Image.Resampling.LANCZOS)


def _view(subject: Subject) -> tuple[float, float]:
    """Azimuth and elevation of the eye; a left hand is seen as a right one in a mirror."""
    if len(subject.parts) > 1:
        return VIEWS["cell"]
    part = subject.parts[0]
    azimuth, elevation = VIEWS[part.robot.kind]
    return (-azimuth if part.robot.kind == "hand" and part.side == "left" else azimuth), elevation


def _studio(subject: Subject, points: NDArray[np.float64], size_wh: tuple[int, int]) -> mujoco.MjModel:
    """The subject on an endless sheet of paper under a key, a fill and a back light."""
    import mujoco

    from dex_sim.bodies import add_robot_tree
    from dex_sim.servos import Servo

    spec = mujoco.MjSpec()
    spec.visual.global_.fovy = FOVY_DEG
    spec.compiler.degree = False
    spec.compiler.balanceinertia = True
    visual = spec.visual
    visual.quality.shadowsize, visual.quality.offsamples, visual.quality.numslices, visual.quality.numstacks = 4096, 8, 48, 24
    visual.global_.offwidth, visual.global_.offheight = size_wh
    visual.headlight.ambient, visual.headlight.diffuse, visual.headlight.specular = (0.36,) * 3, (0.30,) * 3, (0.10,) * 3
    low, high = points.min(axis=0), points.max(axis=0)
    centre, radius = 0.5 * (low + high), 0.5 * float(np.linalg.norm(high - low))
    spec.stat.center, spec.stat.extent = centre, radius
    visual.map.znear, visual.map.zfar, visual.map.shadowclip = 0.05, 60.0, 2.0
    world = spec.worldbody
    world.add_geom(
        name="paper", type=mujoco.mjtGeom.mjGEOM_PLANE, size=(0.0, 0.0, 0.1), pos=(0.0, 0.0, low[2] - 0.002 * radius), rgba=(0.6, 0.6, 0.6, 1.0),
        contype=0, conaffinity=0, group=0,
    )
    mirror = np.array((1.0, -math.copysign(1.0, _view(subject)[0]), 1.0))  # the shadow falls away from the eye
    for direction, strength, shadow in ((mirror * direction, strength, shadow) for direction, strength, shadow in LIGHTS):
        world.add_light(
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=centre - 4.0 * radius * direction, dir=direction, castshadow=shadow,
            diffuse=(strength,) * 3, ambient=(0.0,) * 3, specular=(0.5 * strength,) * 3,
        )
    servos = {name: Servo(1.0, 0.1, 0.1, 0.0, 1.0) for name in subject.description.actuated}
    add_robot_tree(spec, subject.description, servos, 0.5)
    return spec.compile()


def outline(subject: Subject, positions: dict[str, float]) -> NDArray[np.float64]:
    """(n, 3) corners of the boxes around all visible shapes, in the root frame [m]."""
    from dex_description.forward import transform

    poses, corners = link_poses(subject.description, positions), []
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
    for link in subject.description.links:
        for shape in link.visuals:
            pose = poses[link.name] @ transform(shape.origin)
            corners.append(signs * _half_size(shape) @ pose[:3, :3].T + pose[:3, 3])
    if not corners:
        raise ConfigError(f"{subject.name!r} has nothing to look at: no link has a visual shape")
    return np.concatenate(corners)


def _half_size(shape: Shape) -> NDArray[np.float64]:
    if shape.kind == "box":
        return 0.5 * np.asarray(shape.size_m)
    radius = shape.size_m[0]
    return np.array([radius, radius, 0.5 * shape.size_m[1] if shape.kind == "cylinder" else radius])


def _camera(points: NDArray[np.float64], view: tuple[float, float], size_wh: tuple[int, int]) -> mujoco.MjvCamera:
    """Looks at the middle of the points from the side that shows most, as near as all of them fit."""
    import mujoco

    azimuth, elevation = view
    towards = -np.array([math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)])
    right = np.cross(towards, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(right, towards), towards])
    seen = points @ axes.T
    half_up = math.tan(math.radians(FOVY_DEG) / 2.0) * FILL
    half_across = half_up * size_wh[0] / size_wh[1]
    middle, distance = 0.5 * (seen.min(axis=0) + seen.max(axis=0)), 0.0
    for _ in range(8):  # perspective moves the middle of the picture: near points spread more
        depth = seen[:, 2] - middle[2]
        distance = float(max((np.abs(seen[:, 0] - middle[0]) / half_across - depth).max(), (np.abs(seen[:, 1] - middle[1]) / half_up - depth).max()))
        for axis in (0, 1):
            across = (seen[:, axis] - middle[axis]) / (distance + depth)
            middle[axis] += 0.5 * (across.max() + across.min()) * distance
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    camera.lookat[:] = axes.T @ middle
    camera.distance = distance
    camera.azimuth = math.degrees(azimuth) + 180.0
    camera.elevation = -math.degrees(elevation)
    return camera
