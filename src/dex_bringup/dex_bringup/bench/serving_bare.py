# SPDX-License-Identifier: Apache-2.0
"""A network alone in a loop, in a process of its own: what the server is held against."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from dex_bringup.bench.report import percentile
from dex_bringup.bench.serving_bundle import bench_cell, example, open_network
from dex_bringup.bench.serving_process import Cores
from dex_core.clock import Priority, set_process_realtime
from dex_core.errors import DexError

WARM_UP_RUNS, LEAST_RUNS = 2, 8


def bare(folder: Path, name: str, cores: Cores, threads: int, seconds: float) -> dict[str, float]:
    """{bare_load_s, bare_p50_ms, bare_runs} of the network of ``folder/name`` on the server's core. Raises DexError ``silent``."""
    words = [sys.executable, "-m", __name__, str(folder), name, str(threads), str(seconds)]
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores.server)  # the child inherits it
    try:
        found = subprocess.run(words, check=False, capture_output=True, text=True)
    finally:
        os.sched_setaffinity(0, before)
    if found.returncode:
        raise DexError(f"the network alone did not run: {found.stderr.strip()[-400:]}", code="silent")
    return dict(json.loads(found.stdout))


def main() -> int:
    """Runs the loop and prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("threads", type=int)
    parser.add_argument("seconds", type=float)
    options = parser.parse_args()
    cell = bench_cell(options.folder, options.name, options.threads, 0.001)
    inputs, took = example(cell, 1), []
    set_process_realtime(Priority.ACTION)  # as the server
    began = time.perf_counter()
    session = open_network(options.folder / options.name / "graphs" / "policy.onnx", cell, options.threads)
    loaded = time.perf_counter()
    while len(took) < LEAST_RUNS or time.perf_counter() - loaded < options.seconds:
        start = time.perf_counter()
        session.run(inputs)
        took.append((time.perf_counter() - start) * 1e3)
    json.dump({"bare_load_s": loaded - began, "bare_p50_ms": percentile(took[WARM_UP_RUNS:], 50), "bare_runs": len(took)}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
