# SPDX-License-Identifier: Apache-2.0
"""`dex demo`: the simulated cell does its task once, recorded; the result in words, a table and two pictures."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dex_bringup.client import CellClient, TaskResult
from dex_bringup.resolve import DEFAULT_CELL, resolve
from dex_bringup.supervisor import Supervisor
from dex_bringup.up import START_TIMEOUT_S, StopSignal
from dex_core.config import load_task
from dex_core.errors import DexError

SETTLE_S = 1.0  # after the end of the task, so that the recording holds the final scene
PLAIN_PERIOD_S = 2.0


@dataclass(frozen=True)
class Demo:
    """What to show. ``deadline_s`` 0 takes the cell's; ``bundle`` and ``instruction`` empty take the cell's and the task's."""

    cell: str = DEFAULT_CELL
    seed: int = 7
    deadline_s: float = 0.0
    bundle: str = ""
    instruction: str = ""


class Show:
    """A progress bar on a terminal, a line every two seconds elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(40),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("starting", total=1.0)
        self._said_s, self._stage = 0.0, ""

    def __enter__(self) -> Show:
        self._progress.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """One line above the bar."""
        (self._progress.console if self._console.is_terminal else self._console).print(text, highlight=False)

    def update(self, stage: str, done: float) -> None:
        """Moves the bar; ``done`` 0 to 1, NaN where nobody knows."""
        value = 0.0 if math.isnan(done) else done
        self._progress.update(self._bar, description=stage, completed=value)
        now, kind = time.monotonic(), re.sub(r"\d+", "", stage)
        if not self._console.is_terminal and (kind != self._stage or now - self._said_s > PLAIN_PERIOD_S):
            self._stage, self._said_s = kind, now
            self._console.print(f"  {stage:<34} {value * 100:3.0f} %", highlight=False)


def run_demo(demo: Demo, console: Console) -> int:
    """Runs it; returns 0 only if the task succeeded."""
    began_s = time.monotonic()
    resolution = resolve(demo.cell, {"record": "true", "seed": str(demo.seed), "bundle": demo.bundle})
    instruction = demo.instruction or load_task(resolution.cell.sim.task).instruction
    stop = StopSignal()
    robots = ", ".join(f"{n} ({i.robot.name})" for n, i in resolution.cell.interfaces.items())
    console.print(f"Cell [bold]{resolution.cell.name}[/], simulated at the wire: {robots}.")
    console.print(f"Run folder {resolution.run_folder}", soft_wrap=True)
    with Show(console) as show:
        supervisor = Supervisor(resolution, notify=show.say)
        try:
            supervisor.start()
            waited_s = supervisor.wait_active(
                START_TIMEOUT_S, lambda done, total: show.update(f"{done} of {total} nodes active", done / total), stop.check
            )
            show.say(f"{len(supervisor.children)} processes active after {waited_s:.1f} s. Task: [bold]{instruction}[/]")
            result = _run_task(supervisor, instruction, demo.deadline_s, show, stop)
            _save_scene(resolution.cell, resolution.run_folder / "scene.png", show)
        except DexError as error:
            show.say(f"[red]{error}[/]")
            return 1
        finally:
            supervisor.stop()
    _tell(result, resolution.run_folder, console)
    console.print(f"Whole demo: {time.monotonic() - began_s:.0f} s")
    return 0 if result.succeeded else 1


def _run_task(supervisor: Supervisor, instruction: str, deadline_s: float, show: Show, stop: StopSignal) -> TaskResult:
    def feedback(message: Any) -> None:
        show.update(f"{message.stage}, {message.chunks} chunks", message.progress)

    def tick() -> None:
        supervisor.tick()
        stop.check()

    with CellClient(supervisor.resolution.namespace) as client:
        result = client.run_task(instruction, deadline_s, feedback, tick)
    if result.succeeded:
        show.update("done", 1.0)
    settled_s = time.monotonic() + SETTLE_S
    while time.monotonic() < settled_s:
        tick()
        time.sleep(0.05)
    return result


def _save_scene(cell: Any, path: Path, show: Show) -> None:
    from dex_bringup.scene import save_scene

    try:
        save_scene(cell, path)
    except (DexError, OSError) as error:
        show.say(f"no picture of the scene: {error}")


def _tell(result: TaskResult, folder: Path, console: Console) -> None:
    from dex_eval.bag import Recording
    from dex_eval.episode import load_episode
    from dex_eval.metrics import recorded_latency, recorded_limit_hits
    from dex_eval.plots import run_picture

    colour = "green" if result.succeeded else "red"
    reason = f" ({' '.join(part for part in (result.reason, result.detail) if part)})" if result.reason or result.detail else ""
    console.print(f"[{colour} bold]{result.outcome}[/]{reason} after {result.duration_s:.1f} s and {result.chunks} chunks")
    try:
        episode = load_episode(Recording(folder / "bag"))
        run_picture(episode, folder / "run.png")
    except DexError as error:
        console.print(f"[red]recording: {error}[/]")
        return
    console.print(_stage_table(recorded_latency(episode)))
    hits = recorded_limit_hits(episode)
    console.print(f"Limits that acted: {', '.join(f'{k} {v}' for k, v in hits.items()) or 'none'}")
    console.print(
        f"Recording   {folder / 'bag'}  ({episode.recording.duration_s:.0f} s, {sum(episode.recording.counts.values())} messages)", soft_wrap=True
    )
    console.print(f"Pictures    {folder / 'scene.png'}\n            {folder / 'run.png'}", soft_wrap=True)
    console.print(
        f"Look        Foxglove (app.foxglove.dev): open {folder / 'bag' / 'bag_0.mcap'}\n"
        f"            RViz, where ROS is installed: dex up rviz:=true  or  ros2 bag play {folder / 'bag'}\n"
        f"            the model without the robot: dex eval {folder / 'bag'}", soft_wrap=True, highlight=False,
    )


_STAGES = (
    ("camera to complete observation", "observed_to_observation_ready"),
    ("waiting for the model", "observation_ready_to_inference_started"),
    ("inference", "inference"),
    ("publish the chunk", "inferred_to_published"),
    ("decode the hands", "published_to_decoded"),
    ("accept at the gate", "decoded_to_accepted"),
    ("first command", "accepted_to_first_command"),
    ("camera to first command", "observed_to_first_command"),
    ("of it besides inference", "overhead"),
    ("first command to first motion, from rest", "first_motion_from_rest"),
)


def _stage_table(latency: dict[str, dict[str, Any]]) -> Table:
    table = Table("stage", "median ms", "p95 ms", "p99 ms", "over budget", title="How fast each stage ran", title_justify="left")
    for label, key in _STAGES:
        figures = latency[key]
        if figures["count"]:
            table.add_row(label, *(f"{figures[p]:.1f}" for p in ("p50", "p95", "p99")), f"{figures['over_budget']:.0%}")
    return table
