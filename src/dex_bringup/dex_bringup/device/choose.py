# SPDX-License-Identifier: Apache-2.0
"""From what was typed to one device: an interface of a cell, or a robot by its name at an address. Nothing is ever searched for."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dex_core.config import CellConfig, Interface, RobotConfig, find_share, load_cell, load_robot
from dex_core.config.cell import BODY, BODY_SIDE, SIDES
from dex_core.config.load import allowed_names, default_home, flange, is_body, names_in
from dex_core.config.strict import read_yaml
from dex_core.devices.registry import load_driver
from dex_core.errors import ConfigError

ALONE_X_M = -0.8
"""Where a device alone stands: behind everything that lies on the simulated table."""
HAND_HEIGHT_M = 0.4
INTERFACES = (BODY, *(f"{side}_{kind}" for side in SIDES for kind in ("arm", "hand")))
ANY_PORT = "127.0.0.1:0"


@dataclass(frozen=True)
class Wanted:
    """What a user said besides the name; empty or None: not said.

    Attributes:
        side: left or right.
        address: where the device is, instead of the cell's address.
        hand: robot name of a hand to mount on an arm alone.
        serial_number, unit_id, baud: as in a cell's ``address``.
    """

    side: str = ""
    address: str = ""
    hand: str = ""
    serial_number: str = ""
    unit_id: int | None = None
    baud: int | None = None


@dataclass(frozen=True)
class Chosen:
    """One device: the cell it is in, and which interface of it."""

    cell: CellConfig
    name: str

    @property
    def interface(self) -> Interface:
        """Its joints, limits and address."""
        return self.cell.interface(self.name)

    @property
    def address(self) -> str:
        """Where it is. Raises ConfigError when there is none."""
        return self.cell.address_of(self.name)

    def driver(self) -> Any:
        """Its driver, not connected. Raises ConfigError."""
        return load_driver(self.interface.robot.kind, self.cell.driver_of(self.name))(self.interface, self.address)


def choose(name: str, wanted: Wanted, cell: str = "", real: bool = False) -> Chosen:
    """The device that ``name`` stands for.

    Args:
        name: interface of the cell (``left_arm``), or a robot's name, alias or unmistakable beginning (``xarm``, ``leap``).
        wanted: the rest that was said; a robot by name is simulated at its usual address unless one is given.
        cell: name or file of the cell; empty: none was named, ``xarm_bimanual`` for interfaces.
        real: the real device of the cell, at its ``real`` address.

    Raises:
        ConfigError: nothing is called so, or it has no address.
    """
    if cell or name in INTERFACES:
        found = load_cell(cell or "xarm_bimanual", simulated=not real)
        found.interface(name)
        return Chosen(_with_address(found, name, wanted), name)
    robot = robot_of(name)
    if real and not wanted.address:
        raise ConfigError(f"a real {robot.name} needs its address: --address")
    alone = load_alone(robot, wanted.side, wanted.hand)
    interface = BODY if is_body(robot) else next(n for n, i in alone.interfaces.items() if i.robot.name == robot.name)
    return Chosen(_with_address(alone, interface, wanted), interface)


def robot_of(word: str) -> RobotConfig:
    """A robot by name, alias or a beginning that only one has. Raises ConfigError with the names there are."""
    every = sorted({*allowed_names("arms"), *allowed_names("hands")})
    if word in every:
        return load_robot(word)
    fits = {load_robot(name).name for name in every if name.startswith(word)} if word else set()
    if len(fits) == 1:
        return load_robot(fits.pop())
    what = f"fits {sorted(fits)}" if fits else "is no interface of the cell and no robot"
    raise ConfigError(f"{word!r} {what}; robots: arms {allowed_names('arms')}, hands {allowed_names('hands')}")


def load_alone(robot: RobotConfig, side: str = "", hand: str = "") -> CellConfig:
    """A cell of one robot, with a hand on it where one is named (arms only).

    Args:
        side: left or right; empty: right, or the only one it is made for.

    Raises:
        ConfigError: it is not made for that side, or the hand has no mount on it.
    """
    body = is_body(robot)
    side = BODY_SIDE if body else side or ("right" if "right" in robot.sides else robot.sides[0])
    name = BODY if body else f"{side}_{robot.kind}"
    first = {"side": side, "robot": robot.name, "mounted_on": "world", **_place(robot, side)}
    interfaces = {name: first}
    if hand and robot.kind == "hand":
        raise ConfigError(f"--hand mounts a hand on an arm; {robot.name} is a hand itself")
    for of in (("left", "right") if body else (side,)) if hand else ():
        prefix = "" if body else f"{side}_"
        interfaces[f"{of}_hand"] = {"side": of, "robot": robot_of(hand).name, "mounted_on": prefix + flange(robot, of)}
    data = {"name": robot.name, "interfaces": interfaces, "cameras": {"front": {"driver": "simulated"}}, "sim": {"state_server": ANY_PORT}}
    with tempfile.TemporaryDirectory(prefix="dex-alone-") as folder:
        path = Path(folder) / f"{robot.name}.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
        return load_cell(path)


def _place(robot: RobotConfig, side: str) -> dict[str, Any]:
    """Mount, rest posture and address: those of a shipped cell that has this robot on this side, else above the table and as its file says."""
    for cell in names_in("cells"):
        for entry in read_yaml(find_share("config", "cells", f"{cell}.yaml"))["interfaces"].values():
            if entry["robot"] == robot.name and entry["side"] == side and entry["mounted_on"] == "world":
                _x, _y, height = entry["mount"]["xyz_m"]
                kept = {key: entry[key] for key in ("home_rad", "address", "rate_hz") if key in entry}
                return {"mount": {**entry["mount"], "xyz_m": [ALONE_X_M, 0.0, height]}, **kept}
    height = HAND_HEIGHT_M if robot.kind == "hand" else 0.0
    return {"mount": {"xyz_m": [ALONE_X_M, 0.0, height], "rpy_rad": [0.0, 0.0, 0.0]}, "home_rad": default_home(robot)}


def _with_address(cell: CellConfig, name: str, wanted: Wanted) -> CellConfig:
    """The cell with one device at another address."""
    interface = cell.interface(name)
    said = {key: value for key, value in vars(wanted).items() if key in ("serial_number", "unit_id", "baud") and value not in ("", None)}
    if wanted.address:
        said["simulated" if cell.simulated else "real"] = wanted.address
    moved = dataclasses.replace(interface, address=dataclasses.replace(interface.address, **said))
    return dataclasses.replace(cell, interfaces={**cell.interfaces, name: moved})
