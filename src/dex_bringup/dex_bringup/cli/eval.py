# SPDX-License-Identifier: Apache-2.0
"""`dex eval`: replay a recording without a robot and score a model on it."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EXAMPLES = """examples:
  dex eval ~/.ros/dex/RUN/bag                      the model that was recorded: does it reproduce itself?
  dex eval BAG --bundle ./my_next_model --json     the next model on yesterday's recording
  dex eval BAG --out report                        also report/eval.json and report/eval.png
  dex eval cut_off.mcap --partial                  a recording that was cut off

Exit code: 0 evaluated, 1 the recording or the model is refused (the reason is printed), 2 wrong use."""


def main(argv: Sequence[str]) -> int:
    """Entry of the verb."""
    parser = argparse.ArgumentParser(
        prog="dex eval",
        description="Replays a recording through the same observation, policy and decoder code as on the robot, "
        "faster than real time, and reports joint errors, latencies, seams and limit hits.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bag", type=Path, help="recording folder, run folder or .mcap file")
    parser.add_argument("--bundle", default="", help="model to score (default: the recorded cell's)")
    parser.add_argument("--cell", default="", help="cell, where the recording holds none")
    parser.add_argument("--instruction", default="", help="instead of the recorded instruction")
    parser.add_argument("--partial", action="store_true", help="accept a recording whose end was cut off")
    parser.add_argument("--json", action="store_true", help="print the whole result as one JSON object")
    parser.add_argument("--out", type=Path, help="folder for eval.json and eval.png")
    options = parser.parse_args(list(argv))
    from dex_core.config import load_cell
    from dex_eval.evaluate import evaluate

    evaluation = evaluate(options.bag, options.bundle, load_cell(options.cell) if options.cell else None, options.instruction, options.partial)
    result = _plain(evaluation.result)
    if options.out is not None:
        from dex_eval.plots import run_picture

        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "eval.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        run_picture(evaluation.episode, options.out / "eval.png", evaluation.predictions)
    sys.stdout.write(json.dumps(result, indent=1) + "\n" if options.json else _text(result))
    return 0


def _text(r: dict[str, Any]) -> str:
    def number(value: float | None, unit: str) -> str:
        return "-" if value is None else f"{value:.4g} {unit}"

    error, latency, seams, commanded = r["mean_error_rad"], r["latency_ms"], r["seams"]["predicted"], r["seams"]["commanded"]
    lines = [
        f"{r['bag']}: {r['duration_s']:.1f} s in {r['wall_s']:.1f} s ({r['speed_x_real_time']:.1f} x real time)",
        f"model {r['bundle']} {r['bundle_hash'][:12]}{' (the recorded one)' if r['same_model'] else ''}: "
        f"{r['replayed']} of {r['instants']} instants, refused {r['refused'] or 'none'}",
        _same(r["observations"]),
        f"mean error to commanded  arm {number(error['arm_commanded'], 'rad')}, hand {number(error['hand_commanded'], 'rad')}",
        f"mean error to measured   arm {number(error['arm_measured'], 'rad')}, hand {number(error['hand_measured'], 'rad')}",
        f"difference from recorded chunks, largest: {number(r['largest_difference_from_recorded_rad'], 'rad')}",
        f"seams, p99: predicted jump {number(seams['position_jump_rad']['p99'], 'rad')}, "
        f"velocity step {number(seams['velocity_step_rad_s']['p99'], 'rad/s')}; "
        f"as commanded: velocity step {number(commanded['velocity_step_rad_s']['p99'], 'rad/s')}, "
        f"jerk {number(commanded['jerk_rad_s3']['p99'], 'rad/s^3')}",
        f"recorded latency, median: inference {number(latency['inference']['p50'], 'ms')}, overhead {number(latency['overhead']['p50'], 'ms')}; "
        f"replay inference {number(r['replay_inference_ms']['p50'], 'ms')}",
        f"limit hits: predicted {r['limit_hits']['predicted']}, recorded {r['limit_hits']['recorded']}",
    ]
    return "\n".join(lines) + "\n"


def _same(found: dict[str, Any]) -> str:
    if not found["compared"]:
        return "observations: the recording does not tell what the live policy saw"
    first = found["first_difference"]
    text = f"; first difference at chunk {first['sequence']}: {', '.join(first['streams'])}" if first else ""
    return f"observations the same as the live policy's, to the bit: {found['same']} of {found['compared']}{text}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
