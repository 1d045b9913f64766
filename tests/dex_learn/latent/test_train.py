# SPDX-License-Identifier: Apache-2.0
"""Training: goes on where it stopped, leaves frozen hands alone, learns, and starts left hands as mirror images."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.errors import DexError  # noqa: E402
from dex_learn.latent.hand import LatentHand  # noqa: E402
from dex_learn.latent.mirror import mirror_signs, start_as_twins, twins_of  # noqa: E402
from dex_learn.latent.net import LatentNets, Widths  # noqa: E402
from dex_learn.latent.sampling import uniform  # noqa: E402
from dex_learn.latent.train import Trainer, Training  # noqa: E402

TINY = Training(steps=12, batch=16, pool=40)
WIDTHS = Widths(12, 12)


def _nets(*names: str, side: str = "right") -> LatentNets:
    return LatentNets([LatentHand.load(n, side) for n in names], WIDTHS)


def test_a_run_that_was_stopped_equals_one_that_was_not(tmp_path: Path) -> None:
    whole = Trainer(_nets("inspire", "leap"), TINY).run("whole")
    Trainer(_nets("inspire", "leap"), TINY, checkpoint=tmp_path / "x.pt").run("first part", until=5)
    second = Trainer(_nets("inspire", "leap"), TINY, checkpoint=tmp_path / "x.pt")
    assert second.step == 5
    for a, b in zip(second.run("second part").parameters(), whole.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    Trainer(_nets("inspire", "leap"), TINY, checkpoint=tmp_path / "x.pt").run("x", until=1)
    with pytest.raises(DexError, match="another training"):
        Trainer(_nets("inspire", "leap"), replace(TINY, batch=24), checkpoint=tmp_path / "x.pt")


def test_frozen_hands_do_not_move_by_a_bit() -> None:
    frozen, new = _nets("ability", "inspire"), _nets("leap")
    before = [p.detach().clone() for p in frozen.parameters()]
    start = [p.detach().clone() for p in new.parameters()]
    Trainer(new, TINY, frozen=frozen).run("leap")
    assert all(torch.equal(a, b) for a, b in zip(before, frozen.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(start, new.parameters(), strict=True))


def test_training_lowers_the_loss() -> None:
    trainer = Trainer(_nets("inspire", "ability"), Training(steps=100, batch=32, pool=100))
    trainer.run("learns")
    assert trainer.curves["joint"][-1] < trainer.curves["joint"][0] and trainer.curves["direction"][-1] < trainer.curves["direction"][0]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 4}, {"minutes": -1.0}, {"learning_rate": 0.0}])
def test_wrong_settings_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(DexError, match=next(iter(wrong)).replace("_", " ")):
        Training(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "turned"), [("inspire", set()), ("xhand1", set()), ("leap", {"0", "4", "8", "12", "13"})])
def test_joints_that_count_the_other_way_on_the_left_are_found(name: str, turned: set[str]) -> None:
    left, right = LatentHand.load(name, "left"), LatentHand.load(name, "right")
    sign = mirror_signs(left, right)
    assert {j for j, s in zip(left.joints, sign.tolist(), strict=True) if s < 0} == turned


def test_a_left_hand_starts_as_the_mirror_image_of_its_twin() -> None:
    """The same latent is the mirrored posture: equal to the joint for XHand1, and up to its thumb's other place for LEAP."""
    right, left = _nets("leap", "xhand1"), _nets("xhand1", "leap", side="left")
    twins = twins_of(left, right)
    assert twins.index.tolist() == [1, 0]
    start_as_twins(left, right, twins)
    u = uniform(right, 50, torch.Generator().manual_seed(0))
    with torch.no_grad():
        z = right.encode(u, right.chains(right.joints(u)))
        mirrored = left.decode(z[twins.index]) * left.own
        wanted = right.decode(z)[twins.index] * twins.sign * left.own
        own = left.encode(u[twins.index] * twins.sign, left.chains(left.joints(u[twins.index] * twins.sign)))
    assert float((mirrored - wanted)[0].abs().max()) < 0.05
    assert float((mirrored - wanted)[1].abs().mean()) < 0.05
    assert float((own - z[twins.index])[0].abs().max()) < 0.05  # the two wrists differ by half a millimetre


def test_a_hand_without_a_twin_is_refused() -> None:
    with pytest.raises(DexError, match="none of this model"):
        twins_of(_nets("leap", side="left"), _nets("ability"))
