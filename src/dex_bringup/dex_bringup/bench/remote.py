# SPDX-License-Identifier: Apache-2.0
"""What it costs to run the cell's policy on a server: the shipped bundle on a real MLServer on this machine, over HTTP and over gRPC."""

from __future__ import annotations

import argparse
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dex_bringup.bench.report import Report, percentile
from dex_core.bundle import Bundle, LoadOptions, load_bundle
from dex_core.bundle.probes import unpack_cases
from dex_core.config import PolicyServerConfig, load_cell
from dex_core.errors import DeadlineError, DexError
from dex_policy.remote.repository import write_repository
from dex_policy.remote.serve import find_mlserver, serving_environment
from dex_policy.remote.session import RemoteSession

START_S, DEADLINE_S = 120.0, 10.0
GRAPH = "policy"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--runs", type=int, default=200, metavar="N", help="inferences over each wire (default %(default)s)")
    parser.add_argument("--wires", default="http,grpc", help="joined by commas (default %(default)s)")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Time of one inference here and there, and what of it is not the model's. Needs ``make serve-env``."""
    bundle = load_bundle(load_cell(options.cell).policy.bundle, LoadOptions())
    inputs, _ = unpack_cases(bundle.golden(GRAPH), "golden")[0]
    figures: dict[str, Any] = {"bundle": bundle.manifest.name, "request_bytes": sum(v.nbytes for v in inputs.values())}
    here = bundle.sessions[GRAPH]
    expected = here.run(inputs)
    figures["local_p50_ms"] = percentile([_timed_ms(lambda: here.run(inputs)) for _ in range(options.runs)], 50)
    with tempfile.TemporaryDirectory(prefix="dex_bench_remote_") as folder, mlserver(bundle, Path(folder)) as urls:
        for wire in options.wires.split(","):
            say(f"{options.runs} inferences over {urls[wire]}")
            figures.update({f"{wire}_{k}": v for k, v in measured(bundle, urls[wire], options.runs, inputs, expected).items()})
    return Report("remote", figures)


def measured(bundle: Bundle, url: str, runs: int, inputs: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> dict[str, float]:
    """Figures of one wire: from call to return, and that less the model's own time on the server [ms]; largest difference from local outputs.

    Args:
        bundle: what the server at ``url`` serves. inputs: of its graph ``policy``. expected: what they give here.
    """
    config = PolicyServerConfig(url, deadline_s=DEADLINE_S)
    session = RemoteSession(GRAPH, bundle.manifest.graphs[GRAPH], bundle.manifest, config)
    try:
        session.handshake(bundle.hash)
        found = session.run(inputs)
        total, overhead = [], []
        for _ in range(runs):
            total.append(_timed_ms(lambda: session.run(inputs)))
            stamps = session.stamps_ns()
            overhead.append(total[-1] - (stamps["inferred"] - stamps["inference_started"]) * 1e-6)
    finally:
        session.close()
    return {
        "p50_ms": percentile(total, 50), "p95_ms": percentile(total, 95), "p99_ms": percentile(total, 99),
        "overhead_p50_ms": percentile(overhead, 50), "overhead_p95_ms": percentile(overhead, 95),
        "largest_difference": max(float(np.abs(found[k] - v).max()) for k, v in expected.items()),
    }


@contextmanager
def mlserver(bundle: Bundle, folder: Path) -> Iterator[dict[str, str]]:
    """MLServer with one bundle on free ports of this machine: wire -> URL. Raises ConfigError (not installed), DeadlineError, DexError (it ended)."""
    command, ports = find_mlserver(), _free_ports(2)
    names = write_repository([bundle], folder / "repository", http_port=ports[0], grpc_port=ports[1])
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([command, "start", folder / "repository"], env=serving_environment(), stdout=log, stderr=log, cwd=folder)
    try:
        end = time.monotonic() + START_S
        while not _ready(f"http://127.0.0.1:{ports[0]}/v2/models/{names[0]}/ready"):
            if process.poll() is not None:
                text = (folder / "log").read_text(errors="replace")[-2000:]
                raise DexError(f"MLServer ended with code {process.returncode} before it was ready; the end of its log:\n{text}")
            if time.monotonic() > end:
                raise DeadlineError("MLServer", START_S, (folder / "log").read_text(errors="replace")[-500:])
            time.sleep(0.2)
        yield {"http": f"http://127.0.0.1:{ports[0]}", "grpc": f"grpc://127.0.0.1:{ports[1]}"}
    finally:
        process.terminate()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10.0)


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(s.getsockname()[1]) for s in held]
    for s in held:
        s.close()
    return ports


def _timed_ms(call: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) * 1e-6
