# SPDX-License-Identifier: Apache-2.0
"""Finds and loads configuration files by name, with the launch line's few overrides applied."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from dex_core.config.cell import BODY_SIDE, SIDES, CellConfig, Interface
from dex_core.config.paths import find_share
from dex_core.config.robot import RobotConfig
from dex_core.config.strict import build, read_yaml, to_plain
from dex_core.config.task import TaskConfig
from dex_core.errors import ConfigError

HOME_MARGIN = 0.1
"""A default home keeps this part of a joint's range away from both limits."""
HOST = re.compile(r"\d+\.\d+\.\d+\.\d+:")
"""How an address on a network begins; serial lines and DDS domains have no host."""
OVERRIDES = ("hand", "left_hand", "right_hand", "arm", "left_arm", "right_arm", "simulated", "bundle", "seed", "addresses")


def load_robot(name: str) -> RobotConfig:
    """An arm or hand by name or alias: ``config/arms/<name>.yaml`` or ``config/hands/<name>.yaml``.

    Raises:
        ConfigError: nothing is called so; lists names and aliases.
    """
    for folder in ("arms", "hands"):
        found = resolve_name(name, folder)
        if found is not None:
            path = find_share("config", folder, f"{found}.yaml")
            return build(RobotConfig, read_yaml(path), str(path))
    raise ConfigError(f"no arm or hand is called {name!r}; arms: {allowed_names('arms')}, hands: {allowed_names('hands')}")


def load_task(name: str) -> TaskConfig:
    """A task by name: ``config/tasks/<name>.yaml``."""
    path = find_share("config", "tasks", f"{name}.yaml")
    return build(TaskConfig, read_yaml(path), str(path))


def names_in(folder: str) -> list[str]:
    """Names of the files in ``config/<folder>``."""
    return sorted(p.stem for p in find_share("config", folder).glob("*.yaml"))


def aliases_in(folder: str) -> dict[str, str]:
    """Alias -> name of the robots in ``config/<folder>`` (``arms`` or ``hands``)."""
    found: dict[str, str] = {}
    for path in sorted(find_share("config", folder).glob("*.yaml")):
        given = re.search(r"^aliases:\s*\[([^\]]*)\]", path.read_text(encoding="utf-8"), re.MULTILINE)  # reading every file as a whole is slow
        found.update({alias.strip(" \t\n'\""): path.stem for alias in (given[1].split(",") if given else ()) if alias.strip()})
    return found


def resolve_name(name: str, folder: str) -> str | None:
    """The name that ``name``, itself a name or an alias, stands for in ``config/<folder>``; None when nothing is called so."""
    return name if name in names_in(folder) else aliases_in(folder).get(name)


def allowed_names(folder: str) -> list[str]:
    """What may be typed for a robot of ``config/<folder>``: every name, then every alias."""
    return names_in(folder) + sorted(aliases_in(folder))


def default_home(robot: RobotConfig) -> dict[str, float]:
    """Rest posture of a robot whose cell file gives none: joint -> [rad], a tenth of each range away from its limits.

    An arm: the middle of every range, a bent arm. A body or a hand: zero, i.e. upright or open, or what lies nearest inside. A gripper of
    one joint opens towards its upper limit.
    """
    bent, home = robot.kind == "arm" and not is_body(robot), {}
    for joint in robot.actuated:
        lower, upper = robot.limits[joint].lower_rad, robot.limits[joint].upper_rad
        margin = HOME_MARGIN * (upper - lower)
        wanted = 0.5 * (lower + upper) if bent else upper if len(robot.actuated) == 1 else 0.0
        home[joint] = min(max(wanted, lower + margin), upper - margin)
    return home


def flange(robot: RobotConfig, side: str) -> str:
    """Link of an arm (no prefix) that carries the hand of ``side``: of a body the tip or tool link named after the side, else the tip."""
    named = [link for link in (robot.tip_link, *robot.tool_links) if link.startswith(f"{side}_")]
    return named[0] if named else robot.tip_link


def is_body(robot: RobotConfig) -> bool:
    """Whether a robot carries a hand of each side on links of its own."""
    return robot.kind == "arm" and len({flange(robot, side) for side in SIDES}) > 1


