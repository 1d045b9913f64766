# SPDX-License-Identifier: Apache-2.0
"""`dex run`: one instruction to a running cell."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the client brings rclpy, which --help does not need
    from dex_bringup.client import TaskResult

EXAMPLES = """examples:
  dex run "Push the two tomato cans together"
  dex run "Return to the rest pose" --deadline 15
  dex run "Push the two tomato cans together" --seed 7    new scene first (simulation)
  dex run "Put the lemon and the lime into the bowl" --seed 7    a scene with the objects that the sentence names
  dex run "Return to the rest pose" --preempt              a goal that is running ends (PREEMPTED), the robot holds, then this one begins
  dex run "..." --json | jq .outcome

After a stop or a fault the gate is latched: --reset clears it before the goal, so does --seed."""


def main(argv: Sequence[str]) -> int:
    """Entry of the verb: 0 only if the task succeeded."""
    parser = argparse.ArgumentParser(
        prog="dex run",
        description="Gives a running cell one instruction and waits. Ctrl-C cancels the goal: the robot holds.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("instruction", help="what to do, in words")
    parser.add_argument("--deadline", type=float, default=0.0, metavar="S", help="give up after so many seconds (default: the cell's)")
    parser.add_argument("--preempt", action="store_true", help="end a goal that is running, also another client's, and take its place")
    parser.add_argument(
        "--keepalive", type=float, default=3.0, metavar="S", help="end the goal when this process was not heard for so long; 0: never (default: 3)"
    )
    parser.add_argument("--namespace", default="", help="namespace of the cell (default: none)")
    parser.add_argument("--reset", action="store_true", help="reset the gate first if it is latched")
    parser.add_argument("--seed", type=int, default=None, help="put the simulated scene back with this seed first")
    parser.add_argument("--task", default="", help="whose objects the scene has (default: the task that the instruction means, else the cell's own)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    options = parser.parse_args(list(argv))
    if not (0.0 <= options.deadline < math.inf):
        parser.error(f"--deadline is {options.deadline}; allowed: 0 or more seconds")
    if options.keepalive and not 0.2 <= options.keepalive <= 60.0:
        parser.error(f"--keepalive is {options.keepalive}; allowed: 0, or 0.2 to 60 seconds")
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    from dex_bringup.client import CellClient

    with CellClient(options.namespace.strip("/")) as client:
        if options.seed is not None:
            client.new_scene(options.seed, task=options.task or _task_of(options.instruction))
        elif options.reset:
            client.quiet_gate()
        result = client.run_task(
            options.instruction, options.deadline, None if options.json else _show_feedback, preempt=options.preempt, keepalive_s=options.keepalive
        )
    if options.json:
        sys.stdout.write(json.dumps(plain(result)) + "\n")
    else:
        sys.stderr.write("\n")
        sys.stdout.write(sentence(result) + "\n")
    return 0 if result.succeeded else 1


def plain(result: TaskResult) -> dict[str, Any]:
    """The result for JSON, which has no NaN: what was never measured is null."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in vars(result).items()}


def sentence(result: TaskResult) -> str:
    """The result for people, and below it why; without a chunk there is no latency to tell."""
    reason = f"\n  {result.reason}: {result.detail}".rstrip(": ") if result.reason else ""
    speed = f"{result.chunks} chunks, inference {result.inference_p50_ms:.0f} ms, overhead {result.overhead_p50_ms:.0f} ms (medians)"
    return f"{result.outcome} after {result.duration_s:.1f} s, {speed if result.chunks else 'no chunk'}{reason}"


def _task_of(instruction: str) -> str:
    """The task in ``config/tasks`` that this sentence means, as the judge of the goal will see it; empty when it is none of them."""
    from dex_core.config import load_task
    from dex_core.config.load import names_in
    from dex_core.policy.instruction import meant_task

    return meant_task(instruction, (load_task(name) for name in names_in("tasks")))


def _show_feedback(feedback: Any) -> None:
    progress = "" if math.isnan(feedback.progress) else f" {feedback.progress * 100:3.0f} %"
    sys.stderr.write(f"\r{feedback.stage:<18}{progress} {feedback.elapsed_s:5.1f} s  {feedback.chunks} chunks \x1b[K")
    sys.stderr.flush()
