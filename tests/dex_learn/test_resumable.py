# SPDX-License-Identifier: Apache-2.0
"""The loop of a training: ends by steps or by minutes, goes on exactly where it stopped, keeps off checkpoints of others."""
from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install -r requirements-learn.txt")

from torch import Tensor, nn  # noqa: E402

from dex_core.errors import DexError  # noqa: E402
from dex_learn import resumable  # noqa: E402
from dex_learn.resumable import REPORT_EVERY, WARM_UP, Resumable  # noqa: E402


@dataclass(frozen=True)
class Settings:
    steps: int = 2 * REPORT_EVERY + 7
    minutes: float = 0.0
    learning_rate: float = 0.02
    average: float = 0.9
    seed: int = 3
    save_every_s: float = 60.0
    noise: float = 0.1


class Line(Resumable[nn.Sequential]):
    """Fits a line to noisy points; normalises them, so that there are statistics beside the weights."""

    def __init__(self, settings: Settings = Settings(), checkpoint: Path | None = None) -> None:
        torch.manual_seed(settings.seed)
        self.noise = settings.noise
        self.rates: list[float] = []
        super().__init__(nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1)), settings, checkpoint)

    def learn(self) -> dict[str, Tensor]:
        self.rates.append(self._optimiser.param_groups[0]["lr"])
        x = torch.randn(16, 1, generator=self.generator)
        y = 3.0 * x - 1.0 + self.noise * torch.randn(16, 1, generator=self.generator)
        loss = (self.net(x) - y).square().mean()
        loss.backward()
        return {"loss": loss} | ({"seldom": loss} if self.step % 2 else {})


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("stops", [(1,), (REPORT_EVERY,), (20, 21, REPORT_EVERY + 3)])
def test_it_goes_on_exactly_where_it_stopped(tmp_path: Path, stops: tuple[int, ...]) -> None:
    whole = Line()
    whole.run()
    for stop in stops:
        part = Line(checkpoint=tmp_path / "deep" / "x.pt")
        part.run(until=stop)
        assert part.step == stop
    last = Line(checkpoint=tmp_path / "deep" / "x.pt")
    assert last.step == stops[-1] and not same(last.net, whole.net)
    assert same(last.run(), whole.average) and same(last.net, whole.net) and last.step == Settings().steps
    assert last.curves["step"] == whole.curves["step"] == [50.0, 100.0]
    assert not (tmp_path / "deep" / "x.new").exists()


def test_how_long_may_change_and_nothing_else(tmp_path: Path) -> None:
    Line(checkpoint=tmp_path / "x.pt").run(until=2)
    longer = Line(replace(Settings(), steps=500, minutes=9.0, save_every_s=1.0), tmp_path / "x.pt")
    assert longer.step == 2
    for other in (replace(Settings(), noise=0.2), replace(Settings(), learning_rate=0.1)):
        with pytest.raises(DexError, match="another training") as caught:
            Line(other, tmp_path / "x.pt")
        assert caught.value.code == "bad_checkpoint"


def test_it_ends_by_minutes_over_all_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def tick() -> float:
        now[0] += 0.5
        return now[0]

    monkeypatch.setattr(resumable.time, "monotonic", tick)
    brief = replace(Settings(), steps=10**6, minutes=0.5)
    first = Line(brief, tmp_path / "x.pt")
    first.run(until=10)
    assert 0.0 < first.minutes < 0.5 and first.done == pytest.approx(first.minutes / 0.5)
    now[0] += 1e6  # what passes between two runs does not count
    second = Line(brief, tmp_path / "x.pt")
    assert second.minutes == first.minutes
    second.run()
    assert second.done >= 1.0 and 10 < second.step < 100
    step = second.step
    assert second.run() is second.average and second.step == step


def test_it_saves_as_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    monkeypatch.setattr(Line, "save", lambda self: saved.append(self.step))
    Line(replace(Settings(), steps=5, save_every_s=0.0), tmp_path / "x.pt").run()
    assert saved == [1, 2, 3, 4, 5, 5]
    Line(replace(Settings(), steps=5, save_every_s=0.0)).run()
    assert len(saved) == 6


def test_the_rate_grows_and_falls_to_its_floor_and_figures_are_means() -> None:
    line = Line(replace(Settings(), steps=4 * WARM_UP))
    net = line.run()
    assert line.rates[0] == pytest.approx(0.02 / WARM_UP * 1.01) and max(line.rates) < 0.02 * 1.01
    assert all(a < b for a, b in zip(line.rates[:90], line.rates[1:91], strict=True))
    assert all(a > b for a, b in zip(line.rates[WARM_UP:-1], line.rates[WARM_UP + 1 :], strict=True))
    assert line.rates[-1] == pytest.approx(0.02 * 0.01, rel=0.05)
    assert len(line.curves["loss"]) == len(line.curves["seldom"]) == 4 * WARM_UP // REPORT_EVERY
    assert line.curves["loss"][-1] < 0.1 * line.curves["loss"][0] and math.isfinite(line.curves["seldom"][0])
    low, high = net(torch.tensor([[0.0], [1.0]])).detach().flatten().tolist()
    assert not net.training and low == pytest.approx(-1.0, abs=0.5) and high == pytest.approx(2.0, abs=0.7)
