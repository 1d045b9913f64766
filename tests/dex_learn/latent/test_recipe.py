# SPDX-License-Identifier: Apache-2.0
"""From nothing to a bundle that loads; a hand is added and nothing else changes; chunks end to end; wrong arguments."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.bundle import load_bundle  # noqa: E402
from dex_core.decode.latent import LatentDecoder  # noqa: E402
from dex_core.errors import DexError, ShapeError  # noqa: E402
from dex_learn import cli  # noqa: E402
from dex_learn.export import code_revision, run_onnx  # noqa: E402
from dex_learn.latent import command, pictures  # noqa: E402
from dex_learn.latent import recipe as recipe_module  # noqa: E402
from dex_learn.latent.add import add_hand, copied  # noqa: E402
from dex_learn.latent.chunk import FRAMES, trajectories  # noqa: E402
from dex_learn.latent.chunk_recipe import make_chunk_bundle  # noqa: E402
from dex_learn.latent.frozen import nets_of  # noqa: E402
from dex_learn.latent.net import HandDecoder, Widths  # noqa: E402
from dex_learn.latent.recipe import Recipe, load_hands, make_bundle  # noqa: E402
from dex_learn.latent.train import Training  # noqa: E402

HANDS = ("ability", "dexh13")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict]:
    """A tiny space: its bundle, the work folder, its scores."""
    root = tmp_path_factory.mktemp("space")
    recipe = Recipe(hands=HANDS, training=Training(steps=10, batch=16, pool=40), widths=Widths(12, 12), work=root / "work", code="v1")
    return root / "hand_latents", root / "work", make_bundle(recipe, root / "hand_latents", "a test")


def test_the_bundle_loads_with_both_sides_and_scores(made: tuple[Path, Path, dict]) -> None:
    bundle = load_bundle(made[0])
    assert bundle.manifest.provenance.code == "v1"
    assert set(bundle.embodiments) == {f"{s}_{h}" for s in ("left", "right") for h in HANDS}
    scores = json.loads((made[0] / "scores.json").read_text())
    assert scores["scores"]["right"]["hands"]["right_ability"]["tip_mean_mm"] > 0.0
    assert max(scores["scores"]["onnx_parity"].values()) <= 1e-5
    assert set(scores["definitions"]) >= set(scores["scores"]["left"]["hands"]["left_dexh13"])


def test_weights_come_back_out_of_the_graphs(made: tuple[Path, Path, dict]) -> None:
    bundle = load_bundle(made[0])
    nets = nets_of(bundle, load_hands(HANDS, "left"))
    z = torch.randn((3, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        q = HandDecoder(nets, 1)(z).numpy()
    graph = bundle.contents[bundle.manifest.graphs["left_dexh13/decoder"].file]
    assert np.abs(q - run_onnx(graph, {"z": z.numpy()})["q"]).max() < 1e-5


def test_an_added_hand_changes_no_bit_of_the_others(made: tuple[Path, Path, dict], tmp_path: Path) -> None:
    recipe = Recipe(training=Training(steps=6, batch=16, pool=40), work=tmp_path / "work", code="v2")
    scores = add_hand("leap", made[0], tmp_path / "hand_latents", recipe, "a test")
    old, new = load_bundle(made[0]), load_bundle(tmp_path / "hand_latents")
    assert new.manifest.provenance.code == "v2"
    assert set(new.embodiments) == set(old.embodiments) | {"left_leap", "right_leap"}
    for graph in old.manifest.graphs.values():
        assert (tmp_path / "hand_latents" / graph.file).read_bytes() == (made[0] / graph.file).read_bytes()
    assert "right_leap" in scores["right"]["hands"] and "right_ability" in scores["right"]["pinch_distance_mm"]["right_leap"]
    with pytest.raises(DexError, match="already"):
        add_hand("leap", tmp_path / "hand_latents", tmp_path / "again", recipe, "a test")


def test_a_hand_that_is_left_out_is_not_copied(made: tuple[Path, Path, dict]) -> None:
    bundle = load_bundle(made[0])
    kept = copied(bundle, ["ability"])
    assert set(kept.graphs) == {f"{s}_ability/{p}" for s in ("left", "right") for p in ("encoder", "decoder")} == set(kept.specs) == set(kept.golden)
    assert kept.graphs["left_ability/encoder"] == bundle.contents[bundle.manifest.graphs["left_ability/encoder"].file]


def test_chunks_end_to_end(made: tuple[Path, Path, dict], tmp_path: Path) -> None:
    recipe = Recipe(training=Training(steps=4, batch=32, pool=40), work=tmp_path / "work", code="v3")
    scores = make_chunk_bundle(recipe, made[0], tmp_path / "hand_chunks", "a test")
    bundle = load_bundle(tmp_path / "hand_chunks")
    assert bundle.manifest.provenance.code == "v3"
    decoder = LatentDecoder(bundle, "left_dexh13")
    assert (decoder.unit, decoder.frames) == ("chunk", FRAMES) and "right_ability" in scores["right"]["hands"]
    q = np.linspace(decoder.lower_rad, decoder.upper_rad, FRAMES)
    z = decoder.encode(q)
    decoded = decoder.decode(z)
    assert z.shape == (1, decoder.dim) and decoded.position_rad.shape == q.shape and decoded.residual.shape == (1,)
    with pytest.raises(ShapeError, match="one latent of this space is a whole chunk of 64"):
        decoder.decode(np.repeat(z, FRAMES, axis=0))
    with pytest.raises(ShapeError, match="exactly 64"):
        decoder.encode(q[:10])


def test_trajectories_are_smooth_and_inside() -> None:
    pool = 2.0 * torch.rand((2, 30, 5), generator=torch.Generator().manual_seed(0)) - 1.0
    u = trajectories(pool, 40, torch.Generator().manual_seed(1))
    assert u.shape == (2, 40, FRAMES, 5) and float(u.abs().max()) <= 1.0
    assert float(u.diff(dim=2).abs().max()) < 0.25 and float(u.diff(dim=2).abs().max()) > 0.02


@pytest.mark.parametrize(("words", "message"), [
    (["--hands", "leap"], "at least two"), (["--hands", "leap,leap"], "at least two"), (["--steps", "0"], "steps 0"),
    (["--threads", "0"], "--threads 0"),
    (["--unit", "chunk"], "needs --out"), (["--leave-out", "leap"], "goes with --add"), (["--hands", "leap,nobody"], "nobody"),
])
def test_wrong_arguments_are_named(words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        assert cli.main(["latents", "--work", str(tmp_path), "--minutes", "0.01", *words]) == 1
    finally:
        torch.set_num_threads(threads)
    assert message in capsys.readouterr().err


def test_cuda_is_refused_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DexError, match="no GPU"):
        Recipe(device="cuda", work=tmp_path)


@pytest.mark.parametrize("words", [["--hands", "ability,dexh13"], ["--add", "leap"], ["--unit", "chunk", "--out", "somewhere"]], ids=" ".join)
def test_outside_a_checkout_the_revision_is_asked_for_before_anything_is_trained(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "train.py"
    file.touch()
    monkeypatch.setattr(recipe_module, "code_revision", lambda given="": code_revision(given, file))
    trained: list[str] = []
    monkeypatch.setattr(command, "_run", lambda arguments, recipe, out, notes: trained.append(recipe.code) or {})
    monkeypatch.setattr(pictures, "draw_curves", lambda folder: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    assert cli.main(["latents", "--work", str(tmp_path), *words]) == 1
    assert "--code" in capsys.readouterr().err and not trained
    assert cli.main(["latents", "--work", str(tmp_path), "--code", " v4 ", *words]) == 0
    assert trained == ["v4"]
