# SPDX-License-Identifier: Apache-2.0
"""Training: samples are what a click sees, the loss is least for the truth, a run goes on where it stopped, and it learns."""
from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install -r requirements-learn.txt")

from dex_core.bundle import load_bundle  # noqa: E402
from dex_core.errors import DexError  # noqa: E402
from dex_learn.cli import main  # noqa: E402
from dex_learn.segmentation.answers import opened_by  # noqa: E402
from dex_learn.segmentation.net import ClickNet  # noqa: E402
from dex_learn.segmentation.samples import POINTS, Sampler  # noqa: E402
from dex_learn.segmentation.scores import score_scenes  # noqa: E402
from dex_learn.segmentation.train import Trainer, Training, loss, wrong_click  # noqa: E402
from dex_learn.tabletop.testing import two_boxes  # noqa: E402

TINY = Training(steps=6, batch=2, widths=(4, 4), half=False)


def test_samples_hold_the_click_and_stand_for_all_points_about_it() -> None:
    batch = Sampler(two_boxes(3)).draw(6, 0)
    assert batch.points_m.shape == (6, POINTS, 3) and batch.clicks_m.shape == (6, 1, 3)
    assert ((batch.weight > 0) | (batch.truth == 0)).all() and (batch.weight[batch.weight > 0] >= 1.0).all()
    for k in range(6):
        on = batch.points_m[k][batch.truth[k] > 0]
        assert float((on - batch.clicks_m[k]).norm(dim=1).min()) < 0.02
        heights = on[:, 2]
        assert float(heights.max() - heights.min()) < 1e-3  # one box, flat on top
        area = float((batch.truth[k] * batch.weight[k]).sum())
        assert any(area == pytest.approx(n, rel=0.25) for n in (38 * 50, 60 * 60))


def test_the_loss_is_least_for_the_truth_and_tells_how_much_overlaps() -> None:
    batch = Sampler(two_boxes()).draw(3, 1)
    right = (20.0 * batch.truth - 10.0).unsqueeze(1).expand(-1, 3, -1)
    sure, unsure = torch.full((3, 3), 8.0), torch.zeros(3, 3)
    good, overlap = loss(right, sure, batch)
    assert float(good) < 0.02 and torch.allclose(overlap, torch.ones(3))
    bad, none = loss(-right, sure, batch)
    assert float(bad) > 10.0 and float(none.max()) == 0.0
    assert float(loss(right, unsure, batch)[0]) > float(good) + 0.2
    one = torch.stack([-right[:, 0], right[:, 0], -right[:, 0]], dim=1)
    chosen, overlap = loss(one, torch.tensor([[0.0, 5.0, 0.0]]).expand(3, -1), batch)
    assert torch.allclose(overlap, torch.ones(3)) and float(good) < float(chosen) < float(bad)


def test_the_second_click_falls_where_the_mask_is_wrong() -> None:
    batch, generator = Sampler(two_boxes()).draw(3, 2), torch.Generator().manual_seed(0)
    for mask, label in ((torch.full_like(batch.truth, -5.0), 1), (torch.full_like(batch.truth, 5.0), 0)):
        click, labels = wrong_click(mask, batch, generator)
        nearest = (batch.points_m - click).norm(dim=2).argmin(1, keepdim=True)
        assert (labels == label).all() and (batch.truth.gather(1, nearest) == label).all()
    assert (wrong_click(10.0 * batch.truth - 5.0, batch, generator)[1] == -1).all()


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole = Trainer(two_boxes(2), TINY).run()
    Trainer(two_boxes(2), TINY, tmp_path / "x.pt").run(until=3)
    second = Trainer(two_boxes(2), TINY, tmp_path / "x.pt")
    assert second.step == 3
    for a, b in zip(whole.state_dict().values(), second.run().state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert second.step == 6 and Trainer(two_boxes(2), TINY, tmp_path / "x.pt").step == 6
    with pytest.raises(DexError, match="another training"):
        Trainer(two_boxes(2), replace(TINY, seed=2), tmp_path / "x.pt")


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 1}, {"minutes": -1.0}, {"learning_rate": 0.0}, {"second": 1.5}])
def test_bad_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(DexError, match="at least"):
        replace(TINY, **wrong)


def test_it_learns_to_tell_two_boxes_apart() -> None:
    scenes = two_boxes(4)
    before = np.mean([s.iou[0] for s in score_scenes(opened_by(ClickNet((8, 8, 8)).eval()), two_boxes(), clicks=1)])
    net = Trainer(scenes, Training(steps=80, batch=3, learning_rate=1.5e-2, widths=(8, 8, 8), average=0.8, second=0.0, half=False)).run()
    after = np.mean([s.iou[0] for s in score_scenes(opened_by(net), two_boxes(), clicks=1)])
    assert after > 0.8 > before


@pytest.mark.slow
@pytest.mark.timeout(600)  # three exports, half a minute of one core
def test_the_command_writes_a_bundle_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dex_learn.tabletop.store.stored_scenes", lambda folder, split, count, seed=0: two_boxes(count))
    words = ["segmentation", "--out", str(tmp_path / "small_segmentation"), "--scenes", "2", "--unseen", "2", "--steps", "2", "--batch", "2",
             "--threads", "1", "--work", str(tmp_path / "work"), "--code", "test"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    bundle = load_bundle(tmp_path / "small_segmentation")
    assert told["hash"] == bundle.hash and max(told["onnx_parity"].values()) < 2e-3 and told["things"] == 4
    assert bundle.manifest.provenance.steps == 2 and bundle.manifest.provenance.code == "test"
    assert json.loads((tmp_path / "work" / "curves.json").read_text()) == {}
    assert main([*words, "--scenes", "0"]) == 1
