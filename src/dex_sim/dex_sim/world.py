# SPDX-License-Identifier: Apache-2.0
"""One MuJoCo world of a cell: reset by seed, step, command joints by name, judge, take snapshots. Thread-safe."""
from __future__ import annotations

import threading
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.config import CellConfig, TaskConfig, load_task
from dex_core.errors import ConfigError, DexError, JointNameError
from dex_core.types import frozen_array
from dex_description import compose_cell_urdf, parse_urdf
from dex_sim.judge import Judge, Judgement, Poses
from dex_sim.model import build_model
from dex_sim.plant import PlantState
from dex_sim.scene import Visual, randomise_look
from dex_sim.things import Things

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class WorldState:
    """Everything a renderer needs of one instant.

    Attributes:
        stamp_ns: wall-clock time of the instant, or simulated time in lockstep [ns].
        qpos: (nq,) generalised positions, read-only.
        epoch: grows with every reset.
        visual: looks of this epoch.
    """

    stamp_ns: int
    qpos: Vector
    epoch: int
    visual: Visual


@dataclass(frozen=True)
class _Joints:
    """Where the joints of one interface lie in the model's arrays."""

    names: tuple[str, ...]
    qpos: NDArray[np.intp]
    qvel: NDArray[np.intp]
    actuator: NDArray[np.intp]


