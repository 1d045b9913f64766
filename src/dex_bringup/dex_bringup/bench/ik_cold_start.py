# SPDX-License-Identifier: Apache-2.0
"""What the hand IK costs a process that has done nothing yet: import, build, first answer; time and memory."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from dex_bringup.bench.report import Goal, Report, percentile

TIMEOUT_S = 60.0
OURS = """
import json, resource, time
started = time.perf_counter()
from dex_core.kinematics.hand_ik import load_hand_ik
ik = load_hand_ik("{hand}", "right")
groups = [(g.fingers, g.forward.tips(ik.rest_rad[None, g.columns])[0]) for g in ik.groups]
target = [None] * len(ik.fingers)
for fingers, tips in groups:
    for finger, tip in zip(fingers, tips):
        target[finger] = tip
ik.solve(target)
took = time.perf_counter() - started
print(json.dumps([took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0, ik.compiled]))
"""
PEER = """
import json, resource, time
started = time.perf_counter()
from dex_bringup.bench.ik_peers import PEERS
from dex_core.config import load_robot, read_description
from dex_core.kinematics.hand_ik import load_hand_model
hand = load_hand_model("{hand}", "right")
middle = 0.5 * (hand.lower_rad + hand.upper_rad)
peer = PEERS["vector"](hand, read_description(load_robot("{hand}").urdf, "right"), middle)
peer.solve(middle[:1] * 0.0 + [[0.1] * 3] * len(hand.tips), middle)
took = time.perf_counter() - started
print(json.dumps([took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0, True]))
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--hand", default="inspire", help="which (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="fresh processes (default %(default)s)")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Fresh processes, one after the other; the kernel is compiled before, as set-up does."""
    from dex_core.kinematics.kernel import kernel

    kernel()
    figures: dict[str, Any] = {"hand": options.hand}
    for label, script, repeats in (("ours", OURS, options.repeats), ("vector", PEER, 1)):
        say(f"{label}: {repeats} fresh processes")
        results = [_fresh(script.replace("{hand}", options.hand)) for _ in range(repeats)]
        words = [r for r in results if isinstance(r, str)]
        if words:
            figures[label] = f"not measured: {words[0]}"
            continue
        figures |= {f"{label}_p50_s": percentile([r[0] for r in results], 50), f"{label}_memory_mib": max(r[1] for r in results)}
        figures[f"{label}_compiled"] = str(results[0][2])
    return Report("ik-cold-start", figures, (Goal("ours_p50_s", at_most=0.4, unit="s"), Goal("ours_memory_mib", at_most=120.0, unit="MiB")))


def _fresh(script: str) -> list[Any] | str:
    """[seconds, MiB, compiled] of a new interpreter, or its last words."""
    try:
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT_S:.0f} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no words"])[-1]
    return json.loads(done.stdout.strip().splitlines()[-1])
