# SPDX-License-Identifier: Apache-2.0
"""Cell + arguments -> the frozen list of processes that launch and `dex up` start, and the run folder they share."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dex_bringup import transport
from dex_bringup.arguments import NONE, OWN, SAME, check_arguments, parse_addresses, parse_faults
from dex_bringup.fault.relay import fault_parts, with_relay
from dex_bringup.process import ProcessDescription
from dex_core.bundle import parse_manifest
from dex_core.bundle.load import find_bundle
from dex_core.chunks.join import decoder_of
from dex_core.config import CellConfig, PerceptionConfig, PolicyServerConfig, find_share, load_cell
from dex_core.config.camera import EXTERNAL
from dex_core.devices.registry import check_real_drivers
from dex_core.errors import ConfigError, DexError

DEFAULT_CELL = "xarm_bimanual"
ROBOTS = ("hand", "left_hand", "right_hand", "arm", "left_arm", "right_arm")
PREFERRED, ORDINARY, YIELDING = -10, 0, 10
"""What moves the robot comes first; what only shows yields. What records does not yield: nobody can make good what it missed."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMEXPR_NUM_THREADS": "1"}
"""Many processes share few cores: no library may start a pool of its own."""


@dataclass(frozen=True)
class Resolution:
    """A cell, ready to start.

    Attributes:
        cell: the resolved cell.
        arguments: every argument with its value.
        run_folder: where this run writes everything.
        cell_file: the resolved cell as the nodes read it.
        processes: what to start.
    """

    cell: CellConfig
    arguments: Mapping[str, str]
    run_folder: Path
    cell_file: Path
    processes: tuple[ProcessDescription, ...]

    @property
    def namespace(self) -> str:
        """Without slashes at its ends; empty for none."""
        return self.arguments["namespace"].strip("/")

    def process(self, name: str) -> ProcessDescription:
        """One process by node name. Raises ConfigError with the names there are."""
        for process in self.processes:
            if process.name == name:
                return process
        raise ConfigError(f"no process is called {name!r}; there is: {[p.name for p in self.processes]}")


def resolve(cell: str | Path = DEFAULT_CELL, arguments: Mapping[str, str] | None = None, run_folder: Path | None = None) -> Resolution:
    """Checks everything, writes ``cell.yaml`` into the run folder and lists the processes.

    Args:
        cell: name in ``config/cells`` or a YAML path.
        arguments: name -> text, as typed after ``:=``; the rest takes its default.
        run_folder: default: ``DEX_RUN_DIR``, else a new folder under ``~/.ros/dex``.

    Raises:
        ConfigError: names the argument, file or key, and what is allowed.
    """
    values = check_arguments(arguments or {})
    resolved = resolve_cell(cell, values)
    folder = run_folder or new_run_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        cell_file = folder.resolve() / "cell.yaml"
        resolved.save(cell_file)
    except OSError as error:
        raise ConfigError(f"run folder {folder} cannot be written: {error}; set DEX_RUN_DIR to one that can") from error
    return Resolution(resolved, values, folder.resolve(), cell_file, processes_of(resolved, values, folder.resolve()))


def resolve_cell(cell: str | Path, values: Mapping[str, str]) -> CellConfig:
    """The cell with the arguments applied; real hardware only with every address given."""
    resolved = load_cell(
        cell,
        **{name: None if values[name] in (SAME, OWN) else values[name] for name in ROBOTS},
        simulated=values["sim"] == "true", bundle=values["bundle"] or None, seed=int(values["seed"]),
        addresses=parse_addresses(values["addresses"]),
    )
    if values["camera_driver"] == EXTERNAL:
        resolved = replace(resolved, cameras={name: replace(camera, driver=EXTERNAL) for name, camera in resolved.cameras.items()})
    if values["segmentation"] != OWN:
        resolved = with_segmentation(resolved) if values["segmentation"] == "true" else replace(resolved, perception=None)
    if values["schedule"] != OWN:
        resolved = replace(resolved, control=replace(resolved.control, schedule=values["schedule"]))
    if values["policy_server"] != OWN:
        resolved = with_server(resolved, values["policy_server"])
    fault_parts(resolved, parse_faults(values["faults"]))
    if not resolved.simulated:
        _require_real_hardware(resolved)
    return _with_its_space(resolved) if values["bundle"] else resolved


