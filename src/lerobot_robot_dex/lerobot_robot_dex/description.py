# SPDX-License-Identifier: Apache-2.0
"""What the description of a cell says of its joints and cameras."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml


@dataclass(frozen=True)
class Description:
    """A cell: where it calls, its numbers in order, its cameras.

    Attributes:
        name: what the server greets with. host, port: where it listens.
        columns: names of state and action, e.g. ``left_joint1.pos_rad``.
        cameras: key -> (height, width) [px].
        steps: of a chunk.
    """

    name: str
    host: str
    port: int
    columns: tuple[str, ...]
    cameras: dict[str, tuple[int, int]]
    steps: int


def read_description(folder: Path) -> Description:
    """Reads the manifest that ``dex export lerobot-robot`` wrote. Raises ValueError for another one, naming what differs."""
    path = Path(folder) / "manifest.yaml"
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        seen, action = data["observation"], data["action"]
        (state,) = seen["states"]
        moved = [(part["interface"], tuple(part["joints"]), part["unit"], part["reference"]) for part in action["parts"]]
        if [(part["interface"], tuple(part["joints"]), part["unit"], "absolute") for part in state["parts"]] != moved:
            raise ValueError(f"{path}: state and action must be the same joints, absolute")
        if data["protocol"] != "openpi" or any(unit != "rad" for _, _, unit, _ in moved):
            raise ValueError(f"{path}: protocol must be openpi and every unit rad")
        url = urlsplit(data["server"]["url"])
        columns = tuple(f"{_prefix(interface)}{joint}.pos_rad" for interface, joints, _, _ in moved for joint in joints)
        cameras = {picture["key"]: (int(picture["height"]), int(picture["width"])) for picture in seen["pictures"]}
        return Description(data["name"], url.hostname or "127.0.0.1", url.port or 8765, columns, cameras, int(action["chunk"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not what `dex export lerobot-robot` writes: {error!r}") from error


def _prefix(interface: str) -> str:
    side = interface.split("_", 1)[0]
    return f"{side}_" if side in ("left", "right") else ""
