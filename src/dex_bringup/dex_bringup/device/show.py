# SPDX-License-Identifier: Apache-2.0
"""What a device says of itself, as text for people or as one JSON object."""

from __future__ import annotations

from typing import Any

import numpy as np

from dex_bringup.claim import AlreadyRunningError, Claim
from dex_core.config import CellConfig, Interface
from dex_core.devices.joint_device import DeviceHealth
from dex_core.devices.registry import driver_names
from dex_core.devices.sensing import currents_of, touch_of
from dex_core.errors import ConfigError
from dex_core.types import JointState


def readings(device: Any, interface: Interface, state: JointState) -> dict[str, Any]:
    """Everything that is known, plain: joints, health, currents, touch."""
    health: DeviceHealth = device.health()
    currents, touch = currents_of(device, interface.names), touch_of(device)
    return {
        "name": interface.name,
        "robot": interface.robot.name,
        "ok": health.ok,
        "code": health.code,
        "text": health.text,
        "joints": {
            joint: {
                "position_rad": float(state.position_rad[i]),
                "velocity_rad_s": float(state.velocity_rad_s[i]),
                "effort": None if np.isnan(state.effort[i]) else float(state.effort[i]),
                **({"current_a": float(currents[joint])} if joint in currents else {}),
            }
            for i, joint in enumerate(state.names)
        },
        "touch": {area: {"unit": touch.unit, "sum": float(np.sum(values)), "cells": int(np.size(values))} for area, values in touch.areas.items()},
        "values": dict(health.values),
    }


def as_text(found: dict[str, Any]) -> str:
    """``readings`` as a table."""
    health = "ok" if found["ok"] else f"NOT OK [{found['code']}]"
    head = f"  {'joint':<34}{'rad':>9}{'degrees':>9}{'rad/s':>9}{'N m':>8}{'A':>8}"
    lines = [f"{found['name']} ({found['robot']}): {health}: {found['text']}", head]
    for joint, row in found["joints"].items():
        effort = "" if row["effort"] is None else f"{row['effort']:.2f}"
        current = f"{row['current_a']:.3f}" if "current_a" in row else ""
        position = row["position_rad"]
        lines.append(f"  {joint:<34}{position:>9.4f}{np.degrees(position):>9.1f}{row['velocity_rad_s']:>9.3f}{effort:>8}{current:>8}")
    lines += [f"  touch {area:<28}{row['sum']:>9.3f} {row['unit']} over {row['cells']} cells" for area, row in found["touch"].items()]
    lines += [f"  {key} = {value}" for key, value in found["values"].items()]
    return "\n".join(lines)


def device_rows(cell: CellConfig) -> list[dict[str, str]]:
    """One row for each device of a cell: where it is, what it speaks, which driver, and who has it now."""
    rows = []
    for name, interface in cell.interfaces.items():
        try:
            address, driver = cell.address_of(name), cell.driver_of(name)
        except ConfigError as error:
            address, driver = "", f"none: {error}"
        rows.append({
            "name": name, "robot": interface.robot.name, "address": address or "none", "transport": cell.transport_of(name), "driver": driver,
            "owner": owner_of(address) if address else "",
        })
    return rows


def owner_of(address: str) -> str:
    """``process N`` that has a device claimed on this machine, else ``free``."""
    claim = Claim()
    try:
        claim.take(f"device/{address}", address)
    except AlreadyRunningError as error:
        return f"process {error.pid or 'unknown'}"
    finally:
        claim.release()
    return "free"


def drivers_text() -> str:
    """The drivers that are installed."""
    return "\n".join(f"drivers for {kind}s: {', '.join(driver_names(kind))}" for kind in ("arm", "hand"))
