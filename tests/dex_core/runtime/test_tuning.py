# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dex_core.runtime import OnnxSession, Settings, tune, tuning

from .conftest import SPEC

GIVEN = {"x": np.ones((2, 8), np.float32)}
Opened = Callable[..., OnnxSession]


def measured(monkeypatch: pytest.MonkeyPatch, ms: Callable[[Settings], float]) -> None:
    """Time of an inference as a function of the settings, in place of a clock."""
    monkeypatch.setattr(tuning, "_best_ms", lambda sessions, inputs, rounds: [ms(s.settings) for s in sessions])


def run(opened: Opened, model: bytes, threads: int = 4, **how: object) -> tuple[OnnxSession, tuning.Tuning]:
    return tune(opened(), model, GIVEN, threads, **{"size": len(model), "exact": True, **how})  # type: ignore[arg-type]


def test_the_fastest_way_is_taken_and_all_are_told(opened: Opened, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, lambda s: {1: 10.0, 2: 6.0, 4: 8.0}[s.threads])
    session, found = run(opened, model)
    assert session.settings == found.chosen == Settings(threads=2)
    assert [t.settings.threads for t in found.trials] == [1, 2, 4, 1, 1] and "2 thread(s) 6.00 ms" in found.words


def test_a_little_faster_is_not_enough(opened: Opened, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, lambda s: 10.0 if s == Settings() else 9.2)
    session, found = run(opened, model)
    assert found.chosen == Settings() == session.settings


def test_no_number_changes_by_a_machines_mood(opened: Opened, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A way that gives other bits is taken only for a bundle that does not claim to be deterministic."""
    measured(monkeypatch, lambda s: 1.0 if s.threads == 2 else 10.0)
    real = OnnxSession.run

    def other_bits(self: OnnxSession, inputs: dict) -> dict:
        found = real(self, inputs)
        return {k: v + np.float32(1e-6) for k, v in found.items()} if self.settings.threads == 2 else found

    monkeypatch.setattr(OnnxSession, "run", other_bits)
    assert run(opened, model, 2)[1].chosen == Settings()
    assert run(opened, model, 2, exact=False)[1].chosen.threads == 2
    assert "(other bits)" in run(opened, model, 2)[1].words


def test_what_is_quick_is_left_alone(opened: Opened, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, lambda _: 0.2)
    session, found = run(opened, model)
    assert len(found.trials) == 1 and session.settings == Settings()


def test_ways_to_try() -> None:
    plain = Settings()

    def threads(count: int, **how: bool) -> list[int]:
        return [s.threads for s in tuning.candidates(plain, count, **how) if s.optimisation == "all" and not s.bound]

    assert (threads(1), threads(2), threads(6), threads(8)) == ([], [2], [2, 4, 6], [2, 4, 8])
    assert threads(8, slow=True) == [8] and len(tuning.candidates(plain, 8, slow=True)) == 1
    assert tuning.candidates(plain, 8, light=False) == []
    assert [s.bound for s in tuning.candidates(Settings("cuda"), 8)] == [True]


def test_measured_for_real(opened: Opened, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "WORTH_MS", 0.0)
    session, found = run(opened, model, 2)
    assert len(found.trials) == 4 and all(t.same_bits and t.ms > 0 for t in found.trials)
    assert np.array_equal(session.run(GIVEN)["y"], OnnxSession("a", SPEC, model).run(GIVEN)["y"])