SEGMENTATION_MODELS = {"bundle": "tabletop_segmentation", "picker_bundle": "tabletop_picker", "completion_bundle": "tabletop_completion"}
"""What segments where the cell file does not say, as far as it is there."""


def with_segmentation(cell: CellConfig) -> CellConfig:
    """The cell with a segmentation node: as its block ``perception`` says, else with the models that come with the stack; its camera gives depth."""
    if cell.perception is not None:
        return cell
    there = {path.name for path in find_share("models").iterdir()}
    seen = cell.camera("" if len(cell.cameras) == 1 else next(iter(cell.cameras), ""))
    cameras = {name: replace(camera, depth=True) if name == seen else camera for name, camera in cell.cameras.items()}
    perception = PerceptionConfig(camera=seen, **{key: name for key, name in SEGMENTATION_MODELS.items() if name in there})
    return replace(cell, cameras=cameras, perception=perception)


def with_server(cell: CellConfig, url: str) -> CellConfig:
    """The cell with its policy on the server at ``url``, as its block ``policy.server`` has it but for the URL; ``none``: on this machine."""
    before = cell.policy.server
    server = None if url == NONE else PolicyServerConfig(url) if before is None else replace(before, url=url)
    return replace(cell, policy=replace(cell.policy, server=server))


def _with_its_space(cell: CellConfig) -> CellConfig:
    """A policy asked for by name brings the latent space that its manifest requires. What is wrong with a bundle is for the policy node to say."""
    try:
        manifest = parse_manifest(find_bundle(cell.policy.bundle) / "manifest.yaml")
    except DexError:
        return cell
    needed = next((r.bundle for r in manifest.requires if r.kind == "latent_space"), cell.policy.latent_bundle)
    if needed == Path(cell.policy.latent_bundle).name:
        return cell
    return replace(cell, policy=replace(cell.policy, latent_bundle=needed))


def _require_real_hardware(cell: CellConfig) -> None:
    check_real_drivers(cell)
    without = [name for name, interface in cell.interfaces.items() if not interface.address.real]
    if without:
        example = ",".join(f"{name}=ADDRESS" for name in without)
        raise ConfigError(
            f"sim:=false moves real hardware, and no real address is given for {without}; give addresses:={example} or fill 'real' in the cell file"
        )
    simulated = [name for name, camera in cell.cameras.items() if camera.driver == "simulated"]
    if simulated:
        raise ConfigError(f"sim:=false, but camera {simulated[0]!r} has the driver 'simulated'; name a real camera's driver in the cell file")


def new_run_folder() -> Path:
    """``DEX_RUN_DIR``, else a fresh ``~/.ros/dex/<stamp>-<n>``."""
    given = os.environ.get("DEX_RUN_DIR")
    if given:
        return Path(given).expanduser()
    root = Path(os.environ.get("ROS_HOME", "~/.ros")).expanduser() / "dex"
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1, 1000):
        folder = root / f"{stamp}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(f"run folder {folder} cannot be made: {error}; set DEX_RUN_DIR to one that can") from error
        return folder
    raise ConfigError(f"{root} already holds 999 runs of {stamp}")


PICTURES = ("camera_node", "segmentation_node", "policy_node", "state_node", "record_node", "fault_node")
"""Executables that send or take pictures and therefore use shared memory; the others keep away from its locks (config/dds)."""


