# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from dex_control.outcome import ChunkOutcome

MS = 1_000_000


def test_overhead_is_the_way_without_the_model():
    timing = {"observed": 0, "inference_started": 10 * MS, "inferred": 60 * MS}
    outcome = ChunkOutcome("g", 0, True, timing_ns=timing)
    assert outcome.overhead_ms == 0.0
    done = outcome.first_command_at(85 * MS)
    assert done.inference_ms == pytest.approx(50.0) and done.overhead_ms == pytest.approx(35.0)
    assert "first_command" not in outcome.timing_ns


def test_unknown_stages_give_zero():
    assert ChunkOutcome("g", 0, False).inference_ms == 0.0
