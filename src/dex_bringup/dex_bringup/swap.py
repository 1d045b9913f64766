# SPDX-License-Identifier: Apache-2.0
"""Another hand on one side of a running cell: that side's decoders and driver start anew, the rest takes the new cell in place."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dex_bringup.arguments import parse_addresses
from dex_bringup.children import Child, stop_in_order
from dex_bringup.lifecycle import ACTIVE, UNCONFIGURED, bring
from dex_bringup.resolve import Resolution
from dex_core.bundle import parse_manifest
from dex_core.bundle.load import find_bundle
from dex_core.config import load_cell
from dex_core.config.cell import SIDES, CellConfig
from dex_core.config.load import allowed_names, resolve_name
from dex_core.devices.registry import check_real_drivers
from dex_core.errors import ConfigError, DexError
from dex_core.safety import Mode

if TYPE_CHECKING:
    from dex_bringup.supervisor import Supervisor

KNOW_THE_CELL = ("dex_control",)
"""Packages whose nodes hold limits of the whole cell."""
KNOW_THE_WORLD = ("dex_sim", "dex_arms", "dex_hands", "dex_perception")
"""Packages whose nodes talk to the simulated world, which is built anew."""
LOOK_ON = ("dex_monitor", "dex_eval")
"""Packages whose nodes show or record the whole cell: no hand waits for them."""
DOWN_S, UP_S = 10.0, 30.0


def resolution_with(before: Resolution, side: str, hand: str, address: str = "") -> Resolution:
    """The resolution with another hand on one side, as strictly checked as at the start; writes nothing.

    Args:
        before: what runs.
        side: ``left`` or ``right``.
        hand: name or alias.
        address: real address of the new hand; empty: what the cell gives.

    Raises:
        ConfigError: names what is wrong and what is allowed.
    """
    if side not in SIDES:
        raise ConfigError(f"side is {side!r}; allowed: {list(SIDES)}")
    name = f"{side}_hand"
    mounted = before.cell.interface(name).robot.name
    found = resolve_name(hand, "hands")
    if found is None:
        raise ConfigError(f"hand {hand!r} is not known; allowed: {allowed_names('hands')}")
    if found == mounted:
        raise ConfigError(f"{name} is {found} already")
    cell = load_cell(before.cell_file, **{name: found}, addresses={name: address} if address else None)
    if not cell.simulated:
        check_real_drivers(cell)
    cell.address_of(name)
    _check_latents(cell, side, found)
    addresses = {**parse_addresses(before.arguments["addresses"]), **({name: address} if address else {})}
    words = ",".join(f"{interface}={where}" for interface, where in addresses.items())
    return replace(before, cell=cell, arguments={**before.arguments, name: found, "addresses": words})


def _check_latents(cell: CellConfig, side: str, hand: str) -> None:
    known = parse_manifest(find_bundle(cell.policy.latent_bundle) / "manifest.yaml").embodiments
    if f"{side}_{hand}" not in known:
        raise ConfigError(f"latent bundle {cell.policy.latent_bundle!r} has no decoder for {side}_{hand}; it has: {sorted(known)}")


class HandSwap:
    """One exchange. Everything is checked before anything is stopped; what fails after that puts the old hand back.

    Args:
        supervisor: owner of the processes.
        side, hand, address: as for :func:`resolution_with`.
        tick: called about 20 times a second besides the supervisor's own.

    Raises:
        ConfigError: the new cell is refused.
    """

    def __init__(self, supervisor: Supervisor, side: str, hand: str, address: str = "", tick: Callable[[], None] | None = None) -> None:
        self._supervisor, self._side, self._tick_too = supervisor, side, tick
        self._before = supervisor.resolution
        self._after = resolution_with(self._before, side, hand, address)
        self.name = f"{side}_hand"
        self.old, self.new = (r.cell.interface(self.name).robot.name for r in (self._before, self._after))

    def run(self) -> None:
        """Stops the robot and exchanges the hand; returns when every node is active. The gate stays stopped.

        Raises:
            DexError: ``busy``, a goal runs; ``rolled_back``, the new hand did not come and the old one is back.
            AlreadyRunningError: somebody else has the new hand's address.
            CellDownError: neither hand came.
        """
        supervisor = self._supervisor
        self._refuse_while_a_goal_runs()
        before, after = (r.cell.address_of(self.name) for r in (self._before, self._after))
        if before != after:
            supervisor.claim.take_device(self._after.cell, self.name)
        try:
            supervisor.notify(f"{self.name}: {self.old} goes, {self.new} comes; the robot is stopped")
            supervisor.client.stop_gate()
            self._exchange_or_roll_back(_keep(self._before.cell_file))
        finally:
            if before != after:
                supervisor.claim.give_device(before if supervisor.resolution is self._after else after)

    def _exchange_or_roll_back(self, kept: Path) -> None:
        try:
            self._exchange(self._after)
        except DexError as error:
            self._supervisor.raise_if_down()
            self._roll_back(kept, error)

    def _refuse_while_a_goal_runs(self) -> None:
        status = self._supervisor.client.safety()
        if status.mode in (Mode.ARMED, Mode.RUNNING, Mode.HOLDING) and not status.latched:
            text = f"goal {status.goal_id!r} runs ({Mode(status.mode).name}); a hand is swapped while none does: wait for its end, or cancel it"
            raise DexError(text, code="busy")

    def _roll_back(self, kept: Path, error: DexError) -> None:
        from dex_bringup.supervisor import CellDownError

        self._supervisor.notify(f"{self.new} did not come ({error}); {self.old} comes back")
        os.replace(kept, self._before.cell_file)
        try:
            self._exchange(self._before)
        except DexError as second:
            raise CellDownError(f"{self.new} did not come: {error}; and {self.old} did not come back: {second}") from second
        raise DexError(f"{self.new} did not come, {self.old} is back: {error}", code="rolled_back") from error

    def _exchange(self, wanted: Resolution) -> None:
        """From whatever state to ``wanted``: down, new cell file, up; the gate knows the new limits before the new driver starts."""
        supervisor = self._supervisor
        ending, staying = self._ending(), self._staying()
        supervisor.end(ending)
        self._bring_lookers(UNCONFIGURED)
        world = [name for name in staying if name == "sim"]
        bring(supervisor.client, [name for name in staying if name not in world], UNCONFIGURED, DOWN_S, self._tick)
        bring(supervisor.client, world, UNCONFIGURED, DOWN_S, self._tick)
        if wanted is self._after:
            _write(wanted)
        supervisor.resolution = wanted
        bring(supervisor.client, [*world, "gate"], ACTIVE, UP_S, self._tick)
        for child in ending:
            child.start()
        bring(supervisor.client, staying, ACTIVE, UP_S, self._tick)
        supervisor.wait_active(UP_S, tick=self._tick_too, only=[child.name for child in ending])
        self._bring_lookers(ACTIVE)

    def _bring_lookers(self, target: int) -> None:
        """What shows or records follows if it can; if it cannot, people are told."""
        names = [child.name for child in self._supervisor.children if child.process.package in LOOK_ON]
        try:
            bring(self._supervisor.client, names, target, DOWN_S, self._tick)
        except DexError as error:
            self._supervisor.raise_if_down()
            self._supervisor.notify(f"{', '.join(names)}: {error}; the swap goes on")

    def _ending(self) -> list[Child]:
        """This side's decoders and its hand's driver."""
        return [
            child for child in self._supervisor.children
            if child.name == self.name
            or (child.process.package == "dex_decode" and str(child.process.parameters.get("interface", "")).startswith(f"{self._side}_"))
        ]

    def _staying(self) -> list[str]:
        """Nodes that read the new cell in place."""
        packages = KNOW_THE_CELL + (KNOW_THE_WORLD if self._before.cell.simulated else ())
        return [child.name for child in self._supervisor.children if child.process.package in packages and child.name != self.name]

    def _tick(self) -> None:
        self._supervisor.tick()
        if self._tick_too is not None:
            self._tick_too()


def end_wanted(children: list[Child]) -> list[int]:
    """Ends processes in their order, as wanted: nobody starts them again. Returns the process ids they had."""
    pids = [child.pid for child in children if child.popen is not None]
    stop_in_order(children)
    for child in children:
        child.popen = None
        child.starts.clear()
    return pids


def _keep(cell_file: Path) -> Path:
    """A copy of the cell file beside it, ``cell.1.yaml``, ``cell.2.yaml``...; returns its path."""
    path = next(path for path in (cell_file.with_name(f"{cell_file.stem}.{n}.yaml") for n in range(1, 10**6)) if not path.exists())
    path.write_bytes(cell_file.read_bytes())
    return path


def _write(resolution: Resolution) -> None:
    """Replaces the cell file whole, or not at all."""
    draft = resolution.cell_file.with_name(".cell.yaml.new")
    resolution.cell.save(draft)
    os.replace(draft, resolution.cell_file)
