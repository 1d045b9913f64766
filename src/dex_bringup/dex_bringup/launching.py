# SPDX-License-Identifier: Apache-2.0
"""The process list of a cell as launch_ros actions; launch files hold nothing but a call of this."""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from dex_bringup.arguments import declared_arguments
from dex_bringup.claim import Claim, claim_cell
from dex_bringup.process import ProcessDescription
from dex_bringup.resolve import Resolution, resolve

RESPAWN_DELAY_S = 1.0
_claims: list[Claim] = []  # held until the launch process ends


def cell_launch_description(cell: str) -> LaunchDescription:
    """Declares the cell's arguments and, when launched, starts exactly what ``dex up`` starts."""
    arguments = declared_arguments()
    declared = [
        DeclareLaunchArgument(a.name, default_value=a.default, description=a.description, choices=list(a.choices) or None) for a in arguments
    ]

    def start(context: LaunchContext) -> list[Action]:
        values = {a.name: LaunchConfiguration(a.name).perform(context) for a in arguments}
        resolution = resolve(cell, values)
        _claims.append(claim_cell(resolution.cell, resolution.namespace))
        return [action_of(process, resolution) for process in resolution.processes]

    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def action_of(process: ProcessDescription, resolution: Resolution) -> Action:
    """One process as Node or LifecycleNode; the end of an essential one shuts everything down."""
    respawn = resolution.arguments["use_respawn"] == "true" and process.lifecycle and not process.essential
    options = {
        "package": process.package, "executable": process.executable, "name": process.name, "namespace": process.namespace,
        "parameters": [dict(process.parameters)], "remappings": list(process.remappings), "additional_env": dict(process.env),
        "arguments": list(process.arguments), "ros_arguments": ["--log-level", process.log_level], "output": "screen",
        "respawn": respawn, "respawn_delay": RESPAWN_DELAY_S, "sigterm_timeout": "5", "sigkill_timeout": "5",
    }
    if process.nice > 0:
        options["prefix"] = f"nice -n {process.nice}"
    if process.essential:
        options["on_exit"] = OpaqueFunction(function=_shut_down_once, args=[process.name])
    return (LifecycleNode if process.lifecycle else Node)(**options)


def _shut_down_once(context: LaunchContext, name: str) -> list[Action]:
    """Shutdown, unless it is under way already: launch takes a second one for an error."""
    return [] if context.is_shutdown else [Shutdown(reason=f"{name} ended")]
