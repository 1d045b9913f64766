# SPDX-License-Identifier: Apache-2.0
"""Keypoints of all hands on both arms, in random postures before the cell's camera, against MuJoCo's own kinematics, camera and rays."""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dex_bringup.bench.report import Goal, Report, percentile
from dex_core.config import CameraConfig, CellConfig, load_cell
from dex_core.devices.camera import Intrinsics
from dex_core.types import Array
from dex_description import compose_cell_urdf, parse_urdf
from dex_description.forward import link_poses

HANDS = ("inspire", "ability", "leap", "xhand1", "dexh13")
ERROR_PX, RIGHT = 1.0, 0.98
ARM_SPREAD_RAD = 0.5
OPTICAL = "camera_color_optical_frame"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--poses", type=int, default=60, help="of each hand, half of them with objects in the way (default %(default)s)")
    parser.add_argument("--hands", nargs="+", default=list(HANDS), metavar="HAND", help="which, on both arms (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of postures and objects (default %(default)s)")


class Tally(NamedTuple):
    """Over all points that MuJoCo has in the picture.

    Attributes:
        error_px: (n,) distance of the native pixel from MuJoCo's.
        visible, hidden_by_robot: (n,) what MuJoCo says. called_visible: with the depth picture. called_by_robots: from the model alone.
        took_ms: of each picture, without masks.
    """

    error_px: Array
    visible: NDArray[np.bool_]
    hidden_by_robot: NDArray[np.bool_]
    called_visible: NDArray[np.bool_]
    called_by_robots: NDArray[np.bool_]
    took_ms: Array


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Every hand, then all together."""
    figures: dict[str, Any] = {"poses_of_each_hand": options.poses, "seed": options.seed}
    tallies = []
    for hand in options.hands:
        say(f"{hand} on both arms: {options.poses} postures")
        tally = measure(load_cell(options.cell, hand=hand), options.poses, options.seed)
        tallies.append(tally)
        figures |= {f"{hand}_{key}": value for key, value in scores(tally).items() if key in ("error_largest_px", "visibility_right")}
    figures |= scores(Tally(*(np.concatenate(parts) for parts in zip(*tallies, strict=True))))
    figures["with_masks_p50_ms"] = _masks_ms(load_cell(options.cell, hand=options.hands[0]), options.seed)
    goals = [Goal("error_largest_px", at_most=ERROR_PX, unit="px"), Goal("visibility_right", at_least=RIGHT)]
    goals += [Goal(f"{hand}_visibility_right", at_least=RIGHT) for hand in options.hands]
    return Report("keypoints", figures, goals)


def scores(tally: Tally) -> dict[str, float]:
    """Figures of a tally; beside what is right stands what calling everything seen would get."""
    hidden, by_object = ~tally.visible, ~tally.visible & ~tally.hidden_by_robot
    return {
        "points": float(len(tally.visible)), "points_hidden_by_robots": float(tally.hidden_by_robot.sum()),
        "points_hidden_by_others": float(by_object.sum()),
        "error_largest_px": float(tally.error_px.max()), "error_mean_px": float(tally.error_px.mean()),
        "visibility_right": _share(tally.called_visible == tally.visible), "visibility_right_if_all_were_seen": _share(tally.visible),
        "seen_called_seen": _share(tally.called_visible[tally.visible]), "hidden_called_hidden": _share(~tally.called_visible[hidden]),
        "hidden_by_robots_called_hidden": _share(~tally.called_visible[tally.hidden_by_robot]),
        "hidden_by_others_called_hidden": _share(~tally.called_visible[by_object]),
        "visibility_right_without_depth": _share(tally.called_by_robots == tally.visible),
        "annotate_p50_ms": percentile(tally.took_ms.tolist(), 50), "annotate_p99_ms": percentile(tally.took_ms.tolist(), 99),
    }


def measure(cell: CellConfig, poses: int, seed: int) -> Tally:
    """Random postures of one cell, every other one with its objects between camera and robots."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    from dex_bringup.bench.keypoints_truth import Truth
    from dex_perception.keypoints.annotator import Annotator
    from dex_perception.keypoints.visibility import tolerance_of

    camera = next(iter(cell.cameras.values()))
    annotator = Annotator(cell, tolerance_of(camera.driver), masks=False)
    truth, rng = Truth(cell, annotator.instances), np.random.default_rng(seed)
    links = [point.link for instance in annotator.instances for point in instance.points if point.link]
    parts = []
    try:
        for number in range(poses):
            q = _posture(cell, rng)
            truth.pose(q, {})
            if number % 2:
                truth.pose(q, _objects(truth, links, rng))
            parts.append(_compare(annotator, truth, cell, camera, q))
    finally:
        truth.close()
    return Tally(*(np.concatenate(found) for found in zip(*parts, strict=True)))


