# SPDX-License-Identifier: Apache-2.0
"""How a robot that has a ROS driver of its own is reached: its controller, its joint states, and what it calls its joints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dex_core.config import Interface, find_share
from dex_core.config.strict import bounded, build, read_yaml
from dex_core.errors import ConfigError

_NAME = re.compile(r"(/[A-Za-z][A-Za-z0-9_]*)+")


@dataclass(frozen=True)
class Ros2ControlSettings:
    """One robot on a ROS graph.

    Attributes:
        controller: full name of its joint_trajectory_controller, e.g. ``/left/arm_controller``.
        states: topic of its joint states; empty: ``joint_states`` beside the controller.
        prefix: stands before every joint name there that ``joints`` does not give.
        joints: joint as the robot's file calls it -> as the ROS driver calls it; those not named are called the same.
        max_state_age_s: an older joint state is a lost link.
        ahead_s: time_from_start of every point that is sent, i.e. how long the controller takes to get there [s].
        domain_id: ROS domain of the robot; -1: that of this process.
        shared_states: the states topic may have several publishers; each joint still must have one alone.
    """

    controller: str
    states: str = ""
    prefix: str = ""
    joints: dict[str, str] = field(default_factory=dict)
    max_state_age_s: float = bounded(0.005, 5.0, default=0.1)
    ahead_s: float = bounded(0.002, 1.0, default=0.02)
    domain_id: int = bounded(-1, 232, default=-1)
    shared_states: bool = False

    def __post_init__(self) -> None:
        for key, value in (("controller", self.controller), ("states", self.states_topic)):
            if not _NAME.fullmatch(value):
                raise ConfigError(f"{key} is {value!r}; allowed: a full ROS name, e.g. /left/arm_controller")

    @property
    def states_topic(self) -> str:
        """Full name of the topic of joint states."""
        return self.states or self.controller.rpartition("/")[0] + "/joint_states"

    def names_there(self, actuated: Sequence[str]) -> tuple[str, ...]:
        """What the ROS driver calls these joints (names of the robot's file). Raises ConfigError for an unknown or repeated one."""
        unknown = sorted(set(self.joints) - set(actuated))
        if unknown:
            raise ConfigError(f"joints names {unknown[0]!r}, which is no joint of the robot; allowed: {list(actuated)}")
        there = tuple(self.joints.get(name, self.prefix + name) for name in actuated)
        twice = sorted({name for name in there if there.count(name) > 1})
        if twice:
            raise ConfigError(f"two joints of the robot are called {twice[0]!r} by its ROS driver; each needs a name of its own")
        return there


def read_settings(interface: Interface, address: str) -> Ros2ControlSettings:
    """The settings that an address stands for.

    Args:
        interface: whose address it is; its joints must be those of the settings.
        address: a controller's full name (everything else by default), or a YAML file: absolute, or below ``config/``.

    Raises:
        ConfigError: neither, or a key of the file is wrong.
    """
    if not address.endswith((".yaml", ".yml")):
        settings = Ros2ControlSettings(address if address.startswith("/") else f"/{address}")
    else:
        path = Path(address).expanduser()
        path = path if path.is_absolute() else find_share("config", *path.parts)
        settings = build(Ros2ControlSettings, read_yaml(path), str(path))
    settings.names_there(interface.robot.actuated)
    return settings
