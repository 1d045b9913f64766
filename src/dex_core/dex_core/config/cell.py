# SPDX-License-Identifier: Apache-2.0
"""The one description of a cell: what it is made of, where it stands, at which addresses, under which limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from dex_core.config.bundles import BundleRules
from dex_core.config.camera import EXTERNAL, TOPIC_WORD, CameraConfig
from dex_core.config.control import ControlConfig
from dex_core.config.perception import PerceptionConfig
from dex_core.config.policy_server import PolicyServerConfig
from dex_core.config.robot import SIMULATED, TRANSPORTS, JointLimit, Pose, RobotConfig
from dex_core.config.safety import SafetyConfig, SafetyProfile, load_profile
from dex_core.config.strict import bounded, choice, to_plain
from dex_core.errors import ConfigError
from dex_core.latency.budget import check_stage_budgets

SIDES = ("left", "right")
BODY_SIDE, BODY = "both", "body"
"""Side and interface name of a robot that has both arms, e.g. a humanoid; its links and joints carry no prefix."""


@dataclass(frozen=True)
class DeviceAddress:
    """How to reach one device.

    Attributes:
        transport: what the wire speaks; ``none``: not known, the device can only be described, shown and simulated without wires.
        simulated: where its simulator listens; empty: there is none.
        stand_in: that simulator speaks the ``simulated`` transport instead of this one.
        real: where the robot is; empty: must be given.
        driver: entry point that speaks this transport where the robot's own speaks another, e.g. ``inspire_g1`` for hands behind a G1.
    """

    transport: str = choice(*TRANSPORTS)
    simulated: str = ""
    stand_in: bool = False
    real: str = ""
    unit_id: int = bounded(0, 255, default=1)
    serial_number: str = ""
    baud: int = bounded(1200, 4_000_000, default=115200)
    driver: str = ""


@dataclass(frozen=True)
class Interface:
    """One robot mounted in the cell, e.g. ``left_arm``.

    Attributes:
        side: left, right, or both for a body with two arms.
        robot: the arm or hand, whole.
        mount: pose of its root link in ``mounted_on``.
        mounted_on: ``world`` or a link of another interface, with prefix, e.g. ``left_link_eef``.
        home_rad: rest posture, joint name without prefix -> [rad].
        rate_hz: how often it reports its joints.
    """

    side: str = choice(*SIDES, BODY_SIDE)
    robot: RobotConfig = None  # type: ignore[assignment]
    mount: Pose = None  # type: ignore[assignment]
    mounted_on: str = "world"
    address: DeviceAddress = None  # type: ignore[assignment]
    home_rad: dict[str, float] = field(default_factory=dict)
    rate_hz: float = bounded(1.0, 1000.0, default=100.0)

    def __post_init__(self) -> None:
        missing = [key for key in ("robot", "mount", "address") if getattr(self, key) is None]
        if missing:
            raise ConfigError(f"key {missing[0]!r} is missing; required: {missing}")
        if self.side in SIDES and self.side not in self.robot.sides:
            raise ConfigError(f"side is {self.side!r}, but {self.robot.name} is only made for {list(self.robot.sides)}")
        if set(self.home_rad) != set(self.robot.actuated):
            raise ConfigError(f"home_rad must name exactly {list(self.robot.actuated)}, got {sorted(self.home_rad)}")
        for joint, value in self.home_rad.items():
            limit = self.robot.limits[joint]
            if not limit.lower_rad <= value <= limit.upper_rad:
                raise ConfigError(f"home_rad {joint} is {value}; allowed {limit.lower_rad} to {limit.upper_rad} rad")

    @property
    def name(self) -> str:
        """What this interface must be called: ``left_arm``, ``right_hand``, ``body``."""
        return BODY if self.side == BODY_SIDE else f"{self.side}_{self.robot.kind}"

    @property
    def prefix(self) -> str:
        """What stands before every link and joint name of this robot in the cell: ``left_``, ``right_``, or nothing for a body."""
        return "" if self.side == BODY_SIDE else f"{self.side}_"

    @property
    def names(self) -> tuple[str, ...]:
        """Actuated joints with prefix, hardware order."""
        return tuple(self.prefix + joint for joint in self.robot.actuated)

    @property
    def limits(self) -> tuple[JointLimit, ...]:
        """Limits in the order of ``names``."""
        return tuple(self.robot.limits[j] for j in self.robot.actuated)

    @property
    def home(self) -> tuple[float, ...]:
        """Rest posture in the order of ``names`` [rad]."""
        return tuple(self.home_rad[j] for j in self.robot.actuated)


@dataclass(frozen=True)
class EnsembleConfig:
    """Chunks mixed by the policy server, in the spaces the policy speaks, before they are sent: ``dex_core.chunks.mixing``.

    Attributes:
        decay: m of exp(-m i), i = 0 the oldest chunk.
        held: columns that are never mixed: of a gripper that is open or closed, the newest chunk decides.
    """

    decay: float = bounded(0.0, 10.0, default=0.01)
    held: tuple[str, ...] = ()


@dataclass(frozen=True)
class PolicyConfig:
    """The policy server. An empty ``bundle``: none is started, the cell moves by trajectories alone.

    Attributes:
        image_max_age_s: oldest allowed picture of the policy's first camera, whose exposure is the observation's stamp.
        image_max_apart_s: how far a picture of another camera, or of the policy's history, may be from the time it stands for.
        state_max_age_s: how far a joint state may be from the stamp.
        max_age_s: camera or interface -> its own limit, instead of the one of its kind.
        server: what runs the bundle's graphs instead of this machine; the bundle here stays the authority on what they are.
        ensemble: chunks of a goal are mixed before they are sent; None: each goes out as the policy said it.
        latency_budget_ms: of a chunk from exposure to first command, the model included; what is above is counted and shown, not refused.
        bundles: how far bundles are trusted, what they may take, how they are tuned.
        stage_budgets_ms: stage -> its own budget, see ``dex_core.latency.budget`` for the stages and their defaults.
    """

    bundle: str = "xl_vla_tabletop"
    latent_bundle: str = "hand_latents"
    replan_period_s: float = bounded(0.001, 30.0, default=0.8)
    image_max_age_s: float = bounded(0.01, 10.0, default=0.25)
    image_max_apart_s: float = bounded(0.001, 10.0, default=0.06)
    state_max_age_s: float = bounded(0.005, 10.0, default=0.10)
    max_age_s: dict[str, float] = field(default_factory=dict)
    goal_deadline_s: float = bounded(0.5, 3600.0, default=40.0)
    provider: str = choice("auto", "cpu", "cuda", "tensorrt", default="auto")
    threads: int = bounded(1, 64, default=1)
    bundles: BundleRules = BundleRules()
    server: PolicyServerConfig | None = None
    ensemble: EnsembleConfig | None = None
    latency_budget_ms: float = bounded(1.0, 60_000.0, default=100.0)
    stage_budgets_ms: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_stage_budgets(self.stage_budgets_ms)
        for stream, limit_s in self.max_age_s.items():
            if not 0.001 <= limit_s <= 10.0:
                raise ConfigError(f"max_age_s.{stream} is {limit_s}; allowed 0.001 to 10 s")

    def max_age_of(self, stream: str, of_its_kind_s: float) -> float:
        """The limit of one camera or interface [s]."""
        return self.max_age_s.get(stream, of_its_kind_s)


@dataclass(frozen=True)
class SimConfig:
    """The simulated cell.

    Attributes:
        rate_hz: physics rate.
        task: whose objects are on the table when nobody says another.
        tasks: every task whose objects the cell has; ``task`` alone when left out.
    """

    rate_hz: float = bounded(100.0, 10000.0, default=500.0)
    state_server: str = "127.0.0.31:7600"
    task: str = "push_cans"
    tasks: tuple[str, ...] = ()
    seed: int = bounded(0, 2**31 - 1, default=0)

    def __post_init__(self) -> None:
        if self.tasks and (self.task not in self.tasks or len(set(self.tasks)) != len(self.tasks)):
            raise ConfigError(f"tasks {list(self.tasks)} must name task {self.task!r}, and each once")

    @property
    def every_task(self) -> tuple[str, ...]:
        """Names of all tasks of the cell, in order."""
        return self.tasks or (self.task,)


@dataclass(frozen=True)
class CellConfig:
    """Everything a cell is. ``interfaces`` in the order the gate reports them; without ``perception`` nothing is segmented."""

    name: str
    interfaces: dict[str, Interface]
    cameras: dict[str, CameraConfig]
    control: ControlConfig = ControlConfig()
    policy: PolicyConfig = PolicyConfig()
    sim: SimConfig = SimConfig()
    simulated: bool = True
    safety: SafetyConfig = field(default_factory=SafetyConfig)
    perception: PerceptionConfig | None = None

    def __post_init__(self) -> None:
        if not self.interfaces:
            raise ConfigError(f"interfaces: cell {self.name!r} has none; it needs at least one arm, hand or body")
        wrong = [name for name in self.cameras if not TOPIC_WORD.fullmatch(name)]
        if wrong:
            raise ConfigError(f"camera {wrong[0]!r}: its name becomes part of topics; allowed: lower-case letters, digits and _, a letter first")
        for name, interface in self.interfaces.items():
            if name != interface.name:
                raise ConfigError(f"interface {name!r} must be called {interface.name}")
        self.safety.check_names(list(self.interfaces))
        streams = [*self.cameras, *self.interfaces]
        if unknown := [name for name in self.policy.max_age_s if name not in streams]:
            raise ConfigError(f"policy.max_age_s names {unknown}; cell {self.name!r} has {streams}")
        if self.perception is not None:
            seen = self.camera(self.perception.camera)
            if not self.cameras[seen].depth:
                raise ConfigError(f"perception needs depth, and camera {seen!r} has depth: false; set it to true")

    def profile_of(self, name: str) -> SafetyProfile:
        """Safety profile of the robot of one interface: the cell's own, else that of its kind."""
        return self.safety.profiles.get(name) or load_profile(self.interface(name).robot.name)

    def interface(self, name: str) -> Interface:
        """One interface by name. Raises ConfigError with the names there are."""
        if name not in self.interfaces:
            raise ConfigError(f"cell {self.name!r} has no interface {name!r}; it has {list(self.interfaces)}")
        return self.interfaces[name]

    def camera(self, name: str = "") -> str:
        """The name of a camera, checked; an empty one means the only camera. Raises ConfigError with the names there are."""
        if not name and len(self.cameras) == 1:
            return next(iter(self.cameras))
        if name not in self.cameras:
            raise ConfigError(f"camera {name!r} is not in cell {self.name!r}; it has {list(self.cameras)}")
        return name

    def camera_scope(self, name: str) -> str:
        """What stands before topics and frames of a camera, ``wrist/camera/color/image_raw``: its name, and nothing for the cell's first."""
        return "" if name == next(iter(self.cameras), "") else name

    def camera_stem(self, name: str) -> str:
        """Name of a camera's node and begin of its frames' names, as in ``camera_link``: ``wrist_camera``, and ``camera`` for the first."""
        return f"{name}_camera" if self.camera_scope(name) else "camera"

    @property
    def camera_nodes(self) -> dict[str, str]:
        """Node name -> camera, for the cameras that this stack drives itself."""
        return {self.camera_stem(name): name for name, camera in self.cameras.items() if camera.driver != EXTERNAL}

    @property
    def joint_names(self) -> tuple[str, ...]:
        """All actuated joints of the cell, with prefix, interface by interface."""
        return tuple(n for i in self.interfaces.values() for n in i.names)

    def address_of(self, name: str) -> str:
        """The address to use: the simulator's, or the robot's when ``simulated`` is false.

        Raises:
            ConfigError: there is none; names the robot, its driver and what can be done.
        """
        interface = self.interface(name)
        address = interface.address
        chosen = address.simulated if self.simulated else address.real
        if not chosen:
            more = f"; no device simulator is known for {interface.robot.name!r} (transport {address.transport!r}): it can be described, shown and " \
                "simulated without wires, not started" if self.simulated else ""
            raise ConfigError(f"{name} has no {'simulated' if self.simulated else 'real'} address{more}; give one in the cell file")
        return chosen

    def transport_of(self, name: str) -> str:
        """What is spoken at :meth:`address_of`: the robot's own wire, or ``simulated`` where a stand-in is simulated."""
        address = self.interface(name).address
        return SIMULATED if self.simulated and address.stand_in else address.transport

    def driver_of(self, name: str) -> str:
        """Entry point of the driver that speaks it.

        Raises:
            ConfigError: a robot that is not simulated names the driver ``simulated``.
        """
        interface = self.interface(name)
        driver = interface.address.driver or interface.robot.driver
        if self.simulated:
            return SIMULATED if interface.address.stand_in else driver
        if driver == SIMULATED:
            raise ConfigError(f"{name} ({interface.robot.name}) has the driver {SIMULATED!r}, which drives no real hardware")
        return driver

    def save(self, path: Path) -> None:
        """Writes the resolved cell as YAML; ``load_cell`` reads it back."""
        path.write_text(yaml.safe_dump(to_plain(self), sort_keys=False), encoding="utf-8")
