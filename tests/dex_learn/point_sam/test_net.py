# SPDX-License-Identifier: Apache-2.0
"""The architecture is upstream's: the same parameter names and sizes, and the same numbers out of the same weights.

``upstream.npz`` holds what zyc00/Point-SAM at c14d393 (with timm's EVA-02 blocks) computed on a small configuration whose weights are those of
``random_weights.weights_by_name``; torkit3d's CUDA operators were replaced by loops in torch.
"""
from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from tests.dex_learn.point_sam.random_weights import weights_by_name, write_safetensors  # noqa: E402

from dex_core.errors import ConfigError, DexError  # noqa: E402
from dex_learn.point_sam.graphs import DecoderGraph, EncoderGraph, MaskedDecoderGraph  # noqa: E402
from dex_learn.point_sam.net import PointSam  # noqa: E402
from dex_learn.point_sam.shape import VARIANTS, PointSamShape, shape_of  # noqa: E402
from dex_learn.point_sam.weights import network_of, read_weights  # noqa: E402

SMALL = PointSamShape(patches=24, patch_size=8, width=128, depth=2, heads=2, hidden=341, patch_width=64, embedding=32, decoder_hidden=64)
UPSTREAM = Path(__file__).with_name("upstream.npz")
TABLES = {
    "base": (386, 90_840_836, "8764efbf30d95e6b417e360488b19af986c364758e6ce550e6bcae4af03304a5"),
    "large": (614, 308_363_972, "f37674148db1cd22ffa781d970fdfd06528019c2b28f11892e2f0aec50fde1d4"),
}
"""Number, size and sha256 over sorted "name (sizes)" lines of upstream's parameters in use, its unused picture parts left out."""


def sizes_of(shape: PointSamShape) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in PointSam(shape).state_dict().items()}


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return weights_by_name(sizes_of(SMALL))


@pytest.fixture(scope="module")
def net(weights: dict[str, np.ndarray]) -> PointSam:
    return network_of(weights, SMALL.patches, SMALL.patch_size)


@pytest.fixture(scope="module")
def upstream() -> dict[str, torch.Tensor]:
    with np.load(UPSTREAM) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.mark.parametrize("variant", ["base", "large"])
def test_parameters_have_upstreams_names_and_sizes(variant: str) -> None:
    sizes = sizes_of(VARIANTS[variant])
    table = hashlib.sha256("\n".join(sorted(f"{name} {size}" for name, size in sizes.items())).encode()).hexdigest()
    assert (len(sizes), sum(int(np.prod(size)) for size in sizes.values()), table) == TABLES[variant]
    assert shape_of(sizes) == VARIANTS[variant]


class TestNumbers:
    """Against upstream's own, to float32's rounding."""

    def encoded(self, net: PointSam, upstream: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            return EncoderGraph(net, 0.5, 0.5)(upstream["coords"], upstream["colors"])

    def per_click(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.expand(2, *tensor.shape[1:])  # upstream decodes two prompts of one cloud

    def test_encoder(self, net: PointSam, upstream: dict[str, torch.Tensor]) -> None:
        embeddings, centers, *_ = self.encoded(net, upstream)
        assert torch.equal(centers, upstream["centers"])
        np.testing.assert_allclose(embeddings.numpy(), upstream["embeddings"].numpy(), atol=3e-6)

    def test_first_click(self, net: PointSam, upstream: dict[str, torch.Tensor]) -> None:
        embeddings, centers, _, index, weight = map(self.per_click, self.encoded(net, upstream))
        with torch.no_grad():
            masks, iou = DecoderGraph(net)(upstream["prompt_coords"], upstream["prompt_labels"], embeddings, centers, index, weight)
        np.testing.assert_allclose(masks.numpy(), upstream["masks"].numpy(), atol=1e-6)
        np.testing.assert_allclose(iou.numpy(), upstream["iou"].numpy(), atol=1e-6)

    def test_a_mask_to_go_on_from(self, net: PointSam, upstream: dict[str, torch.Tensor]) -> None:
        embeddings, centers, knn, index, weight = map(self.per_click, self.encoded(net, upstream))
        coords = self.per_click(upstream["coords"])
        prompts = (upstream["prompt_coords"], upstream["prompt_labels"], upstream["prompt_mask"])
        with torch.no_grad():
            masks, iou = MaskedDecoderGraph(net)(*prompts, coords, embeddings, centers, knn, index, weight)
        np.testing.assert_allclose(masks.numpy(), upstream["refined_masks"].numpy(), atol=1e-6)
        np.testing.assert_allclose(iou.numpy(), upstream["refined_iou"].numpy(), atol=1e-6)

    def test_colours_count(self, net: PointSam, upstream: dict[str, torch.Tensor]) -> None:
        """Training's colours and the demo's are different inputs, so choosing between them is no detail."""
        with torch.no_grad():
            demo = EncoderGraph(net, 0.0, 1.0)(upstream["coords"], upstream["colors"])[0]
        assert (demo - upstream["embeddings"]).abs().max() > 0.05


class TestWeights:
    def test_names_of_wrapped_training_and_unused_parts(self, tmp_path: Path, weights: dict[str, np.ndarray]) -> None:
        unused = {f"pc_encoder.transformer.{name}": np.zeros((1, 2), np.float32) for name in ("cls_token", "head.weight", "patch_embed.proj.bias")}
        file = write_safetensors(tmp_path / "w.safetensors", {f"module.{name}": value for name, value in {**weights, **unused}.items()})
        found = read_weights(file)
        assert set(found) == set(weights)
        assert network_of(found, SMALL.patches, SMALL.patch_size).shape == SMALL

    @pytest.mark.parametrize(("name", "value", "words"), [
        ("mask_decoder.iou_token.weight", None, "Missing key.*iou_token"),
        ("mask_decoder.extra", np.zeros(3, np.float32), "Unexpected key.*extra"),
        ("mask_decoder.iou_token.weight", np.zeros((1, 31), np.float32), "size mismatch.*iou_token"),
        ("mask_decoder.iou_token.weight", np.full((1, 32), np.nan, np.float32), "iou_token.weight' holds 32 numbers"),
    ])
    def test_what_does_not_fit_is_named(self, weights: dict[str, np.ndarray], name: str, value: np.ndarray | None, words: str) -> None:
        changed = {**weights, name: value}
        with pytest.raises(DexError, match=words) as caught:
            network_of({k: v for k, v in changed.items() if v is not None}, SMALL.patches, SMALL.patch_size)
        assert caught.value.code == "weights_refused"

    def test_other_models_are_not_taken_for_point_sam(self, weights: dict[str, np.ndarray]) -> None:
        with pytest.raises(ConfigError, match="1 parameters and no 'pc_encoder.patch_proj.weight'"):
            shape_of({"weight": (3, 3)})
        with pytest.raises(ConfigError, match=r"width 128, depth 2: none of the variants \['base', 'large'\]"):
            shape_of({name: value.shape for name, value in weights.items()})

    def test_patches_may_be_chosen(self) -> None:
        sizes = sizes_of(VARIANTS["large"])
        assert shape_of(sizes, patches=512) == replace(VARIANTS["large"], patches=512)
        assert shape_of(sizes, patches=512, patch_size=64) == replace(VARIANTS["large"], patches=512, patch_size=64)

    @pytest.mark.parametrize("wrong", [{"patches": 2}, {"patch_size": 0}, {"heads": 3}, {"embedding": 36}])
    def test_impossible_shapes(self, wrong: dict[str, int]) -> None:
        with pytest.raises(ConfigError):
            replace(SMALL, **wrong)
