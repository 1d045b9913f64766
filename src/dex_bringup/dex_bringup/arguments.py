# SPDX-License-Identifier: Apache-2.0
"""The arguments of a cell, once: `ros2 launch` and `dex up` declare exactly these."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dex_core.config.camera import EXTERNAL
from dex_core.config.control import SCHEDULE_NAMES
from dex_core.config.load import allowed_names
from dex_core.config.policy_server import parse_url
from dex_core.errors import ConfigError

SAME, OWN, NONE = "same", "own", "none"
BOOLEANS = ("true", "false")
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
_NAMESPACE = re.compile(r"(/?[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*)*)?")
_COMPONENT = re.compile(r"[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*)*")
_ADDRESS = re.compile(r"[a-z0-9_]+=[^,=\s]+")


@dataclass(frozen=True)
class Argument:
    """One launch argument. ``choices`` empty: any text that ``check_value`` accepts."""

    name: str
    default: str
    description: str
    choices: tuple[str, ...] = ()


def declared_arguments() -> tuple[Argument, ...]:
    """Every argument of a cell, in the order that help shows them."""
    hands, arms = tuple(allowed_names("hands")), tuple(allowed_names("arms"))
    return (
        Argument("hand", OWN, "The hand on every arm; 'own': that of the cell file.", (OWN, *hands)),
        Argument("left_hand", SAME, "The hand on the left arm; 'same' as hand.", (SAME, *hands)),
        Argument("right_hand", SAME, "The hand on the right arm; 'same' as hand.", (SAME, *hands)),
        Argument("arm", OWN, "The arm on every side; 'own': that of the cell file.", (OWN, *arms)),
        Argument("left_arm", SAME, "The left arm; 'same' as arm.", (SAME, *arms)),
        Argument("right_arm", SAME, "The right arm; 'same' as arm.", (SAME, *arms)),
        Argument("sim", "true", "Simulate the cell; 'false' moves real hardware and needs real addresses.", BOOLEANS),
        Argument("addresses", "", "Real addresses, e.g. left_arm=192.168.1.11,right_arm=192.168.1.12; empty: those of the cell file."),
        Argument(
            "camera_driver", OWN, "Who publishes the pictures: 'own': drivers as in the cell file; 'external': e.g. realsense2_camera.",
            (OWN, EXTERNAL),
        ),
        Argument(
            "segmentation", OWN, "Find and follow objects: 'own' as the cell file says, 'true' with its models or ours, 'false' not.",
            (OWN, *BOOLEANS),
        ),
        Argument("schedule", OWN, "How chunks follow each other; 'own': as the cell file says.", (OWN, *SCHEDULE_NAMES)),
        Argument("bundle", "", "Model bundle: a name in models/ or a path; empty: the cell's own."),
        Argument("policy_server", OWN, "URL of the server that runs the policy; 'own': as the cell file says, 'none': the policy runs here."),
        Argument("record", "false", "Record every topic to MCAP in the run folder.", BOOLEANS),
        Argument("rviz", "false", "Open RViz with the cell's view.", BOOLEANS),
        Argument("monitor", "true", "Publish robot_description, TF, joint_states and the planned chunk.", BOOLEANS),
        Argument("namespace", "", "Namespace of every node, e.g. cell1; empty: none."),
        Argument("log_level", "info", "Least severe message that nodes log.", LOG_LEVELS),
        Argument("seed", "0", "Seed of the simulated scene, 0 to 2147483647."),
        Argument(
            "faults", "", "What dex fault may break in a simulated cell: topics and interfaces, e.g. left/arm/joint_states,left_hand; empty: none."
        ),
        Argument("autostart", "true", "Nodes configure and activate themselves.", BOOLEANS),
        Argument("use_respawn", "true", "Start a node again when it dies; the gate and the simulation end the cell instead.", BOOLEANS),
    )


def check_arguments(given: Mapping[str, str]) -> dict[str, str]:
    """All arguments with their values; those not given take their default.

    Raises:
        ConfigError: names an unknown argument or a value that is not allowed, and what is.
    """
    declared = {argument.name: argument for argument in declared_arguments()}
    unknown = [name for name in given if name not in declared]
    if unknown:
        raise ConfigError(f"argument {unknown[0]!r} is not known; allowed: {list(declared)}")
    values = {name: str(given.get(name, argument.default)) for name, argument in declared.items()}
    for name, argument in declared.items():
        check_value(argument, values[name])
    return values


def check_value(argument: Argument, value: str) -> None:
    """Raises ConfigError, with what is allowed, unless ``value`` may be given for ``argument``."""
    if argument.choices and value not in argument.choices:
        raise ConfigError(f"argument {argument.name} is {value!r}; allowed: {list(argument.choices)}")
    if argument.name == "seed" and not (value.isascii() and value.isdigit() and int(value) < 2**31):
        raise ConfigError(f"argument seed is {value!r}; allowed: a whole number from 0 to {2**31 - 1}")
    if argument.name == "namespace" and not _NAMESPACE.fullmatch(value):
        raise ConfigError(f"argument namespace is {value!r}; allowed: lower-case words of letters, digits and _ joined by /")
    if argument.name == "policy_server" and value not in (OWN, NONE):
        parse_url(value)
    if argument.name == "addresses":
        parse_addresses(value)
    if argument.name == "faults":
        parse_faults(value)


def parse_addresses(text: str) -> dict[str, str]:
    """``left_arm=192.168.1.11,...`` -> interface -> address. Raises ConfigError."""
    pairs = [part.strip() for part in text.split(",") if part.strip()]
    for pair in pairs:
        if not _ADDRESS.fullmatch(pair):
            raise ConfigError(f"argument addresses holds {pair!r}; allowed: interface=address, joined by commas")
    return dict(pair.split("=", 1) for pair in pairs)


def parse_faults(text: str) -> tuple[str, ...]:
    """``left/arm/joint_states,right_hand`` -> its parts, each once. Raises ConfigError."""
    parts = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for part in parts:
        if not _COMPONENT.fullmatch(part):
            raise ConfigError(f"argument faults holds {part!r}; allowed: relative topics and interfaces, joined by commas")
    return parts
