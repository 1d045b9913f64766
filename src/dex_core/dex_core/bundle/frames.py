# SPDX-License-Identifier: Apache-2.0
"""Frames and cameras a policy names against those of the cell, and how often the cell asks it against how long its chunks last."""

from __future__ import annotations

from dex_core.bundle.manifest import ImageSpec, Manifest, Slice
from dex_core.config.cell import CellConfig
from dex_core.errors import BundleError

WORLD = "world"


def check_frames(manifest: Manifest, cell: CellConfig | None) -> str:
    """Every frame and camera exists, every picture has the size it was trained with.

    Raises:
        BundleError: ``frame_unknown`` or ``camera_mismatch``, with both values.
    """
    slices = [s for g in manifest.graphs.values() for t in (*g.inputs, *g.outputs) for s in t.slices]
    for s in slices:
        allowed = _frames(s, cell)
        if allowed is not None and s.frame not in allowed:
            raise BundleError(f"slice of {s.interface!r}: {s.space} in frame {s.frame!r}; allowed: {allowed}", code="frame_unknown")
    frames = sorted({s.frame for s in slices if s.frame})
    words = f"frames {frames}" if frames else "no frame named"
    if manifest.image is None:
        return words
    if cell is None:
        return f"{words}, cameras {[image.camera for image in manifest.pictures]}; no cell given to compare with"
    return f"{words}, {', '.join(check_camera(image, cell) for image in manifest.pictures)}"


def check_camera(image: ImageSpec, cell: CellConfig) -> str:
    """The camera is in the cell and publishes pictures of the size the policy was trained with. Raises BundleError ``camera_mismatch``."""
    if image.camera not in cell.cameras:
        raise BundleError(f"the policy sees camera {image.camera!r}, cell {cell.name!r} has {list(cell.cameras)}", code="camera_mismatch")
    wide, high = cell.cameras[image.camera].output_wh
    if (wide, high) != (image.source_width, image.source_height):
        raise BundleError(
            f"camera {image.camera!r}: the policy was trained with pictures of {image.source_width} x {image.source_height}, "
            f"cell {cell.name!r} publishes {wide} x {high}",
            code="camera_mismatch",
        )
    return f"camera {image.camera!r} {wide} x {high}"


def check_pace(manifest: Manifest, cell: CellConfig) -> None:
    """A chunk lasts until the cell has the next one. Raises BundleError ``timing_invalid`` with both values."""
    timing = manifest.timing
    assert timing is not None  # the caller looked
    lasts, asked = timing.chunk * timing.dt, cell.policy.replan_period_s + manifest.latency.budget_ms * 1e-3
    if lasts <= asked:
        raise BundleError(
            f"timing: a chunk lasts {lasts:g} s, cell {cell.name!r} has the next one after {asked:g} s "
            f"(replan_period_s {cell.policy.replan_period_s:g} and the policy's budget)",
            code="timing_invalid",
        )


def _frames(s: Slice, cell: CellConfig | None) -> list[str] | None:
    """Frames the decoders of this version take for a slice; None: the space has none."""
    if s.space == "wrist_pose":
        return [WORLD]
    if s.space != "fingertip_position":
        return None
    known = ["", f"{s.side}_wrist"]
    interface = cell.interfaces.get(s.interface) if cell else None
    if interface is None:
        return [*known, s.frame] if not s.frame.startswith({"left": "right_", "right": "left_"}[s.side]) else known
    root = interface.robot.root_link
    return [*known, root, f"{s.side}_{root}"]
