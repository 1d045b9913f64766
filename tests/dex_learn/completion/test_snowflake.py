# SPDX-License-Identifier: Apache-2.0
"""SnowflakeNet: parameter names and counts as released, numbers as the released code gives them, broken files refused."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: pip install torch==2.13.0")

from dex_core.errors import BundleError  # noqa: E402
from dex_learn.completion.snowflake import VARIANTS, SnowflakeNet, Variant  # noqa: E402
from dex_learn.completion.snowflake_import import import_snowflake, load_net, read_checkpoint, variant_of  # noqa: E402
from dex_perception.complete import Completer  # noqa: E402

SMALL = Variant((1, 2), points=64, features=32, seeds=16, first=24, patches=(32, 16))


def weights_of(variant: Variant, seed: int = 3) -> dict[str, torch.Tensor]:
    """Random weights that depend on nothing but names and shapes."""
    rng, out = np.random.default_rng(seed), {}
    for key, value in SnowflakeNet(variant).state_dict().items():
        if value.dtype != torch.float32:
            out[key] = value
        elif key.endswith("running_var"):
            out[key] = torch.from_numpy(rng.uniform(0.5, 1.5, value.shape).astype(np.float32))
        else:
            out[key] = torch.from_numpy(rng.normal(0.0, 0.1, value.shape).astype(np.float32))
    return out


def checkpoint(path: Path, variant: Variant, prefix: str = "module.") -> Path:
    """A file as upstream's training writes it."""
    torch.save({"epoch_index": 1, "model": {prefix + key: value for key, value in weights_of(variant).items()}}, path)
    return path


def test_parameters_are_counted_as_released() -> None:
    found = {name: sum(p.numel() for p in SnowflakeNet(variant).parameters()) for name, variant in VARIANTS.items()}
    assert found == {"pcn": 19_320_812, "c3d": 19_288_044, "shapenet": 19_304_428}


@pytest.mark.parametrize(("name", "counts"), [
    ("pcn", (256, 512, 2048, 16384)), ("c3d", (256, 512, 1024, 2048)), ("shapenet", (256, 512, 2048, 8192)),
])
def test_clouds_are_as_large_as_released(name: str, counts: tuple[int, ...]) -> None:
    assert VARIANTS[name].counts == counts


def test_numbers_are_those_of_the_released_code() -> None:
    """Sums of the clouds that upstream's code (commit 0880ba1) gave for these weights and points, its CUDA operators written out in torch."""
    net = load_net(weights_of(SMALL), SMALL, "test")
    partial = torch.from_numpy(np.random.default_rng(5).uniform(-0.5, 0.5, (2, 64, 3)).astype(np.float32))
    with torch.no_grad():
        clouds = net(partial)
    assert [tuple(c.shape) for c in clouds] == [(2, 16, 3), (2, 24, 3), (2, 48, 3)]
    weighing = [np.cos(np.arange(c.numel())).astype(np.float64) for c in clouds]
    sums = [float((c.numpy().astype(np.float64).ravel() * w).sum()) for c, w in zip(clouds, weighing, strict=True)]
    assert sums == pytest.approx([-5.7076327, -8.3703765, -1.2968162], abs=5e-4)


def test_points_near_the_origin_are_passed_over_as_by_the_kernel() -> None:
    net = load_net(weights_of(SMALL), SMALL, "test")
    partial = torch.from_numpy(np.random.default_rng(5).uniform(-0.5, 0.5, (1, 64, 3)).astype(np.float32))
    near = partial.clone()
    near[:, 40:] = 0.01 * near[:, 40:]
    nearer = near.clone()
    nearer[:, 40:] = 0.5 * near[:, 40:]
    with torch.no_grad():
        a, b = (net.feat_extractor.sa_module_1(x.transpose(1, 2), x.transpose(1, 2))[0] for x in (near, nearer))
    assert torch.equal(a[:, :, :20], b[:, :, :20])


def test_the_variant_is_read_off_the_weights() -> None:
    for name, variant in VARIANTS.items():
        state = {f"decoder.uppers.{i}.ps.weight": torch.zeros(32, 128, factor) for i, factor in enumerate(variant.up_factors)}
        assert variant_of(state, "test") == name
    with pytest.raises(BundleError, match="split by .7."):
        variant_of({"decoder.uppers.0.ps.weight": torch.zeros(32, 128, 7)}, "test")


def test_a_checkpoint_becomes_a_bundle_that_completes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANTS, "pcn", SMALL)
    import_snowflake(checkpoint(tmp_path / "small.pth", SMALL), tmp_path / "snowflake_pcn")
    completer = Completer(tmp_path / "snowflake_pcn")
    from dex_core.clouds import Cloud

    rng = np.random.default_rng(0)
    found = completer.complete(Cloud(rng.uniform(0.0, 0.1, (200, 3)).astype(np.float32)), (1.0, 0.0, 1.0))
    assert len(found.cloud) == 48 and np.isfinite(found.cloud.points_m).all()


def test_weights_without_the_prefix_load_too(tmp_path: Path) -> None:
    assert read_checkpoint(checkpoint(tmp_path / "a.pth", SMALL, "")).keys() == read_checkpoint(checkpoint(tmp_path / "b.pth", SMALL)).keys()


def test_broken_checkpoints_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        read_checkpoint(tmp_path / "missing.pth")
    (tmp_path / "text.pth").write_text("no checkpoint")
    with pytest.raises(BundleError, match="without running code"):
        read_checkpoint(tmp_path / "text.pth")
    torch.save({"weights": {}}, tmp_path / "other.pth")
    with pytest.raises(BundleError, match="weights under 'model'"):
        read_checkpoint(tmp_path / "other.pth")
    torch.save({"model": {"x": Path("no tensor")}}, tmp_path / "code.pth")
    with pytest.raises(BundleError, match="without running code"):
        read_checkpoint(tmp_path / "code.pth")


def test_every_wrong_weight_is_named() -> None:
    weights = weights_of(SMALL)
    with pytest.raises(BundleError, match="'extra' is unknown"):
        load_net({**weights, "extra": torch.zeros(1)}, SMALL, "test")
    key = "decoder.uppers.1.mlp_delta.mlp.2.weight"
    broken = weights[key] * float("nan")
    for wrong, said in ((torch.zeros(2, 2), "expected torch.float32"), (weights[key].double(), "torch.float64"), (broken, "finite")):
        with pytest.raises(BundleError, match=said):
            load_net({**weights, key: wrong}, SMALL, "test")
    del weights[key]
    with pytest.raises(BundleError, match="is missing"):
        load_net(weights, SMALL, "test")
