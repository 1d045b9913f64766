# SPDX-License-Identifier: Apache-2.0
"""Where configuration and models lie: an installed share folder or the source tree, the same in both."""

from __future__ import annotations

import os
from pathlib import Path

from dex_core.errors import ConfigError


def _roots() -> list[Path]:
    roots = [Path(p) for p in os.environ.get("DEX_SHARE_PATH", "").split(os.pathsep) if p]
    source = Path(__file__).resolve().parents[4]
    if (source / "config" / "cells").is_dir():
        roots.append(source)
    roots += [Path(p) / "share" / "dex_bringup" for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    return roots


def find_share(*parts: str) -> Path:
    """The file or folder ``config/...`` or ``models/...``; DEX_SHARE_PATH first, then the source tree, then AMENT_PREFIX_PATH.

    Raises:
        ConfigError: not found; lists the places and, where the folder exists, what it holds.
    """
    wanted = Path(*parts)
    for root in _roots():
        if (root / wanted).exists():
            return root / wanted
    there = sorted({p.stem for root in _roots() if (root / wanted.parent).is_dir() for p in (root / wanted.parent).iterdir()})
    raise ConfigError(f"{wanted} not found under {[str(r) for r in _roots()]}" + (f"; there is: {there}" if there else ""))


def read_description(urdf: str, side: str = "") -> str:
    """Text of a robot's URDF as ``RobotConfig.urdf`` names it; ``{side}`` is replaced.

    Looked for under DEX_SHARE_PATH, in the source tree and in the installed package dex_description.

    Raises:
        ConfigError: not found; lists the places.
    """
    relative = Path("urdf") / urdf.format(side=side)
    roots = [Path(p) for p in os.environ.get("DEX_SHARE_PATH", "").split(os.pathsep) if p]
    roots.append(Path(__file__).resolve().parents[4] / "src" / "dex_description")
    roots += [Path(p) / "share" / "dex_description" for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    for root in roots:
        if (root / relative).is_file():
            return (root / relative).read_text(encoding="utf-8")
    raise ConfigError(f"{relative} not found under {[str(root) for root in roots]}")
