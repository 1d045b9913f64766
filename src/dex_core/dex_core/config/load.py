# SPDX-License-Identifier: Apache-2.0
"""Finds and loads configuration files by name, with the launch line's few overrides applied."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from dex_core.config.cell import SIDES, CellConfig, Interface
from dex_core.config.paths import find_share
from dex_core.config.robot import RobotConfig
from dex_core.config.strict import build, read_yaml, to_plain
from dex_core.config.task import TaskConfig
from dex_core.errors import ConfigError


def load_robot(name: str) -> RobotConfig:
    """An arm or hand by name: ``config/arms/<name>.yaml`` or ``config/hands/<name>.yaml``."""
    for folder in ("arms", "hands"):
        try:
            path = find_share("config", folder, f"{name}.yaml")
        except ConfigError:
            continue
        return build(RobotConfig, read_yaml(path), str(path))
    raise ConfigError(f"no arm or hand is called {name!r}; arms: {names_in('arms')}, hands: {names_in('hands')}")


def load_task(name: str) -> TaskConfig:
    """A task by name: ``config/tasks/<name>.yaml``."""
    path = find_share("config", "tasks", f"{name}.yaml")
    return build(TaskConfig, read_yaml(path), str(path))


def names_in(folder: str) -> list[str]:
    """Names of the files in ``config/<folder>``."""
    return sorted(p.stem for p in find_share("config", folder).glob("*.yaml"))


def load_cell(name_or_path: str | Path, **overrides: Any) -> CellConfig:
    """A cell by name (``config/cells``) or path; a resolved file written by ``CellConfig.save`` loads the same way.

    Args:
        name_or_path: ``xarm_bimanual`` or a YAML path.
        overrides: ``left_hand``, ``right_hand``, ``hand`` (robot names), ``simulated`` (bool), ``bundle`` (name or path),
            ``seed`` (int), and ``addresses`` (interface -> real address); ``None`` leaves the file's value.

    Raises:
        ConfigError: names the file, the key, the value and what is allowed.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        if str(name_or_path) not in names_in("cells"):
            raise ConfigError(f"no cell is called {str(name_or_path)!r}; there is: {names_in('cells')}")
        path = find_share("config", "cells", f"{name_or_path}.yaml")
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping, got {type(data).__name__}")
    _apply_hands(data, overrides, str(path))
    for name, entry in (data.get("interfaces") or {}).items():
        if isinstance(entry, dict) and isinstance(entry.get("robot"), str):
            entry["robot"] = to_plain(load_robot(entry["robot"]))
            entry["robot"] = {k: v for k, v in entry["robot"].items() if v is not None}
    cell = build(CellConfig, _without_none(data), str(path))
    return _apply_rest(cell, overrides)


def _without_none(data: Any) -> Any:
    if isinstance(data, dict):
        return {k: _without_none(v) for k, v in data.items() if v is not None}
    return data


def _apply_hands(data: dict, overrides: dict[str, Any], where: str) -> None:
    known = {"hand", "left_hand", "right_hand", "simulated", "bundle", "seed", "addresses"}
    unknown = set(overrides) - known
    if unknown:
        raise ConfigError(f"{where}: unknown override {sorted(unknown)[0]!r}; allowed: {sorted(known)}")
    for side in SIDES:
        wanted = overrides.get(f"{side}_hand") or overrides.get("hand")
        if wanted is None:
            continue
        if wanted not in names_in("hands"):
            raise ConfigError(f"hand {wanted!r} is not known; allowed: {names_in('hands')}")
        entry = (data.get("interfaces") or {}).get(f"{side}_hand")
        mounted = entry.get("robot") if isinstance(entry, dict) else None
        if mounted is None or (mounted if isinstance(mounted, str) else mounted.get("name")) != wanted:
            raise ConfigError(f"{where}: hand {wanted!r} has no mount on the {side} arm of this cell; it has {mounted!r}")


def _apply_rest(cell: CellConfig, overrides: dict[str, Any]) -> CellConfig:
    changes: dict[str, Any] = {}
    if overrides.get("simulated") is not None:
        changes["simulated"] = bool(overrides["simulated"])
    if overrides.get("bundle"):
        changes["policy"] = dataclasses.replace(cell.policy, bundle=str(overrides["bundle"]))
    if overrides.get("seed") is not None:
        changes["sim"] = dataclasses.replace(cell.sim, seed=int(overrides["seed"]))
    addresses: dict[str, str] = overrides.get("addresses") or {}
    interfaces: dict[str, Interface] = dict(cell.interfaces)
    for name, address in addresses.items():
        interface = cell.interface(name)
        interfaces[name] = dataclasses.replace(interface, address=dataclasses.replace(interface.address, real=address))
    changes["interfaces"] = interfaces
    return dataclasses.replace(cell, **changes)
