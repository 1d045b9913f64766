# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dex_control.tally import Tally
from dex_core.limits import Change

MS = 1_000_000
JOINTS = {"a": "left_arm"}


def test_period_and_missed_ticks():
    tally = Tally(10 * MS, JOINTS)
    skipped = [tally.tick(t * MS, t * MS + late) for t, late in ((0, 0), (10, 0), (20, 3 * MS), (50, 0), (60, 0))]
    assert skipped == [0, 0, 0, 2, 0]
    report = tally.report()
    assert (report.commands, report.ticks_missed) == (5, 2)
    assert report.period_mean_ms == 15.0 and report.period_max_error_ms == 17.0
    assert tally.report().period_mean_ms == 10.0


def test_the_worst_of_each_joint_and_limit_is_kept():
    tally = Tally(10 * MS, JOINTS)
    tally.limited([Change("a", "velocity", 3.0, 2.0), Change("a", "velocity", 9.0, 2.0), Change("a", "step", 0.4, 0.3)])
    tally.limited([Change("a", "velocity", 4.0, 2.0)])
    tally.limited([Change("left_link7-table", "collision", 0.01, 0.02)], share=0.3)
    tally.examined([Change("a", "velocity", 5.0, 2.0)], 1.5)
    report = tally.report(("left_hand",))
    hits = {(h.joint, h.limit, h.stage): h for h in report.limits}
    assert (hits["a", "velocity", "command"].requested, hits["a", "velocity", "command"].count) == (9.0, 3)
    assert hits["a", "step", "command"].count == 1 and hits["a", "velocity", "chunk"].count == 1
    assert hits["a", "step", "command"].interface == "left_arm" and not hits["left_link7-table", "collision", "command"].interface
    assert (report.speed_share, report.validation_max_ms, report.held) == (0.3, 1.5, ("left_hand",))
    after = tally.report()
    assert (after.limits, after.speed_share, after.validation_max_ms, after.held) == ((), 1.0, 0.0, ())


def test_refusals_are_counted_by_kind():
    tally = Tally(10 * MS, JOINTS)
    for reason in ("late", "late", "duplicate", "limit", "non_finite"):
        tally.refused(reason)
    report = tally.report()
    assert (report.chunks_late, report.chunks_duplicate, report.chunks_rejected) == (2, 1, 2)
