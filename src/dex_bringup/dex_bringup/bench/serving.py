# SPDX-License-Identifier: Apache-2.0
"""What the policy server itself costs, model aside: the real node in a process of its own on one core, real messages in and out."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dex_bringup.bench.report import Goal, Report, percentile
from dex_bringup.bench.serving_bare import bare
from dex_bringup.bench.serving_bundle import bench_cell, null_network, write_bench_bundles
from dex_bringup.bench.serving_process import Cores, served
from dex_bringup.transport import picture_environment
from dex_core.errors import DexError
from dex_core.latency import durations_ms

OVERHEAD_MS, CHUNKS_PER_S, SHARE = 3.0, 200.0, 0.05
CAMERA_HZ, FAST_HZ = 30.0, 250.0
WARM_UP_S, START_S, LARGE_START_S = 2.0, 60.0, 900.0
LEAST_CHUNKS = 12
PERIOD_S = 0.001
"""The server is to look at every picture it can."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each part is measured (default %(default)s)")
    parser.add_argument(
        "--size", default="null", choices=("null", "0.3B", "3B"),
        help="parameters of the network: none, or random ones at 16 bit, generated for the run (default %(default)s)",
    )
    parser.add_argument("--core", type=int, default=-1, help="core the server is kept on: -1 the last, -2 any (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the network (default %(default)s)")
    parser.add_argument("--keep", type=Path, help="folder for the bundles and the server's log (default: one that is removed)")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Overhead and rate of the server around a network that costs nothing, or the share it adds to one of real size."""
    with tempfile.TemporaryDirectory(prefix="dex_bench_serving_") as own:
        folder = options.keep or Path(own)
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.update(picture_environment())
        measure = _null if options.size == "null" else _sized
        return measure(folder, options, say)


def _null(folder: Path, options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    cell, cores = bench_cell(folder, "null", options.threads, PERIOD_S), Cores.choose(options.core)
    write_bench_bundles(folder, cell, null_network(cell))
    figures: dict[str, Any] = {"picture": "224 x 224", "state": 48, "server_cores": list(cores.server), "seconds": options.seconds}
    with served(folder, cell, cores, START_S) as server:
        figures["start_s"], feed = server.start_s, server.feed
        feed.set_goal(True)
        say(f"{CAMERA_HZ:g} pictures a second for {options.seconds:g} s")
        figures.update(overheads(feed.watch(CAMERA_HZ, WARM_UP_S, options.seconds)))
        say(f"{FAST_HZ:g} pictures a second for {options.seconds:g} s")
        pictures, cpu_s, watched_s = feed.pictures, server.cpu_s, WARM_UP_S + options.seconds
        fast = feed.watch(FAST_HZ, WARM_UP_S, options.seconds)
        figures["pictures_per_s"] = (feed.pictures - pictures) / watched_s
        figures["chunks_per_s"] = len(fast) / options.seconds
        figures["core_busy_at_full_rate"] = (server.cpu_s - cpu_s) / watched_s
        figures.update({f"full_rate_{key}": value for key, value in overheads(fast).items() if key.startswith("overhead")})
        feed.set_goal(False)
    return Report("serving", figures, (Goal("overhead_p50_ms", at_most=OVERHEAD_MS, unit="ms"), Goal("chunks_per_s", at_least=CHUNKS_PER_S)))


def _sized(folder: Path, options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """The same network bare in a loop on the same core, then served as fast as it goes."""
    from dex_bringup.bench.serving_network import sized_network

    say("making the network")
    network, facts = sized_network(options.size, folder / "network")
    cell, cores = bench_cell(folder, network.name, options.threads, PERIOD_S), Cores.choose(options.core)
    say("bundle: golden cases, hashes")
    write_bench_bundles(folder, cell, network)
    figures: dict[str, Any] = {**facts, "threads": options.threads, "server_cores": list(cores.server)}
    say("the network alone")
    figures.update(bare(folder, network.name, cores, options.threads, options.seconds))
    say("served")
    with served(folder, cell, cores, LARGE_START_S) as server:
        figures.update(start_s=server.start_s, provider=server.feed.status.provider if server.feed.status else "")
        server.feed.set_goal(True)
        found = server.feed.watch(CAMERA_HZ, WARM_UP_S, max(options.seconds, LEAST_CHUNKS * figures["bare_p50_ms"] * 1e-3))
        figures["memory_mb"] = server.memory_mb
        server.feed.set_goal(False)
    figures.update(overheads(found))
    figures["served_inference_p50_ms"] = percentile([_between_ms(t, "inference_started", "inferred") for t in found], 50)
    # from one chunk to the next: the picture it is made from waits while the one before is computed, and its age is no work of the server
    pairs = list(zip(found, found[1:], strict=False))
    figures["served_p50_ms"] = percentile([(b["published"] - a["published"]) * 1e-6 for a, b in pairs], 50)
    figures["between_runs_p50_ms"] = percentile([(b["inference_started"] - a["inferred"]) * 1e-6 for a, b in pairs], 50)
    figures["served_over_bare"] = figures["served_p50_ms"] / figures["bare_p50_ms"] - 1.0
    return Report("serving", figures, (Goal("served_over_bare", at_most=SHARE),))


def overheads(timings: Sequence[Mapping[str, int]]) -> dict[str, float]:
    """From the picture's stamp to the published chunk less the model, and each stage's own time [ms].

    Args:
        timings: stage -> wall clock [ns] of each chunk, with ``arrived``.

    Raises:
        DexError: ``silent``, hardly any chunk came.
    """
    if len(timings) < 3:
        raise DexError(f"{len(timings)} chunks came; the server's log in the folder given by --keep says why", code="silent")
    own = [durations_ms(t) for t in timings]
    overhead = [_between_ms(t, "observed", "published") - _between_ms(t, "inference_started", "inferred") for t in timings]
    figures: dict[str, float] = {"chunks": len(timings), **{f"overhead_p{p}_ms": percentile(overhead, p) for p in (50, 95, 99)}}
    for stage in own[0]:
        figures[f"{stage}_p50_ms"] = percentile([o[stage] for o in own if stage in o], 50)
    figures["arrived_p50_ms"] = percentile([_between_ms(t, "published", "arrived") for t in timings], 50)
    return figures


def _between_ms(timing: Mapping[str, int], first: str, last: str) -> float:
    return (timing[last] - timing[first]) * 1e-6
