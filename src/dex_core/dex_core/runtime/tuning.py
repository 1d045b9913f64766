# SPDX-License-Identifier: Apache-2.0
"""Settings of onnxruntime chosen by measuring: the graph is run with each on a recorded case, and one must win clearly to replace the plain way."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from numpy.typing import NDArray

from dex_core.errors import DexError
from dex_core.runtime.onnx import OnnxSession
from dex_core.runtime.settings import Settings

WORTH_MS = 1.0
"""A graph that runs in less has nothing to win: its time is that of the call."""
CLEARLY = 0.9
"""Share of the plain way's time that another must stay below."""
SLOW_MS = 150.0
"""Above, starting a robot would wait for what cannot help."""
TRIAL_S, RUNS = 0.5, 15
"""All measuring of one graph ends after so long or so many rounds."""
LARGEST_BYTES = 256 << 20
"""Above, no second session is opened beside the first, and the allowed threads are taken unmeasured."""


@dataclass(frozen=True)
class Trial:
    """One way of running a graph: time of an inference [ms], and whether each bit that came out is the plain way's."""

    settings: Settings
    ms: float
    same_bits: bool


@dataclass(frozen=True)
class Tuning:
    """What was tried, the plain way first, and what was taken."""

    chosen: Settings
    trials: tuple[Trial, ...]

    @property
    def words(self) -> str:
        """For a report."""
        return "; ".join(f"{t.settings.words} {t.ms:.2f} ms{'' if t.same_bits else ' (other bits)'}" for t in self.trials)


def candidates(plain: Settings, threads: int, *, light: bool = True, slow: bool = False) -> list[Settings]:
    """Ways to try beside ``plain``: more threads, up to ``threads``, a less rewritten graph, bound memory.

    Args:
        plain: one thread on the chosen provider. threads: how many are allowed.
        light: whether more sessions may be opened beside the first. slow: an inference takes so long that only threads can matter.
    """
    out = []
    if light and plain.provider == "cpu":
        counts = [] if slow else [2**k for k in range(1, threads.bit_length()) if 2**k < threads]
        out += [replace(plain, threads=count) for count in [*counts, *([threads] if threads > 1 else [])]]
    if light and not slow:
        out += [replace(plain, optimisation="extended")] if plain.provider == "cpu" else []
        out.append(replace(plain, bound=True))
    return out


def tune(
    session: OnnxSession, model: bytes | str, inputs: Mapping[str, NDArray], threads: int, *, size: int, exact: bool
) -> tuple[OnnxSession, Tuning]:
    """The session to serve with and what was tried; ``session`` itself where nothing is clearly faster.

    Args:
        session: the plain way. model: its file or bytes. inputs: one recorded case. threads: the most that are allowed.
        size: bytes of the model, with what lies outside its file.
        exact: take only what gives the very bits that the plain way gives, so that a machine's mood at start changes no number.
    """
    reference = session.run(inputs)
    sessions, same = [session], [True]
    plain_ms = _best_ms([session], inputs, 3)[0]
    if plain_ms >= WORTH_MS:
        for settings in candidates(session.settings, threads, light=size <= LARGEST_BYTES, slow=plain_ms > SLOW_MS):
            try:
                other = OnnxSession(session.name, session.spec, model, settings)
                other.run(inputs)  # the first call allocates
                found = other.run(inputs)
            except DexError:
                continue  # a way that this graph or machine cannot take is no candidate
            sessions.append(other)
            same.append(all(found[k].tobytes() == v.tobytes() for k, v in reference.items()))
    if len(sessions) == 1:
        return session, Tuning(session.settings, (Trial(session.settings, plain_ms, True),))
    times = _best_ms(sessions, inputs, RUNS)
    trials = tuple(Trial(s.settings, ms, bits) for s, ms, bits in zip(sessions, times, same, strict=True))
    fit = [i for i, trial in enumerate(trials) if (trial.same_bits or not exact) and trial.ms < CLEARLY * times[0]]
    best = min(fit, key=lambda i: times[i], default=0)
    if best:  # once more, the two alone: one quiet moment of the machine chooses nothing
        plain_ms, ms = _best_ms([session, sessions[best]], inputs, RUNS)
        best = best if ms < CLEARLY * plain_ms else 0
    return sessions[best], Tuning(sessions[best].settings, trials)


def _best_ms(sessions: Sequence[OnnxSession], inputs: Mapping[str, NDArray], rounds: int) -> list[float]:
    """Each session's shortest time, measured in turns: what else the machine does meanwhile only ever adds."""
    times: list[list[float]] = [[] for _ in sessions]
    end = time.perf_counter() + TRIAL_S
    for _ in range(rounds):
        for session, kept in zip(sessions, times, strict=True):
            start = time.perf_counter_ns()
            session.run(inputs)
            kept.append((time.perf_counter_ns() - start) * 1e-6)
        if time.perf_counter() > end:
            break
    return [min(kept) for kept in times]