def process_environment(*, pictures: bool = True) -> dict[str, str]:
    """What a process gets: one thread per library, pictures without a screen, and its transport (files in config/dds).

    What the user has set stays; a transport of ours, inherited from a process of another kind, does not.

    Args:
        pictures: shared memory with room for pictures, and memory that is kept for the next one; False: sockets alone, for the control path.
    """
    profile = find_share("config", "dds", transport.PROFILE if pictures else "fastdds_control.xml")
    given = next((os.environ[name] for name in transport.PROFILE_VARIABLES if os.environ.get(name)), "")
    chosen = given if given and Path(given).resolve().parent != profile.resolve().parent else str(profile)
    own = {**ONE_THREAD, "MUJOCO_GL": "egl", "PYTHONUNBUFFERED": "1", **(transport.KEPT_MEMORY if pictures else {})}
    return {**{name: os.environ.get(name) or value for name, value in own.items()}, **dict.fromkeys(transport.PROFILE_VARIABLES, chosen)}


def processes_of(cell: CellConfig, values: Mapping[str, str], run_folder: Path) -> tuple[ProcessDescription, ...]:
    """The process list of a cell; pure, so launch and `dex up` cannot differ."""
    environment = {pictures: process_environment(pictures=pictures) for pictures in (True, False)}
    common = {"cell_file": str(run_folder / "cell.yaml"), "autostart": values["autostart"] == "true", "use_sim_time": False}

    arms = [name for name, interface in cell.interfaces.items() if interface.robot.kind == "arm"]
    hands = [name for name in cell.interfaces if name not in arms]

    def node(
        package: str, executable: str, name: str, stop_stage: int, essential: bool = False, nice: int = PREFERRED, **parameters: object
    ) -> ProcessDescription:
        return ProcessDescription(
            package, executable, name, values["namespace"].strip("/"), {**common, **parameters}, env=environment[executable in PICTURES],
            log_level=values["log_level"], essential=essential, stop_stage=stop_stage, nice=nice,
        )

    faulted, topics = fault_parts(cell, parse_faults(values["faults"]))
    sim_faults = {"faults": ",".join(faulted)} if faulted else {}
    processes = (
        *([node("dex_sim", "sim_node", "sim", 3, essential=True, **sim_faults)] if cell.simulated else []),
        *(node("dex_arms", "arm_node", name, 2, interface=name) for name in arms),
        *(node("dex_hands", "hand_node", name, 2, interface=name) for name in hands),
        node("dex_control", "gate_node", "gate", 1, essential=True),
        *(node("dex_decode", "decoder_node", decoder_of(name), 0, interface=name) for name in hands),
        *((node("dex_policy", "policy_node", "policy", 0), node("dex_policy", "task_node", "task", 0)) if cell.policy.bundle else ()),
        *(node("dex_perception", "camera_node", name, 0, interface=camera) for name, camera in cell.camera_nodes.items()),
        *([node("dex_perception", "segmentation_node", "segmentation", 0, nice=ORDINARY)] if cell.perception else []),
        *([node("dex_monitor", "state_node", "state", 0, nice=YIELDING)] if values["monitor"] == "true" else []),
        *([node("dex_eval", "record_node", "recorder", 4, nice=ORDINARY, folder=str(run_folder))] if values["record"] == "true" else []),
        *([_rviz(values, environment[True])] if values["rviz"] == "true" else []),
    )
    return with_relay(processes, topics, node("dex_sim", "fault_node", "faults", 3, topics=",".join(topics))) if topics else processes


def _rviz(values: Mapping[str, str], environment: Mapping[str, str]) -> ProcessDescription:
    from dex_description.paths import description_path

    return ProcessDescription(
        "rviz2",
        "rviz2",
        "rviz",
        values["namespace"].strip("/"),
        {"use_sim_time": False},
        env={k: v for k, v in environment.items() if k != "MUJOCO_GL"},
        log_level=values["log_level"],
        arguments=("-d", str(description_path("rviz/cell.rviz"))),
        lifecycle=False,
        stop_stage=0,
        nice=YIELDING,
    )