class World:
    """The simulated cell. Targets are servo positions; they slew at the joints' own velocity limits."""

    def __init__(self, cell: CellConfig, task: TaskConfig | None = None) -> None:
        self.cell = cell
        every = (task,) if task is not None else tuple(load_task(name) for name in cell.sim.every_task)
        self.tasks = {one.name: one for one in every}
        self.task = task or self.tasks[cell.sim.task]
        self._default = self.task
        self.model = build_model(cell, every)
        self._data = mujoco.MjData(self.model)
        self._things = Things(self.model, {name: thing for one in every for name, thing in one.objects.items()})
        self._lock = threading.RLock()
        self._body_names = [self.model.body(body).name for body in range(self.model.nbody)]
        self._nominal = Visual.of(self.model)
        self._visual = self._nominal
        self._judges = {name: Judge(one) for name, one in self.tasks.items()}
        self._joints = {name: self._find_joints(interface.names) for name, interface in cell.interfaces.items()}
        self._couplings = self._find_couplings()
        self._slew_rad = self._slew_per_step()
        self._target = np.zeros(self.model.nu)
        self._steps = 0
        self.seed = cell.sim.seed
        self.epoch = 0
        self.reset(self.seed)

    # -- time ---------------------------------------------------------------------------------------------------------
    @property
    def timestep_s(self) -> float:
        """One physics step in s."""
        return float(self.model.opt.timestep)

    @property
    def time_s(self) -> float:
        """Simulated time since the last reset in s."""
        return self._steps * self.timestep_s

    def reset(self, seed: int, task: str | None = None, *, joint_noise_rad: float = 0.0, randomise: bool = True) -> None:
        """Puts robots home and a task's objects where ``seed`` says; the same seed gives the same world to the last bit.

        Args:
            seed: decides object positions, colours, light, camera and noise.
            task: name of a task of the cell, the cell's default when left out; objects of the others are put away.
            joint_noise_rad: arms start up to this far from home, each joint uniform (hands: ten times that).
            randomise: False keeps the nominal look.

        Raises:
            ConfigError: the cell has no such task; names those it has.
        """
        chosen = self._default if not task else self.tasks.get(task)
        if chosen is None:
            raise ConfigError(f"cell {self.cell.name!r} has no task {task!r}; it has {list(self.tasks)}")
        with self._lock:
            self.task = chosen
            rng, own = np.random.default_rng([int(seed), 0x0D3C]), np.random.default_rng([int(seed), 0x0B7E])
            mujoco.mj_resetData(self.model, self._data)
            spots = self._things.draw(chosen, rng, own)
            self._visual = self._nominal
            self._nominal.apply(self.model)
            if randomise:
                self._visual = randomise_look(self.model, self._nominal, rng, self._things.configs, own)
            self._things.lay_out(self._data, spots)
            for name in self.cell.interfaces:
                self._start_joints(name, rng, joint_noise_rad)
            self._follow_couplings()
            self._data.ctrl[:] = self._target
            self._steps = 0
            self.seed, self.epoch = int(seed), self.epoch + 1
            mujoco.mj_forward(self.model, self._data)
            self._judges[self.task.name].reset(self.object_poses())

    def step(self, n: int = 1) -> None:
        """Advances by ``n`` physics steps."""
        with self._lock:
            data, target, slew = self._data, self._target, self._slew_rad
            for _ in range(n):
                data.ctrl += np.clip(target - data.ctrl, -slew, slew)
                mujoco.mj_step(self.model, data)
            self._steps += n

    # -- joints -------------------------------------------------------------------------------------------------------
    def plant(self, interface: str) -> WorldPlant:
        """The joints of one interface as a Plant."""
        self.cell.interface(interface)
        return WorldPlant(self, interface)

    def joint_positions(self, names: tuple[str, ...] | None = None) -> Vector:
        """Measured positions (n,) rad of these joints, of all actuated joints of the cell without ``names``.

        Raises:
            JointNameError: a name is not a joint of this cell.
        """
        wanted = self.cell.joint_names if names is None else tuple(names)
        known = {joint for joints in self._joints.values() for joint in joints.names}
        if not set(wanted) <= known:
            raise JointNameError("joint_positions", wanted, sorted(known))
        with self._lock:
            return np.array([self._data.qpos[self.model.joint(name).qposadr[0]] for name in wanted])

    def state(self, interface: str) -> PlantState:
        """Measured joints of one interface, hardware order."""
        joints = self._joints_of(interface)
        with self._lock:
            data = self._data
            return PlantState(data.qpos[joints.qpos], data.qvel[joints.qvel], data.actuator_force[joints.actuator])

    def set_targets(self, interface: str, position_rad: ArrayLike) -> None:
        """Servo targets (n,) rad of one interface, hardware order. Raises ShapeError or NonFiniteError."""
        joints = self._joints_of(interface)
        target = frozen_array(position_rad, (len(joints.names),), f"targets of {interface}")
        with self._lock:
            self._target[joints.actuator] = target

    def targets(self, interface: str) -> Vector:
        """Servo targets (n,) rad last set."""
        with self._lock:
            return self._target[self._joints_of(interface).actuator].copy()

    @property
    def object_names(self) -> frozenset[str]:
        """Every object of the cell, of whatever task."""
        return frozenset(self._things.configs)

    # -- what there is to see -------------------------------------------------------------------------------------------
    def object_poses(self) -> Poses:
        """Object of the present task -> (7,) position in m and quaternion w, x, y, z, in ``world``."""
        with self._lock:
            return self._things.poses(self._data, self.task.objects)

    def place(self, joints: dict[str, ArrayLike], objects_xy_m: dict[str, ArrayLike] | None = None) -> None:
        """Puts robots and objects anywhere without stepping, at rest; time stays.

        Args:
            joints: interface -> (n,) rad, hardware order; also becomes the servo target.
            objects_xy_m: object of the present task -> (x, y) in m, standing on the table; those not named stay.
        """
        checked = {name: frozen_array(q, (len(self._joints_of(name).names),), f"place {name}") for name, q in joints.items()}
        with self._lock:
            self._data.qvel[:] = 0.0
            for name, q in checked.items():
                self._data.qpos[self._joints[name].qpos] = q
                self._target[self._joints[name].actuator] = q
            for name, spot in (objects_xy_m or {}).items():
                self._things.put(self._data, name, frozen_array(spot, (2,), f"place {name}"))
            self._follow_couplings()
            self._data.ctrl[:] = self._target
            mujoco.mj_forward(self.model, self._data)

    def judge(self) -> Judgement:
        """Verdict on this instant."""
        with self._lock:
            names = self.task.objects
            speeds, touched = self._things.speeds(self._data, names), self._things.touched(self._data, names)
            return self._judges[self.task.name].judge(self.object_poses(), speeds, touched)

    def snapshot(self, stamp_ns: int | None = None) -> WorldState:
        """The instant as values; without ``stamp_ns`` it is stamped with simulated time."""
        with self._lock:
            qpos = self._data.qpos.copy()
            qpos.setflags(write=False)
            stamp = round(self.time_s * 1e9) if stamp_ns is None else stamp_ns
            return WorldState(stamp, qpos, self.epoch, self._visual)

    def body_pose(self, name: str) -> Vector:
        """(7,) position in m and quaternion w, x, y, z of a link in ``world``."""
        with self._lock:
            body = self._data.body(name)
            return np.concatenate([body.xpos, body.xquat])

    def warnings(self) -> dict[str, int]:
        """MuJoCo's warnings since the last reset, by name; empty when all is well."""
        with self._lock:
            counts = {mujoco.mjtWarning(i).name: int(w.number) for i, w in enumerate(self._data.warning)}
        return {name: number for name, number in counts.items() if number}

    def contacts(self) -> list[tuple[str, str]]:
        """Bodies in contact now, as sorted pairs."""
        with self._lock:
            bodies = self.model.geom_bodyid[self._data.contact.geom[: self._data.ncon]].tolist()
        names = self._body_names
        return [(names[a], names[b]) if names[a] <= names[b] else (names[b], names[a]) for a, b in bodies]

    # -- inside ---------------------------------------------------------------------------------------------------------
    def _joints_of(self, interface: str) -> _Joints:
        self.cell.interface(interface)
        return self._joints[interface]

    def _find_joints(self, names: tuple[str, ...]) -> _Joints:
        model = self.model
        return _Joints(
            names,
            np.array([model.joint(n).qposadr[0] for n in names]),
            np.array([model.joint(n).dofadr[0] for n in names]),
            np.array([model.actuator(n).id for n in names]),
        )

    def _find_couplings(self) -> list[tuple[int, int, float, float]]:
        found = []
        for joint in parse_urdf(compose_cell_urdf(self.cell)).joints:
            if joint.mimic is not None:
                child, parent = (self.model.joint(n).qposadr[0] for n in (joint.name, joint.mimic.joint))
                found.append((int(child), int(parent), joint.mimic.multiplier, joint.mimic.offset_rad))
        return found

    def _slew_per_step(self) -> Vector:
        slew = np.zeros(self.model.nu)
        for joint in parse_urdf(compose_cell_urdf(self.cell)).joints:
            if joint.kind != "fixed" and joint.mimic is None:
                if not joint.velocity_rad_s:
                    raise DexError(f"joint {joint.name!r} has no velocity limit in its description")
                slew[self.model.actuator(joint.name).id] = joint.velocity_rad_s * self.timestep_s
        return slew

    def _start_joints(self, interface: str, rng: np.random.Generator, noise_rad: float) -> None:
        config, joints = self.cell.interface(interface), self._joints[interface]
        spread = noise_rad * (10.0 if config.robot.kind == "hand" else 1.0)
        start = np.asarray(config.home) + rng.uniform(-1.0, 1.0, len(joints.names)) * spread
        start = np.clip(start, [limit.lower_rad for limit in config.limits], [limit.upper_rad for limit in config.limits])
        self._data.qpos[joints.qpos] = start
        self._target[joints.actuator] = start

    def _follow_couplings(self) -> None:
        for child, parent, multiplier, offset in self._couplings:
            self._data.qpos[child] = multiplier * self._data.qpos[parent] + offset


class WorldPlant:
    """One interface of a World as a Plant."""

    def __init__(self, world: World, interface: str) -> None:
        self._world, self._interface = world, interface
        self.names = world.cell.interface(interface).names

    def read(self) -> PlantState:
        """Measured joints now."""
        return self._world.state(self._interface)

    def command(self, position_rad: ArrayLike) -> None:
        """New servo targets (n,) rad."""
        self._world.set_targets(self._interface, position_rad)

    def hold(self) -> None:
        """Makes the measured position the target."""
        self._world.set_targets(self._interface, self.read().position_rad)
