# SPDX-License-Identifier: Apache-2.0
"""The runtime of promptable bundles, on one whose masks can be worked out by hand: balls around the first click, in the model's units."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from dex_core.bundle import Bundle, load_bundle
from dex_core.bundle.testing import common_manifest, onnx_model, write_latent_fixture
from dex_core.bundle.write import write_bundle
from dex_core.clouds import Cloud
from dex_core.config import load_cell
from dex_core.errors import ConfigError, DexError, ShapeError
from dex_perception.segment.base import Clicks, Mask, Segmenter
from dex_perception.segment.codes import NoTarget
from dex_perception.segment.point_sam import PointSam, frame_of, thinned

RADII = (0.1, 0.3, 0.9)
IOU = (0.2, 0.8, 1.4)
"""The largest ball is believed best, by more than 1; a mask to go on from is believed in by 0.6."""
LEAST, MOST = 64, 2000
POSE = np.array([[1.0, 0, 0, 0.3], [0, -1.0, 0, -0.2], [0, 0, -1.0, 1.1], [0, 0, 0, 1.0]])
CONSTANTS = {
    "radii": np.square(np.float32(RADII))[None, :, None], "believed": np.float32([IOU]), "refined": np.float32([[0.6]]), "zero": np.float32([[0.0]]),
    "half": np.array(0.5, np.float32), "first": np.array(0, np.int64), "one": np.array([1], np.int64), "two": np.array([2], np.int64),
}


def tensor(name: str, dtype: str, *shape: Any) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": list(shape)}


COORDS, COLORS = tensor("coords", "float32", "B", "N", 3), tensor("colors", "float32", "B", "N", 3)
PROMPTS = [tensor("prompt_coords", "float32", "B", "Q", 3), tensor("prompt_labels", "int64", "B", "Q")]
PLACES = tensor("places", "float32", "B", "N", 3)


def balls(mask: bool) -> list:
    """Radius squared minus squared distance to the first click; with a mask before, half of that mask is added."""
    nodes = [
        helper.make_node("Gather", ["prompt_coords", "first"], ["click"], axis=1),
        helper.make_node("Unsqueeze", ["click", "one"], ["clicks"]),
        helper.make_node("Sub", ["places", "clicks"], ["d"]),
        helper.make_node("Mul", ["d", "d"], ["dd"]),
        helper.make_node("ReduceSum", ["dd", "two"], ["s"], keepdims=0),
        helper.make_node("Unsqueeze", ["s", "one"], ["away"]),
        helper.make_node("ReduceSum", ["away", "two"], ["any"], keepdims=0),
        helper.make_node("Mul", ["any", "zero"], ["nothing"]),
    ]
    if not mask:
        return [*nodes, helper.make_node("Sub", ["radii", "away"], ["masks"]), helper.make_node("Add", ["nothing", "believed"], ["iou"])]
    return [
        *nodes,
        helper.make_node("Unsqueeze", ["prompt_mask", "one"], ["before"]),
        helper.make_node("Mul", ["before", "half"], ["share"]),
        helper.make_node("Sub", ["share", "away"], ["masks"]),
        helper.make_node("Add", ["nothing", "refined"], ["iou"]),
    ]


def cases(graph: str) -> list:
    rng = np.random.default_rng(0)
    found = []
    for batch, count, clicks in ((1, 64, 1), (2, 70, 2)):
        points = rng.uniform(-1, 1, (batch, count, 3)).astype(np.float32)
        if graph == "encoder":
            found.append(({"coords": points, "colors": np.abs(points)}, {"places": points}))
            continue
        given = {"prompt_coords": points[:, :clicks], "prompt_labels": np.ones((batch, clicks), np.int64), "places": points}
        away = np.square(points - points[:, :1]).sum(-1)[:, None]
        masks, iou = np.square(np.float32(RADII))[None, :, None] - away, np.repeat(np.float32([IOU]), batch, axis=0)
        if graph == "decoder_mask":
            given["prompt_mask"] = rng.normal(size=(batch, count)).astype(np.float32)
            masks, iou = 0.5 * given["prompt_mask"][:, None] - away, np.full((batch, 1), 0.6, np.float32)
        found.append((given, {"masks": masks.astype(np.float32), "iou": iou}))
    return found


def write(folder: Path, refines: bool = True, **spec: Any) -> Path:
    graphs = {
        "encoder": ([COORDS, COLORS], [PLACES], [helper.make_node("Identity", ["coords"], ["places"])]),
        "decoder": ([*PROMPTS, PLACES], [tensor("masks", "float32", "B", 3, "N"), tensor("iou", "float32", "B", 3)], balls(mask=False)),
    }
    if refines:
        masked = [*PROMPTS, tensor("prompt_mask", "float32", "B", "N"), PLACES]
        graphs["decoder_mask"] = (masked, [tensor("masks", "float32", "B", 1, "N"), tensor("iou", "float32", "B", 1)], balls(mask=True))
    manifest = common_manifest(folder.name, "segmentation") | {"embodiments": [], "segmentation": {"coords": "unit_sphere", **spec}}
    bounds = {"B": [1, 4], "N": [LEAST, MOST]}
    manifest["graphs"] = {
        name: {"inputs": i, "outputs": o, "dynamic": bounds if name == "encoder" else {**bounds, "Q": [1, 5]}} for name, (i, o, _) in graphs.items()
    }
    models = {name: onnx_model(nodes, i, o, CONSTANTS if name != "encoder" else {}) for name, (i, o, nodes) in graphs.items()}
    write_bundle(folder, manifest, graphs=models, golden={name: cases(name) for name in graphs}, embodiments={}, licence_text="Apache-2.0\n")
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write(tmp_path_factory.mktemp("models") / "balls", points=500))


@pytest.fixture(scope="module")
def segmenter(bundle: Bundle) -> PointSam:
    return PointSam(bundle)


def cloud(count: int, seed: int = 0, scale_m: float = 0.2) -> Cloud:
    rng = np.random.default_rng(seed)
    points = (rng.uniform(-scale_m, scale_m, (count, 3)) + [2.0, -1.0, 0.3]).astype(np.float32)
    return Cloud(points, rng.integers(0, 256, (count, 3)).astype(np.uint8))


def click_on(cloud: Cloud, index: int = 7) -> Clicks:
    return Clicks(cloud.points_m[index : index + 1], np.array([True]))


def ball(cloud: Cloud, index: int, radius: float) -> np.ndarray:
    """What the model says of every point, worked out in metres."""
    unit = np.linalg.norm(cloud.points_m - cloud.points_m.mean(0, dtype=np.float64), axis=1).max()
    return radius**2 - np.square((cloud.points_m - cloud.points_m[index]) / unit).sum(1)


def test_is_a_segmenter_with_the_bundles_name(segmenter: PointSam) -> None:
    assert isinstance(segmenter, Segmenter) and segmenter.name == "balls"


def test_the_mask_believed_best_at_every_point(segmenter: PointSam) -> None:
    given = cloud(300)
    mask = segmenter.decode(segmenter.encode(given, POSE), click_on(given))
    np.testing.assert_allclose(mask.logits, ball(given, 7, RADII[2]), atol=1e-5)
    assert mask.confidence == 1.0 and mask.logits.dtype == np.float32


def test_the_model_sees_the_unit_sphere_and_colours_up_to_one(segmenter: PointSam) -> None:
    given = cloud(300)
    seen = segmenter.encode(given, POSE).tensors
    np.testing.assert_allclose(seen["coords"][0].mean(0), 0.0, atol=1e-6)
    assert np.linalg.norm(seen["coords"][0], axis=1).max() == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(seen["colors"][0], given.rgb / 255.0, atol=1e-6)
    assert (segmenter.encode(replace(given, rgb=None), POSE).tensors["colors"] == 0.5).all()


def test_any_place_and_size_is_the_same_cloud(segmenter: PointSam) -> None:
    near, far = cloud(300), Cloud(cloud(300).points_m * np.float32(4.0) + np.float32([50.0, 0.0, 8.0]), cloud(300).rgb)
    masks = [segmenter.decode(segmenter.encode(c, POSE), click_on(c)).logits for c in (near, far)]
    np.testing.assert_allclose(masks[0], masks[1], atol=2e-5)


def test_a_large_cloud_is_thinned_and_every_point_gets_a_logit(segmenter: PointSam) -> None:
    given = cloud(6000)
    encoded = segmenter.encode(given, POSE)
    assert encoded.tensors["coords"].shape == (1, 500, 3) and (np.diff(encoded.chosen) > 0).all()
    mask = segmenter.decode(encoded, click_on(given))
    wanted = ball(given, 7, RADII[2])
    assert mask.logits.shape == (6000,)
    np.testing.assert_allclose(mask.logits[encoded.chosen], wanted[encoded.chosen], atol=2e-4)
    assert np.mean(mask.inside == (wanted > 0)) > 0.95
    again = segmenter.decode(segmenter.encode(given, POSE), click_on(given))
    np.testing.assert_array_equal(mask.logits, again.logits)


def test_a_cloud_smaller_than_the_model_takes_is_repeated(segmenter: PointSam) -> None:
    given = cloud(40)
    encoded = segmenter.encode(given, POSE)
    assert encoded.tensors["coords"].shape == (1, LEAST, 3)
    mask = segmenter.decode(encoded, click_on(given))
    np.testing.assert_allclose(mask.logits, ball(given, 7, RADII[2]), atol=1e-5)
    np.testing.assert_allclose(segmenter.decode(encoded, click_on(given), mask).logits.shape, (40,))


def test_going_on_from_a_mask(segmenter: PointSam) -> None:
    given = cloud(900)
    encoded = segmenter.encode(given, POSE)
    first = segmenter.decode(encoded, click_on(given))
    second = segmenter.decode(encoded, click_on(given), first)
    wanted = 0.5 * first.logits + ball(given, 7, 0.0)
    np.testing.assert_allclose(second.logits[encoded.chosen], wanted[encoded.chosen], atol=2e-4)
    assert second.confidence == pytest.approx(0.6)


def test_without_a_graph_for_it_a_mask_changes_nothing(tmp_path: Path) -> None:
    segmenter, given = PointSam(load_bundle(write(tmp_path / "once", refines=False))), cloud(300)
    encoded = segmenter.encode(given, POSE)
    first = segmenter.decode(encoded, click_on(given))
    np.testing.assert_array_equal(segmenter.decode(encoded, click_on(given), first).logits, first.logits)


def test_coordinates_from_the_lens(tmp_path: Path) -> None:
    segmenter, given = PointSam(load_bundle(write(tmp_path / "lens", coords="lens", unit_m=0.5))), cloud(300)
    encoded = segmenter.encode(given, POSE)
    np.testing.assert_allclose(encoded.tensors["coords"][0], (given.points_m - POSE[:3, 3]) / 0.5, atol=1e-5)
    mask = segmenter.decode(encoded, click_on(given))
    np.testing.assert_allclose(mask.logits, RADII[2] ** 2 - np.square((given.points_m - given.points_m[7]) / 0.5).sum(1), atol=1e-4)


def test_a_mask_the_bundle_itself_does_not_believe_in(tmp_path: Path) -> None:
    segmenter, given = PointSam(load_bundle(write(tmp_path / "strict", min_iou=0.7))), cloud(300)
    encoded = segmenter.encode(given, POSE)
    first = segmenter.decode(encoded, click_on(given))
    with pytest.raises(NoTarget, match="0.60; strict needs 0.70") as caught:
        segmenter.decode(encoded, click_on(given), first)
    assert caught.value.code == "low_confidence"


def test_a_click_outside_the_cloud(segmenter: PointSam) -> None:
    given = cloud(300)
    encoded = segmenter.encode(given, POSE)
    away = Clicks(np.concatenate((given.points_m[:1], given.points_m[:1] + np.float32([0.0, 0.0, 0.9]))), np.array([True, False]))
    with pytest.raises(NoTarget, match="lies outside the cloud") as caught:
        segmenter.decode(encoded, away)
    assert caught.value.code == "prompt_outside"


def test_every_point_of_the_cloud_may_be_clicked(segmenter: PointSam) -> None:
    given = cloud(300)
    encoded = segmenter.encode(given, POSE)
    for index in range(0, 300, 10):
        segmenter.decode(encoded, click_on(given, index))


@pytest.mark.parametrize("count", [0, 31])
def test_too_few_points(segmenter: PointSam, count: int) -> None:
    with pytest.raises(DexError, match=f"{count} points; at least 32") as caught:
        segmenter.encode(cloud(count), POSE)
    assert caught.value.code == "depth_empty"


def test_points_in_one_place(segmenter: PointSam) -> None:
    with pytest.raises(DexError, match="all 100 points lie in one place"):
        segmenter.encode(Cloud(np.ones((100, 3), np.float32)), POSE)


def test_a_mask_of_another_cloud_and_too_many_clicks(segmenter: PointSam) -> None:
    given = cloud(300)
    encoded = segmenter.encode(given, POSE)
    with pytest.raises(ShapeError, match="the cloud has 300 points"):
        segmenter.decode(encoded, click_on(given), Mask(np.zeros(299, np.float32), 1.0))
    with pytest.raises(ShapeError, match="prompt_coords"):
        segmenter.decode(encoded, Clicks(given.points_m[:6], np.ones(6, bool)))


def test_a_bundle_of_another_kind(tmp_path: Path) -> None:
    cell = load_cell("xarm_bimanual")
    write_latent_fixture(tmp_path / "latents", cell)
    with pytest.raises(ConfigError, match="'latents' is of kind 'latent_space'; needed is 'segmentation'"):
        PointSam(load_bundle(tmp_path / "latents"))


def test_thinning_keeps_order_and_never_repeats() -> None:
    assert thinned(5, 5).tolist() == [0, 1, 2, 3, 4]
    chosen = thinned(1000, 100)
    assert len(set(chosen.tolist())) == 100 and (np.diff(chosen) > 0).all() and chosen.tolist() == thinned(1000, 100).tolist()


def test_the_frame_is_that_of_all_points(bundle: Bundle) -> None:
    given = cloud(2000)
    frame = frame_of(given.points_m, bundle.manifest.segmentation, POSE)
    assert np.linalg.norm(frame.coords(given.points_m), axis=1).max() == pytest.approx(1.0, abs=1e-6)
