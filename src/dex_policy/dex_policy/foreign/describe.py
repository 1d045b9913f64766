# SPDX-License-Identifier: Apache-2.0
"""The description of a whole cell as joints in rad: what the LeRobot robot of this stack is, and a start for a description of one's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from dex_core.config import CellConfig
from dex_core.errors import BundleError

HOLD_S = 0.6
"""How long the last action is good for: a chunk this long holds it, then the gate finds nothing to follow and the goal ends [s]."""


def describe_cell(cell: CellConfig, url: str) -> dict[str, Any]:
    """State and action are every joint of the cell in its order [rad], the pictures its cameras' as they are, the words anything.

    Args:
        cell: to be described.
        url: where the server listens, e.g. ``ws://127.0.0.1:8765``.
    """
    first = next(iter(cell.cameras.values()))
    rate_hz = float(round(first.rate_hz))
    parts, moved = [], []
    for name, interface in cell.interfaces.items():
        part = {"of": "joints", "interface": name, "joints": list(interface.robot.actuated), "unit": "rad"}
        parts.append(part)
        moved.append({**part, "reference": "absolute", "limits": [[m.lower_rad, m.upper_rad] for m in interface.limits]})
    pictures = []
    for name, camera in cell.cameras.items():
        width, height = camera.output_wh
        pictures.append({"key": name, "camera": name, "source_height": height, "source_width": width, "height": height, "width": width,
                         "layout": "HWC", "resize": "none"})
    return {
        "schema": 1, "kind": "remote_policy", "name": f"lerobot_{cell.name}", "version": "1", "protocol": "openpi",
        "server": {"url": url, "deadline_s": 0.5, "first_deadline_s": 5.0, "heartbeat_s": 0.5, "metadata": {"robot": f"lerobot_{cell.name}"}},
        "observation": {"pictures": pictures, "states": [{"key": "state", "dtype": "float32", "parts": parts}], "instruction": {"key": "task"}},
        "action": {"key": "actions", "columns": len(cell.joint_names), "chunk": max(2, round(HOLD_S * rate_hz)), "rate_hz": rate_hz,
                   "first_action_offset": 1.0, "parts": moved},
    }


def calling_cell(cell: CellConfig, robot: Path) -> CellConfig:
    """The cell with the description in folder ``robot`` as its policy, asked at every picture."""
    rate_hz = next(iter(cell.cameras.values())).rate_hz
    return replace(cell, policy=replace(cell.policy, bundle=str(robot), replan_period_s=1.0 / rate_hz, server=None))


def write_description(description: dict[str, Any], out: Path) -> Path:
    """Writes it as a bundle folder; returns its manifest. Raises BundleError ``file_exists``."""
    try:
        out.mkdir(parents=True)
    except FileExistsError as error:
        raise BundleError(f"{out} is there already and is not written over", code="file_exists") from error
    path = out / "manifest.yaml"
    path.write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
    return path
