# SPDX-License-Identifier: Apache-2.0
"""Goals: what a look gives, how a goal ends, who owns, and that no result outlives its picture."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dex_core.clock import NS, ManualClock
from dex_core.clouds import Cloud
from dex_core.errors import DexError
from dex_perception.segment.base import Clicks, Mask
from dex_perception.segment.codes import PICTURE, TARGET, PictureError
from dex_perception.segment.eye import Eye, Trust
from dex_perception.segment.geometric import GeometricSegmenter
from dex_perception.segment.job import Job, Outcome, Patience
from dex_perception.segment.owner import Ownership
from dex_perception.segment.prompts import Meant
from dex_perception.segment.request import Request
from dex_perception.segment.result import Result, Standing

MS = NS // 1000
GREEN, RED = (30, 160, 40), (200, 30, 30)
PATIENCE = Patience(budget_s=0.2, max_age_s=0.5, picture_s=1.0, lost_s=1.0)


class Scripted:
    """A segmenter that says what a test wants, and takes as long."""

    name = "scripted"

    def __init__(self, clock: ManualClock) -> None:
        self.clock, self.takes_s = clock, 0.01
        self.mask: Callable[[Cloud, Clicks], Mask] = lambda cloud, clicks: GeometricSegmenter().decode(
            GeometricSegmenter().encode(cloud, np.eye(4)), clicks
        )

    def encode(self, cloud: Cloud, pose_camera_in_world: NDArray[np.float64]) -> Cloud:
        self.clock.advance_s(self.takes_s)
        return cloud

    def decode(self, encoded: Cloud, clicks: Clicks, previous: Mask | None = None) -> Mask:
        return self.mask(encoded, clicks)


class Bench:
    """A clock, a scripted segmenter and jobs with them; the wall clock runs with the steady one."""

    def __init__(self, scene: Callable, middle: Callable) -> None:
        self.clock = ManualClock(10 * NS)
        self.segmenter = Scripted(self.clock)
        self.eye = Eye(self.segmenter, None, Trust(), self.clock.now_ns)
        self.scene, self.middle = scene, middle

    def job(self, scene: Any, number: int = 2, **settings: Any) -> Job:
        labels = scene.view()[1]
        request = Request(clicks_px=np.array([self.middle(labels, number)]), click_positive=np.array([True]), **settings)
        return Job(self.eye, request, "goal", PATIENCE, self.clock.now_ns, self.clock.now_ns)

    def show(self, job: Job, scene: Any, age_s: float = 0.02) -> Result:
        arrived_ns = self.clock.now_ns()
        return job.on_view(scene.view(arrived_ns - round(age_s * NS))[0], arrived_ns)


@pytest.fixture
def bench(scene: Callable, middle: Callable) -> Bench:
    return Bench(scene, middle)


def test_one_look_finds_and_ends(bench: Bench, iou: Callable) -> None:
    scene = bench.scene()
    job = bench.job(scene)
    assert job.stage == "waiting"
    result = bench.show(job, scene)
    view, labels = scene.view()
    assert result.object is not None and iou(result.object.mask > 0, labels == 2) > 0.7
    assert job.ending is not None and job.ending.outcome is Outcome.SUCCEEDED and not result.code
    cloud = result.object.cloud
    assert cloud.normals is not None and np.allclose(np.linalg.norm(cloud.normals, axis=1), 1.0, atol=1e-3)
    away = cloud.points_m - np.array([0.02, 0.0, 0.035], dtype=np.float32)  # a ball: normals lead away from its middle
    cosine = (away / np.linalg.norm(away, axis=1, keepdims=True) * cloud.normals).sum(axis=1)
    assert np.median(cosine) > 0.95
    assert np.abs(np.linalg.norm(away, axis=1) - 0.035).max() < 2e-3
    assert result.stamp_ns == bench.clock.now_ns() - 30 * MS and result.times.total_ms == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("mask", "code", "detail"),
    [
        (lambda cloud, clicks: Mask(np.full(len(cloud), -1.0, np.float32), 0.9), "no_target", "empty"),
        (lambda cloud, clicks: Mask(np.ones(len(cloud), np.float32), 0.9), "no_target", "found no one thing"),
        (lambda cloud, clicks: Mask(np.where(np.arange(len(cloud)) < 500, 1.0, -1.0).astype(np.float32), 0.3), "low_confidence", "0.30"),
        (lambda cloud, clicks: Mask(np.where(np.arange(len(cloud)) < 500, 1.0, -1.0).astype(np.float32), float("nan")), "low_confidence", "nan"),
        (lambda cloud, clicks: Mask(np.where(np.arange(len(cloud)) < 5, 1.0, -1.0).astype(np.float32), 0.9), "no_target", "points; at least 30"),
        (lambda cloud, clicks: Mask(np.ones(3, np.float32), 0.9), "segmenter_failed", "values for"),
    ],
)
def test_masks_that_are_no_object(bench: Bench, mask: Any, code: str, detail: str) -> None:
    bench.segmenter.mask = mask
    scene = bench.scene()
    job = bench.job(scene)
    result = bench.show(job, scene)
    assert result.object is None and result.code == code in TARGET and detail in result.detail and np.isfinite(result.confidence)
    assert job.ending is not None and job.ending.outcome is Outcome.NO_TARGET and job.ending.reason == code


@pytest.mark.parametrize("error", [DexError("graph 'decoder': output holds NaN"), RuntimeError("graph 'decoder': out of memory")])
def test_a_model_that_fails_is_no_target(bench: Bench, error: Exception) -> None:
    def fail(cloud: Cloud, clicks: Clicks) -> Mask:
        raise error

    bench.segmenter.mask = fail
    result = bench.show(bench.job(bench.scene()), bench.scene())
    assert result.code == "segmenter_failed" and "graph 'decoder'" in result.detail and result.detail.startswith("scripted: ")


def test_over_budget_is_said_and_too_old_is_dropped(bench: Bench) -> None:
    scene = bench.scene()
    bench.segmenter.takes_s = 0.3
    job = bench.job(scene)
    late = bench.show(job, scene)
    assert late.object is not None and late.code == "over_budget" and job.over_budget == 1
    bench.segmenter.takes_s = 0.6
    old = bench.show(job := bench.job(scene), scene)
    assert old.object is None and old.code == "expired" and old.confidence == 0.0
    assert job.ending is not None and job.ending.outcome is Outcome.NO_TARGET
    patient = bench.job(scene, max_age_s=2.0, budget_s=1.0)
    assert bench.show(patient, scene).code == ""


def test_following_loses_and_finds_again_and_gives_up(bench: Bench, ball: Callable, box: Callable) -> None:
    still = box((-0.25, -0.10, 0.0), (-0.15, 0.0, 0.08), RED)

    def at(x: float) -> Any:
        return bench.scene(ball((x, 0.0, 0.035), 0.035, GREEN), still)

    job = bench.job(at(0.0), number=1, continuous=True)
    for step in range(4):
        result = bench.show(job, at(0.03 * step))
        assert result.object is not None and job.stage == "tracking" and result.tracked == (step > 0)
        bench.clock.advance_s(0.2)
    for _ in range(2):
        gone = bench.show(job, bench.scene(still))
        assert gone.object is None and gone.code == "lost" and job.stage == "lost" and job.ending is None
        bench.clock.advance_s(0.2)
    assert bench.show(job, at(0.12)).object is not None and job.stage == "tracking"
    while job.ending is None:
        bench.clock.advance_s(0.2)
        assert bench.show(job, bench.scene(still)).object is None
    assert job.ending.outcome is Outcome.NO_TARGET and job.ending.reason == "lost" and "not seen for 1." in job.ending.detail


def test_a_click_on_nothing_ends_a_continuous_goal_at_once(bench: Bench) -> None:
    job = bench.job(bench.scene(), continuous=True)
    bench.segmenter.mask = lambda cloud, clicks: Mask(np.full(len(cloud), -1.0, np.float32), 0.9)
    bench.show(job, bench.scene())
    assert job.ending is not None and job.ending.reason == "no_target"


def test_words_go_on_looking_and_find_what_the_tracker_lost(bench: Bench, ball: Callable) -> None:
    class Reader:
        name = "reader"
        calls = 0

        def find(self, text: str, view: Any) -> Meant:
            Reader.calls += 1
            green = np.flatnonzero((view.cloud.rgb[:, 1] > 150) & (view.cloud.rgb[:, 0] < 60))
            if not len(green):
                from dex_perception.segment.codes import NoTarget

                raise NoTarget("nothing green", code="text_unmatched")
            return Meant(0.9, point_m=view.cloud.points_m[green[len(green) // 2]])

    bench.eye.reader = Reader()
    job = Job(bench.eye, Request(text="green ball", continuous=True), "goal", PATIENCE, bench.clock.now_ns, bench.clock.now_ns)
    assert bench.show(job, bench.scene(ball((0.2, 0.0, 0.05), 0.05, RED))).code == "text_unmatched" and job.ending is None
    assert bench.show(job, bench.scene(ball((0.0, 0.0, 0.05), 0.05, GREEN))).object is not None
    calls = Reader.calls
    bench.clock.advance_s(0.2)
    assert bench.show(job, bench.scene(ball((0.01, 0.0, 0.05), 0.05, GREEN))).tracked and Reader.calls == calls
    bench.clock.advance_s(0.2)
    far = bench.show(job, bench.scene(ball((0.35, 0.1, 0.05), 0.05, GREEN)))
    assert far.object is not None and not far.tracked and Reader.calls == calls + 1


@pytest.mark.parametrize("code", ["camera_lost", "tf_missing", "image_blank", "depth_empty"])
def test_without_usable_pictures_a_goal_is_aborted_with_the_reason(bench: Bench, code: str) -> None:
    job = bench.job(bench.scene())
    job.on_trouble(PictureError("first", code=code))
    assert job.ending is None and job.trouble[0] == code
    bench.clock.advance_s(1.1)
    job.on_trouble(PictureError("again", code=code))
    assert job.ending is not None and job.ending.outcome is Outcome.ABORTED and job.ending.reason == code in PICTURE
    job.end(Outcome.CANCELLED, "cancelled", "")
    assert job.ending.outcome is Outcome.ABORTED, "the first ending stays"


def test_a_good_picture_takes_the_trouble_away(bench: Bench) -> None:
    scene = bench.scene()
    job = bench.job(scene, continuous=True)
    for _ in range(4):
        bench.clock.advance_s(0.6)
        job.on_trouble(PictureError("x", code="depth_missing"))
        bench.show(job, scene)
        assert job.trouble == ("", "") and job.ending is None


def result_of(bench: Bench) -> Result:
    return bench.show(bench.job(bench.scene()), bench.scene())


@given(age_ms=st.integers(0, 700), max_age_ms=st.integers(1, 600), wait_ms=st.integers(0, 1200))
def test_a_result_stands_until_its_picture_is_too_old_and_falls_once(age_ms: int, max_age_ms: int, wait_ms: int) -> None:
    shown = Result(5000 * MS, "optical", "goal", "click", (2, 2), object=object())  # type: ignore[arg-type]
    standing = Standing()
    standing.put(shown, max_age_ms * 1e-3, (5000 + age_ms) * MS, 100 * NS)
    fallen = standing.fallen(100 * NS + wait_ms * MS)
    assert (fallen is not None) == (age_ms + wait_ms >= max_age_ms) == (not standing.left_standing)
    if fallen is not None:
        assert fallen.object is None and fallen.code == "expired" and fallen.stamp_ns == shown.stamp_ns and fallen.confidence == 0.0
        assert standing.fallen(1000 * NS) is None


def test_no_target_leaves_nothing_standing_and_a_stop_withdraws_at_once(bench: Bench) -> None:
    standing, result = Standing(), result_of(bench)
    standing.put(result, 10.0, result.stamp_ns, 0)
    assert standing.fallen(0) is None and standing.left_standing
    standing.put(dataclasses.replace(result, object=None, code="lost"), 10.0, result.stamp_ns, 0)
    assert not standing.left_standing and standing.fallen(NS**2) is None
    standing.put(result, 10.0, result.stamp_ns, 0)
    assert standing.fallen(0, at_once=True) is not None and not standing.left_standing


def test_ownership_rules() -> None:
    owner = Ownership()
    assert "not active" in owner.claim("a", preempt=True)
    owner.open()
    assert not owner.claim("a", preempt=False) and owner.wait_turn("a", 0.0) and owner.owner == "a" and not owner.must_leave("a")
    assert "goal a is running" in owner.refusal(preempt=False) == owner.claim("b", preempt=False)
    assert not owner.claim("c", preempt=True) and owner.must_leave("a") == "preempted" and not owner.wait_turn("c", 0.0)
    assert not owner.must_leave("a"), "who took over gave up waiting"
    assert not owner.claim("d", preempt=True) and not owner.claim("e", preempt=True)
    assert not owner.wait_turn("d", 0.0) and not owner.refusal(preempt=True)
    owner.leave("x")
    assert owner.owner == "a"
    owner.leave("a")
    assert owner.wait_turn("e", 0.0) and owner.owner == "e"
    owner.close()
    assert owner.must_leave("e") == "inactive" and not owner.wait_idle(0.0)
    owner.leave("e")
    assert owner.wait_idle(0.0)


def test_many_goals_at_once_have_one_owner_at_a_time() -> None:
    owner, inside, most, endings = Ownership(), 0, 0, []
    lock = threading.Lock()
    owner.open()

    def goal(name: str) -> None:
        nonlocal inside, most
        if owner.claim(name, preempt=True) or not owner.wait_turn(name, 5.0):
            endings.append("never")
            return
        with lock:
            inside, most = inside + 1, max(most, inside + 1)
        while not owner.must_leave(name):
            owner.wait_idle(0.001)
        with lock:
            inside -= 1
        owner.leave(name)
        endings.append("left")

    threads = [threading.Thread(target=goal, args=(f"g{k}",)) for k in range(12)]
    for thread in threads:
        thread.start()
    while len(endings) < 11:
        owner.wait_idle(0.001)
    owner.close()
    for thread in threads:
        thread.join(5.0)
    assert most == 1 and len(endings) == 12 and owner.owner == ""