def load_cell(name_or_path: str | Path, **overrides: Any) -> CellConfig:
    """A cell by name (``config/cells``) or path; a resolved file written by ``CellConfig.save`` loads the same way.

    A hand's ``mount``, and any robot's ``home_rad`` and ``address``, may be left out of the file: then the hand's own file, the joints'
    limits (:func:`default_home`) and the driver decide.

    Args:
        name_or_path: ``xarm_bimanual`` or a YAML path.
        overrides: ``left_hand``, ``right_hand``, ``hand``, ``left_arm``, ``right_arm``, ``arm`` (robot names or aliases; without a side
            they are for every side the cell has), ``simulated`` (bool), ``bundle`` (name or path), ``seed`` (int), and ``addresses``
            (interface -> real address); ``None`` leaves the file's value.

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
    unknown = set(overrides) - set(OVERRIDES)
    if unknown:
        raise ConfigError(f"{path}: unknown override {sorted(unknown)[0]!r}; allowed: {sorted(OVERRIDES)}")
    entries = data.get("interfaces")
    if isinstance(entries, dict) and all(isinstance(entry, dict) for entry in entries.values()):
        _exchange(entries, overrides, str(path))
        _complete(entries, str(path))
    return _apply_rest(build(CellConfig, _without_none(data), str(path)), overrides)


def _without_none(data: Any) -> Any:
    if isinstance(data, dict):
        return {k: _without_none(v) for k, v in data.items() if v is not None}
    return data


def _exchange(entries: dict[str, dict], overrides: dict[str, Any], where: str) -> None:
    """Puts the robots that the overrides ask for in the place of those in the file; arms first, as hands are mounted on them."""
    for kind in ("arm", "hand"):
        present = [side for side in SIDES if f"{side}_{kind}" in entries]
        if overrides.get(kind) and not present:
            raise ConfigError(f"{where}: {kind} {overrides[kind]!r} is asked for, but this cell has no {kind} to exchange; it has {list(entries)}")
        for side in SIDES:
            wanted = overrides.get(f"{side}_{kind}") or (overrides.get(kind) if side in present else None)
            if wanted is not None:
                _exchange_one(entries, f"{side}_{kind}", str(wanted), where)


def _exchange_one(entries: dict[str, dict], name: str, wanted: str, where: str) -> None:
    side, _, kind = name.partition("_")
    found = resolve_name(wanted, f"{kind}s")
    if found is None:
        raise ConfigError(f"{kind} {wanted!r} is not known; allowed: {allowed_names(f'{kind}s')}")
    if name not in entries:
        raise ConfigError(f"{where}: {name} {wanted!r} is asked for, but this cell has no {name}; it has {list(entries)}")
    old = entries[name]
    mounted = old.get("robot")
    if (mounted.get("name") if isinstance(mounted, dict) else mounted) == found:
        return
    kept = ("side", "mounted_on", "rate_hz") if kind == "hand" else ("side", "mounted_on", "mount", "rate_hz")
    robot = load_robot(found)
    entries[name] = {"robot": found, "address": _moved_address(robot, side, old.get("address")), **{key: old[key] for key in kept if key in old}}
    if kind == "arm":
        if is_body(robot):
            raise ConfigError(f"{where}: {found} is a body with two arms and cannot be the {side} arm; take a cell made for it")
        hand = entries.get(f"{side}_hand")
        if hand is not None:
            hand["mounted_on"] = f"{side}_{robot.tip_link}"
            hand.pop("mount", None)


def _complete(entries: dict[str, dict], where: str) -> None:
    """Replaces robot names by the robots and fills what the file leaves to them."""
    for entry in entries.values():
        if isinstance(entry.get("robot"), str):
            entry["robot"] = _without_none(to_plain(load_robot(entry["robot"]).for_side(str(entry.get("side", "")))))
    for name, entry in entries.items():
        if not isinstance(entry.get("robot"), dict):
            continue
        robot = build(RobotConfig, _without_none(entry["robot"]), f"{where}: {name}.robot")
        side = str(entry.get("side", ""))
        entry.setdefault("home_rad", default_home(robot))
        entry.setdefault("address", _address_of(robot, side))
        if robot.kind == "hand" and "mount" not in entry:
            entry["mount"] = to_plain(_mount_of(robot, side, str(entry.get("mounted_on", "")), entries, f"{where}: {name}"))


def _address_of(robot: RobotConfig, side: str) -> dict[str, Any]:
    """The address of a robot whose cell gives none: at its device simulator, or at the stand-in while it has none."""
    wire = robot.wire
    simulated, stand_in = wire.simulated.get(side, ""), wire.stand_in.get(side, "")
    return {"transport": wire.transport, "baud": wire.baud, "simulated": simulated or stand_in, "stand_in": bool(stand_in)}


def _moved_address(robot: RobotConfig, side: str, before: Any) -> dict[str, Any]:
    """The same, simulated on the host where the cell had the robot before it: a second cell on one machine keeps to its own hosts."""
    address = _address_of(robot, side)
    there = str(before.get("simulated", "")) if isinstance(before, dict) else ""
    if HOST.match(there) and HOST.match(address["simulated"]):
        address["simulated"] = there.partition(":")[0] + "".join(address["simulated"].partition(":")[1:])
    return address


def _mount_of(hand: RobotConfig, side: str, mounted_on: str, entries: dict[str, dict], where: str) -> Any:
    for entry in entries.values():
        arm = entry.get("robot")
        prefix = "" if entry.get("side") == BODY_SIDE else f"{entry.get('side')}_"
        if not isinstance(arm, dict) or arm.get("kind") != "arm":
            continue
        if mounted_on in [prefix + link for link in (arm.get("tip_link", ""), *arm.get("tool_links", ()))]:
            known, carrier = hand.mounts or {}, str(arm.get("name"))
            mounts = known.get(carrier, {})
            if side not in mounts:
                raise ConfigError(f"{where}: hand {hand.name!r} has no mount on {carrier} ({side}); it has one on {sorted(known)}")
            return mounts[side]
    raise ConfigError(f"{where}: mounted_on is {mounted_on!r}, which is no flange of an arm of this cell; give the mount, or mount it on one")


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
