# SPDX-License-Identifier: Apache-2.0
import pytest

from dex_core.clock import NS, ManualClock, SteadyClock, Ticker


def test_ticks_are_absolute_whatever_the_work_takes() -> None:
    clock = ManualClock()
    ticker = Ticker(100.0, clock)
    ticks = []
    for work_s in (0.001, 0.009, 0.0, 0.004):
        ticks.append(ticker.wait())
        clock.advance_s(work_s)
    assert ticks == [10_000_000, 20_000_000, 30_000_000, 40_000_000]
    assert ticker.missed == 0


def test_late_loop_skips_and_counts_and_returns_to_the_grid() -> None:
    clock = ManualClock()
    ticker = Ticker(100.0, clock)
    ticker.wait()
    clock.advance_s(0.035)  # now 45 ms: the tick of 20 ms is 25 ms late, those of 30 and 40 ms are gone
    assert ticker.wait() == 20_000_000
    assert ticker.lateness_ns == 25_000_000
    assert ticker.missed == 2
    assert ticker.wait() == 50_000_000


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_rate_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate_hz"):
        Ticker(rate)


@pytest.mark.parametrize("seconds", [-1e-9, float("nan")])
def test_manual_clock_never_goes_back(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        ManualClock().advance_s(seconds)


def test_steady_clock_does_not_return_early() -> None:
    clock = SteadyClock()
    deadline = clock.now_ns() + NS // 200
    clock.sleep_until_ns(deadline)
    assert clock.now_ns() >= deadline
    clock.sleep_until_ns(deadline)  # already past: returns


def test_every_thread_of_a_process_gets_the_priority_or_none() -> None:
    import subprocess
    import sys

    code = (
        "import os, threading; from dex_core.clock import set_process_realtime as f; stop = threading.Event();"
        "[threading.Thread(target=stop.wait, daemon=True).start() for _ in range(3)];"
        "n = f(1); policies = {os.sched_getscheduler(int(t)) for t in os.listdir('/proc/self/task')};"
        "assert (n >= 4 and policies == {os.SCHED_RR}) or (n == 0 and policies == {os.SCHED_OTHER}), (n, policies); assert f(1) == 0; stop.set()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
