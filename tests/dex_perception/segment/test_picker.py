# SPDX-License-Identifier: Apache-2.0
"""The things in view and their features; and the picker on top of them, with a graph made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from dex_core import text
from dex_core.bundle import load_bundle
from dex_core.bundle.testing import common_manifest, onnx_model
from dex_core.bundle.write import write_bundle
from dex_core.errors import BundleError
from dex_perception.segment.candidates import FEATURES, GREYS, HUES, VERSION, things_in
from dex_perception.segment.codes import NoTarget
from dex_perception.segment.geometric import GeometricSegmenter
from dex_perception.segment.growing import picture_regions
from dex_perception.segment.picker import Picker

GREEN, RED, BLUE = (30, 160, 40), (200, 30, 30), (30, 60, 190)


def test_each_thing_is_one_candidate_with_finite_features(scene: Callable) -> None:
    view, labels = scene(noise_m=0.001).view()
    things = things_in(view)
    assert len(things) == 3 and things.features.shape == (3, FEATURES) and np.isfinite(things.features).all()
    truth = labels.reshape(-1)[view.cloud.pixels]
    owners = [int(np.bincount(truth[part]).argmax()) for part in things.members]
    assert sorted(owners) == [1, 2, 3] and all((truth[part] == o).mean() > 0.9 for part, o in zip(things.members, owners, strict=True))
    for click, owner in zip(things.clicks_m, owners, strict=True):
        assert truth[np.abs(view.cloud.points_m - click).sum(axis=1).argmin()] == owner


def test_colours_sizes_and_ranks_mean_what_they_say(scene: Callable) -> None:
    view, labels = scene().view()
    things = things_in(view)
    truth = labels.reshape(-1)[view.cloud.pixels]
    row = {int(np.bincount(truth[part]).argmax()): k for k, part in enumerate(things.members)}
    hue = things.features[:, :HUES].argmax(axis=1)
    assert hue[row[1]] in (0, HUES - 1) and abs(hue[row[2]] - HUES // 3) <= 1 and abs(hue[row[3]] - 2 * HUES // 3) <= 1
    sizes = things.features[:, 2 * (HUES + GREYS) + 3 :]
    assert sizes[row[1], 2] == pytest.approx(0.8, abs=0.05) and sizes[row[3], 2] == pytest.approx(0.5, abs=0.05), "heights in decimetres"
    ranks = things.features[:, -6:]
    assert ranks[row[1], 2] == 1.0 and (ranks[:, 4] == 3 / 8).all()
    assert ranks[row[3], 1] == 1.0 and ranks[row[1], 1] == 0.0, "x grows from the red box to the blue one"


def test_an_empty_table_has_no_things(scene: Callable, ball: Callable) -> None:
    view, _ = scene(ball((0.0, 0.0, -0.5), 0.01, RED)).view()
    things = things_in(view)
    assert len(things) == 0 and things.features.shape == (0, FEATURES) and things.clicks_m.shape == (0, 3)


def test_in_the_picture_near_things_stay_two_and_thin_bridges_do_not_count(scene: Callable, box: Callable) -> None:
    view, labels = scene(box((-0.09, 0.0, 0.0), (-0.012, 0.08, 0.06), RED), box((0.012, 0.0, 0.0), (0.09, 0.08, 0.06), BLUE)).view()
    off = np.flatnonzero(view.standing.off)
    number = picture_regions(view.cloud.points_m[off], view.cloud.pixels[off], view.size_hw, 0.02)
    truth = labels.reshape(-1)[view.cloud.pixels[off]]
    assert set(number[(truth == 1) & (number >= 0)]).isdisjoint(number[(truth == 2) & (number >= 0)])
    line = np.arange(20, dtype=np.int32) + 160 * 60
    points = np.stack([0.01 * np.arange(20), np.zeros(20), np.zeros(20)], axis=1).astype(np.float32)
    assert (picture_regions(points, line, (120, 160), 0.02) == -1).all()
    block = (np.arange(20)[:, None] * 160 + np.arange(20)).astype(np.int32).ravel()
    grid = np.stack([*np.meshgrid(0.01 * np.arange(20), 0.01 * np.arange(20)), np.zeros((20, 20))], axis=-1).reshape(-1, 3).astype(np.float32)
    assert (picture_regions(grid, block, (120, 160), 0.02)[np.arange(400) % 20 > 0] == 0).all()


def write_picker(folder: Path, column: int, words: Sequence[str] = ("red", "thing"), features: str = VERSION, plural: Sequence[str] = ()) -> Path:
    """A picker that likes one feature: logit = 20 (feature - 0.5)."""
    weight = np.zeros((FEATURES, 1), dtype=np.float32)
    weight[column] = 20.0
    tensors = {
        "tokens": {"name": "tokens", "dtype": "int64", "shape": ["B", text.LENGTH]},
        "things": {"name": "things", "dtype": "float32", "shape": ["B", FEATURES]},
        "logit": {"name": "logit", "dtype": "float32", "shape": ["B", 1]},
    }
    nodes = [
        helper.make_node("ReduceSum", ["tokens", "axis"], ["count"], keepdims=1), helper.make_node("Cast", ["count"], ["as_float"], to=1),
        helper.make_node("Mul", ["as_float", "zero"], ["nothing"]), helper.make_node("MatMul", ["things", "weight"], ["liked"]),
        helper.make_node("Sub", ["liked", "half"], ["shifted"]), helper.make_node("Add", ["shifted", "nothing"], ["logit"]),
    ]
    constants = {"weight": weight, "zero": np.zeros(1, np.float32), "half": np.full(1, 10.0, np.float32), "axis": np.array([1], np.int64)}
    graph = onnx_model(nodes, [tensors["tokens"], tensors["things"]], [tensors["logit"]], constants)
    rng = np.random.default_rng(0)
    cases = []
    for rows in (1, 3):
        given = {"tokens": rng.integers(0, 9, (rows, text.LENGTH)), "things": rng.uniform(0, 1, (rows, FEATURES)).astype(np.float32)}
        cases.append((given, {"logit": (given["things"] @ weight - 10.0).astype(np.float32)}))
    manifest = {
        **common_manifest(folder.name, "picker"), "embodiments": [],
        "graphs": {"picker": {"inputs": [tensors["tokens"], tensors["things"]], "outputs": [tensors["logit"]], "dynamic": {"B": [1, 64]},
                              "golden": {"atol": 1e-3, "rtol": 1e-4}}},
        "picker": {"features": features, "words": list(words), "plural": list(plural), "margin": 0.15},
    }
    write_bundle(folder, manifest, graphs={"picker": graph}, golden={"picker": cases}, embodiments={}, licence_text="none")
    return folder


def test_the_best_thing_is_picked_and_a_click_on_it_segments_it(tmp_path: Path, scene: Callable, iou: Callable) -> None:
    picker = Picker(load_bundle(write_picker(tmp_path / "picker", column=0)))  # hue 0: red
    view, labels = scene().view()
    meant = picker.find("the red thing", view)
    assert meant.point_m is not None and meant.confidence > 0.9 and picker.name == "picker"
    from dex_perception.segment.base import Clicks

    segmenter = GeometricSegmenter()
    mask = segmenter.decode(segmenter.encode(view.cloud, view.pose_camera_in_world), Clicks(meant.point_m[None], np.array([True])))
    assert iou(view.cloud.picture(mask.inside, view.size_hw, fill=False), labels == 1) > 0.7


@pytest.mark.parametrize(("words", "colours", "code"), [
    ("the quick fox", (RED, GREEN), "text_unknown"), ("the red thing", (BLUE, GREEN), "text_unmatched"),
    ("the red thing", (RED, RED), "text_ambiguous"),
    ("...", (RED, GREEN), "text_unknown"), ("red " * 100, (RED, GREEN), "text_unknown"),
])
def test_what_is_not_picked_and_why(tmp_path: Path, scene: Callable, box: Callable, words: str, colours: Any, code: str) -> None:
    picker = Picker(load_bundle(write_picker(tmp_path / "picker", column=0)))
    things = [box((-0.2 + 0.2 * k, 0.0, 0.0), (-0.12 + 0.2 * k, 0.08, 0.06), colour) for k, colour in enumerate(colours)]
    with pytest.raises(NoTarget) as caught:
        picker.find(words, scene(*things).view()[0])
    assert caught.value.code == code


def test_of_several_any_will_do(tmp_path: Path, scene: Callable, box: Callable) -> None:
    picker = Picker(load_bundle(write_picker(tmp_path / "picker", column=0, words=("red", "both"), plural=("both",))))
    two = scene(*(box((x, 0.0, 0.0), (x + 0.08, 0.08, 0.06), RED) for x in (-0.2, 0.0)))
    assert picker.find("both red things", two.view()[0]).confidence > 0.9


def test_an_empty_table_matches_nothing(tmp_path: Path, scene: Callable, ball: Callable) -> None:
    picker = Picker(load_bundle(write_picker(tmp_path / "picker", column=0)))
    with pytest.raises(NoTarget, match="nothing stands on the table"):
        picker.find("the red thing", scene(ball((0.0, 0.0, -0.5), 0.01, RED)).view()[0])


def test_other_features_and_broken_manifests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="reads features 'things_v0', this version makes"):
        Picker(load_bundle(write_picker(tmp_path / "old", column=0, features="things_v0")))
    with pytest.raises(BundleError, match="name every word once"):
        write_picker(tmp_path / "twice", column=0, words=("red", "red"))
    with pytest.raises(BundleError, match="picker.plural"):
        write_picker(tmp_path / "plural", column=0, plural=("cans",))