def _compare(annotator: Any, truth: Any, cell: CellConfig, camera: CameraConfig, q: Array) -> Tally:
    from dex_perception.keypoints.lens import project
    from dex_perception.keypoints.sample import VISIBLE, Sample

    native, small = lenses(camera)
    sample = Sample(np.zeros((small.height, small.width, 3), dtype=np.uint8), small, OPTICAL, 0, q, camera_pose(cell), depth_m=truth.depth())
    started = time.perf_counter()
    annotation = annotator.annotate(sample)
    took_ms = 1e3 * (time.perf_counter() - started)
    alone = annotator.annotate(dataclasses.replace(sample, depth_m=None))
    points = np.concatenate([robot.points_m for robot in annotation.robots])
    called, by_robots = (np.concatenate([robot.visibility for robot in found.robots]) == VISIBLE for found in (annotation, alone))
    seen = truth.seen()
    uv = project(np.where(np.isfinite(points), points, -1.0), native).uv
    at = _small(seen.uv, camera)
    with np.errstate(invalid="ignore"):
        inside = ((at >= 0.0) & (at <= np.array(camera.output_wh) - 1.0)).all(axis=1)
    robot_links = frozenset().union(*(robot.instance.links for robot in annotation.robots))
    by_robot = np.array([name in robot_links for name in seen.by])
    error = np.linalg.norm(uv - seen.uv, axis=1)[inside]
    error[~np.isfinite(error)] = np.inf
    return Tally(error, seen.visible[inside], by_robot[inside], called[inside], by_robots[inside], np.array([took_ms]))


def lenses(camera: CameraConfig) -> tuple[Intrinsics, Intrinsics]:
    """Of the native picture and of the published one."""
    native = Intrinsics.of_view(camera.native_wh, camera.fovy_rad)
    return native, native.cropped_and_resized(camera.crop_xywh, camera.output_wh)


def camera_pose(cell: CellConfig) -> Array:
    """(4, 4) of the first camera's optical frame in the world, as the cell's description has it."""
    positions = {name: value for interface in cell.interfaces.values() for name, value in zip(interface.names, interface.home, strict=True)}
    return link_poses(parse_urdf(compose_cell_urdf(cell)), positions)[OPTICAL]


def _posture(cell: CellConfig, rng: np.random.Generator) -> Array:
    """Arms around their rest, hands anywhere in their range, all inside the limits."""
    parts = []
    for interface in cell.interfaces.values():
        low, high = np.array([[limit.lower_rad, limit.upper_rad] for limit in interface.limits]).T
        near = np.array(interface.home) + rng.uniform(-1.0, 1.0, len(low)) * ARM_SPREAD_RAD
        parts.append(rng.uniform(low, high) if interface.robot.kind == "hand" else np.clip(near, low, high))
    return np.concatenate(parts)


def _objects(truth: Any, links: list[str], rng: np.random.Generator) -> dict[str, Array]:
    """Every object somewhere on the way from the camera to one of the points, turned at random."""
    eye, places = truth.camera_m, {}
    for name in truth.objects:
        turn = rng.normal(size=4)
        at = eye + rng.uniform(0.55, 0.97) * (truth.place(links[rng.integers(len(links))]) - eye)
        places[name] = np.concatenate([at, turn / np.linalg.norm(turn)])
    return places


def _small(uv: Array, camera: CameraConfig) -> Array:
    """Native pixels in the published picture."""
    x, y, w, h = camera.crop_xywh
    return (uv + 0.5 - (x, y)) * (camera.output_wh[0] / w, camera.output_wh[1] / h) - 0.5


def _masks_ms(cell: CellConfig, seed: int) -> float:
    from dex_perception.keypoints.annotator import Annotator
    from dex_perception.keypoints.sample import Sample

    small = lenses(next(iter(cell.cameras.values())))[1]
    annotator, rng, took = Annotator(cell), np.random.default_rng(seed), []
    for _ in range(8):
        sample = Sample(np.zeros((small.height, small.width, 3), dtype=np.uint8), small, OPTICAL, 0, _posture(cell, rng), camera_pose(cell))
        started = time.perf_counter()
        annotator.annotate(sample)
        took.append(1e3 * (time.perf_counter() - started))
    return percentile(took, 50)


def _share(right: NDArray[np.bool_]) -> float:
    return float(right.mean()) if right.size else float("nan")
