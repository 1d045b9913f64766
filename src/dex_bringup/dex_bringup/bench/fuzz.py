# SPDX-License-Identifier: Apache-2.0
"""`dex bench fuzz`: broken frames, messages and files through every reader; no crash, no hang, no unsafe command, and the count."""

from __future__ import annotations

import argparse
import faulthandler
import gc
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from dex_bringup.bench.fuzz_mutate import Mutator
from dex_bringup.bench.fuzz_targets import MAKERS, Target
from dex_bringup.bench.report import Goal, Report
from dex_core.contracts.command_spy import CommandSpy

COUNT = 10_000_000
HANG_S = 1.0
"""A case that takes more of the processor's time hangs; the wall clock would count what other processes do."""
GIVE_UP_S = 600.0
"""The process ends with every thread's stack when one batch of cases takes so long: a reader that never returns."""
BATCH = 512
KEPT = 10


@dataclass
class Found:
    """What one target did: cases, refusals, the slowest case [s], crashes with the bytes that made them."""

    cases: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    seconds: float = 0.0
    hangs: int = 0
    crashes: int = 0
    words: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--count", type=int, default=COUNT, help="cases in all (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all chance (default %(default)s)")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Fuzzes every target with its share of the cases."""
    return fuzz(options.count, options.seed, say)


def fuzz(count: int, seed: int, say: Callable[[str], None] = lambda _text: None) -> Report:
    """``count`` cases over every target."""
    from dex_bringup.bench import fuzz_slow
    from dex_bringup.fault.runner import spied_stage

    spy, found, began = CommandSpy(), {}, time.monotonic()
    with spied_stage(spy), ExitStack() as closing:
        made = [maker() for maker in (*MAKERS, *fuzz_slow.MAKERS)]
        for target in made:
            closing.callback(target.close)
        shares = sum(target.share for target in made)
        for number, target in enumerate(made):
            cases = max(1, round(count * target.share / shares))
            found[target.name] = fuzz_one(target, cases, np.random.default_rng([seed, number]))
            say(f"{target.name}: {_line(found[target.name])}")
    figures: dict[str, object] = {name: _line(one) for name, one in found.items()}
    for key in ("cases", "refused", "crashes", "hangs"):
        figures[key] = sum(getattr(one, key) for one in found.values())
    figures.update(
        commands_looked_at=spy.seen, unsafe_commands=spy.unsafe, slowest_ms=max(one.slowest_s for one in found.values()) * 1e3,
        seconds=time.monotonic() - began, words="; ".join([word for one in found.values() for word in one.words] + spy.violations) or "none",
    )
    goals = [Goal("cases", at_least=0.999 * count), Goal("crashes", at_most=0), Goal("hangs", at_most=0), Goal("unsafe_commands", at_most=0)]
    return Report("fuzz", figures, goals)


def fuzz_one(target: Target, cases: int, rng: np.random.Generator) -> Found:
    """``cases`` broken frames through one target."""
    found, mutator, began = Found(), Mutator(target.seeds, rng, target.reseal), time.perf_counter()
    gc.freeze()  # a collection that looks at all that was there before would count as a hang of whoever it stops
    try:
        for start in range(0, cases, BATCH):
            faulthandler.dump_traceback_later(GIVE_UP_S, exit=True)
            for frame in mutator.frames(min(BATCH, cases - start)):
                _case(target, frame, found)
    finally:
        faulthandler.cancel_dump_traceback_later()
        gc.unfreeze()
    found.seconds = time.perf_counter() - began
    return found


def _case(target: Target, frame: bytes, found: Found) -> None:
    began = time.thread_time()
    try:
        target.feed(frame)
    except target.allowed:
        found.refused += 1
    except Exception as error:  # noqa: BLE001 - what is not allowed is what is looked for
        found.crashes += 1
        if len(found.words) < KEPT:
            place = traceback.extract_tb(error.__traceback__)[-1]
            found.words.append(f"{target.name}: {type(error).__name__} {error} at {place.name}:{place.lineno} for {frame[:48].hex()}")
    took_s = time.thread_time() - began
    found.cases += 1
    found.slowest_s = max(found.slowest_s, took_s)
    found.hangs += took_s > HANG_S


def _line(one: Found) -> str:
    found = f"{one.cases} cases, {one.refused} refused, {one.crashes} crashes, {one.hangs} hangs"
    return f"{found}, slowest {one.slowest_s * 1e3:.1f} ms, {one.seconds:.0f} s"
