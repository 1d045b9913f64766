# SPDX-License-Identifier: Apache-2.0
"""`dex bench camera`: what colour, aligned depth and intrinsics cost on the way to three subscribers, beside the untuned middleware
and raw shared memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from dex_bringup.bench.camera_floor import measure
from dex_bringup.bench.report import Goal, Report, percentile
from dex_bringup.transport import picture_environment
from dex_core.config import CameraConfig, load_cell
from dex_core.errors import DexError

READERS = 3
WARM_UP_S = 2.0
MEDIAN_MS, P99_MS, CPU_SHARE = 6.0, 12.0, 0.30


@dataclass(frozen=True)
class Way:
    """One way a picture goes: with the stack's profile or without, and how it is subscribed to."""

    name: str
    tuned: bool
    reliable: bool


WAYS = (
    Way("ours_reliable", True, True), Way("ours_best_effort", True, False),
    Way("untuned_reliable", False, True), Way("untuned_best_effort", False, False),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--seconds", type=float, default=8.0, help="how long each way is measured (default %(default)s)")
    parser.add_argument("--size", default="640x480", help="WIDTHxHEIGHT (default %(default)s)")
    parser.add_argument("--rate", type=float, default=30.0, help="pictures a second (default %(default)s)")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Every way in turn, then the floor."""
    width, height = (int(word) for word in options.size.split("x"))
    figures: dict[str, Any] = {"size": options.size, "rate_hz": options.rate, "subscribers": READERS, "seconds": options.seconds}
    with tempfile.TemporaryDirectory(prefix="dex_bench_camera_") as folder:
        cell_file = _cell_file(Path(folder), options.cell, width, height, options.rate)
        for way in WAYS:
            say(f"{way.name}: {options.seconds:g} s")
            figures.update({f"{way.name}_{key}": value for key, value in _measured(way, cell_file, options.seconds).items()})
    say("raw shared memory")
    delays, lost = measure(width * height * 3, options.rate, READERS, WARM_UP_S, options.seconds)
    figures.update(floor_p50_ms=percentile(delays, 50), floor_p99_ms=percentile(delays, 99), floor_lost=lost)
    for kind in ("reliable", "best_effort"):  # a way on which nothing came has no median: NaN
        figures[f"{kind}_p50_ours_over_untuned"] = figures[f"ours_{kind}_p50_ms"] / figures[f"untuned_{kind}_p50_ms"]
        figures[f"{kind}_p50_ours_over_floor"] = figures[f"ours_{kind}_p50_ms"] / figures["floor_p50_ms"]
    goals = [
        goal for kind in ("reliable", "best_effort") for goal in (
            Goal(f"ours_{kind}_p50_ms", at_most=MEDIAN_MS, unit="ms"), Goal(f"ours_{kind}_p99_ms", at_most=P99_MS, unit="ms"),
            Goal(f"ours_{kind}_lost", at_most=0), Goal(f"ours_{kind}_publisher_cpu", at_most=CPU_SHARE),
        )
    ]
    return Report("camera", figures, goals)


def _cell_file(folder: Path, cell_name: str, width: int, height: int, rate_hz: float) -> Path:
    """The cell with one pattern camera of this size."""
    camera = replace(
        CameraConfig(), driver="pattern", native_wh=(width, height), crop_xywh=(0, 0, width, height), output_wh=(width, height), rate_hz=rate_hz,
        depth=True,
    )
    path = folder / "cell.yaml"
    replace(load_cell(cell_name), cameras={"front": camera}).save(path)
    return path


def _measured(way: Way, cell_file: Path, seconds: float) -> Mapping[str, float]:
    """Publisher and subscribers of one way, each a process of its own."""
    environment = _environment(way.tuned)
    ros = ["--ros-args", "-r", f"__ns:=/bench_camera_{os.getpid()}"]
    listen = [sys.executable, "-m", "dex_bringup.bench.camera_listen", "--warm-up", str(WARM_UP_S), "--seconds", str(seconds)]
    listen += ["--reliable"] if way.reliable else []
    listeners = [subprocess.Popen([*listen, *ros], env=environment, stdout=subprocess.PIPE, text=True) for _ in range(READERS)]
    node = subprocess.Popen(
        [sys.executable, "-m", "dex_perception.camera_node", *ros, "-p", f"cell_file:={cell_file}"], env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )
    try:
        cpu = _cpu_share(node, listeners)
        found = [_answer(listener, seconds) for listener in listeners]
    finally:
        for process in (node, *listeners):
            process.terminate()
        errors = node.communicate(timeout=10.0)[1]
        for listener in listeners:
            listener.wait(timeout=10.0)
    colour = [delay for one in found for delay in one["colour_ms"]]
    depth = [delay for one in found for delay in one["depth_ms"]]
    infos = max(one["infos"] for one in found)
    if not infos or (way.tuned and not (colour and depth)):
        raise DexError(f"{way.name}: no pictures came; the camera node said: {errors.strip()[-400:] or 'nothing'}", code="silent")
    lost_share = max(0.0, 1.0 - (len(colour) + len(depth)) / (2 * READERS * infos))
    return {
        "p50_ms": percentile(colour + depth, 50), "p99_ms": percentile(colour + depth, 99), "colour_p50_ms": percentile(colour, 50),
        "depth_p50_ms": percentile(depth, 50), "lost": sum(one["colour_lost"] + one["depth_lost"] for one in found),
        "lost_share": lost_share, "received": len(colour) + len(depth), "publisher_cpu": cpu,
    }


def _environment(tuned: bool) -> dict[str, str]:
    """This process's, with what pictures need or without."""
    ours = picture_environment()
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    return {**environment, **ours} if tuned else environment


def _cpu_share(node: subprocess.Popen[str], listeners: list[subprocess.Popen[str]]) -> float:
    """Share of one core that the publisher takes while all listen; what is measured lies in the middle of their time."""
    process = psutil.Process(node.pid)
    began_s, before = time.monotonic(), 0.0
    samples: list[tuple[float, float]] = []
    while all(listener.poll() is None for listener in listeners) and node.poll() is None:
        time.sleep(0.25)
        try:
            times = process.cpu_times()
        except psutil.Error:
            break
        samples.append((time.monotonic() - began_s, times.user + times.system))
    if len(samples) < 8:
        return float("nan")
    (from_s, before), (to_s, after) = samples[len(samples) // 2], samples[-2]
    return (after - before) / (to_s - from_s)


def _answer(listener: subprocess.Popen[str], seconds: float) -> dict[str, Any]:
    try:
        text = listener.communicate(timeout=seconds + 60.0)[0]
        return dict(json.loads(text))
    except (subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        raise DexError(f"a subscriber did not answer: {error}", code="silent") from error
