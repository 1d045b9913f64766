# SPDX-License-Identifier: Apache-2.0
"""What is written passes a strict check and pycocotools; what is damaged does not pass."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dex_core.config import load_cell
from dex_core.errors import DexError
from dex_perception.keypoints.annotator import Annotator
from dex_perception.keypoints.coco import FILE, CocoWriter, run_lengths
from dex_perception.keypoints.coco_check import CocoError, check, check_folder
from dex_perception.keypoints.layout import HAND_NAMES
from dex_perception.keypoints.testing import at_rest

CELL = load_cell("xarm_bimanual", right_hand="leap")
STAMPS = (1_795_000_000_123_456_789, 1_795_000_000_190_000_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    annotator = Annotator(CELL)
    writer = CocoWriter(tmp_path_factory.mktemp("coco") / "set", annotator.instances, {"cell": CELL.name})
    for stamp in STAMPS:
        sample = at_rest(CELL, stamp_ns=stamp)
        writer.add(sample, annotator.annotate(sample))
    assert writer.pictures == 2
    return writer.close().parent


@pytest.fixture(scope="module")
def data(folder: Path) -> dict[str, Any]:
    return json.loads((folder / FILE).read_text(encoding="utf-8"))


def test_it_passes_its_own_check(folder: Path, data: dict[str, Any]) -> None:
    counts = check_folder(folder)
    assert counts["images"] == 2 and counts["annotations"] == 8
    assert counts["visible"] > 20 and counts["hidden"] > 5 and counts["missing"] >= 2 * 8
    assert [image["stamp_ns"] for image in data["images"]] == list(STAMPS)


def test_hands_share_names_and_skeletons_count_from_one(data: dict[str, Any]) -> None:
    categories = {category["name"]: category for category in data["categories"]}
    assert categories["inspire"]["keypoints"] == categories["leap"]["keypoints"] == list(HAND_NAMES)
    assert categories["leap"]["supercategory"] == "hand" and categories["xarm7"]["supercategory"] == "arm"
    assert [1, 2] in categories["inspire"]["skeleton"]


def test_a_finger_that_is_missing_has_visibility_0(data: dict[str, Any]) -> None:
    leap = next(category["id"] for category in data["categories"] if category["name"] == "leap")
    entry = next(entry for entry in data["annotations"] if entry["category_id"] == leap)
    assert entry["keypoints"][3 * 17 :] == [0] * 12 and entry["points_in_camera_m"][17:] == [None] * 4
    assert entry["side"] == "right" and entry["interface"] == "right_hand"


@pytest.mark.parametrize("mask", [
    np.zeros((3, 4), dtype=bool), np.ones((3, 4), dtype=bool), np.arange(12).reshape(3, 4) % 2 == 0, np.arange(12).reshape(3, 4) > 7,
])
def test_run_lengths_lead_back_to_the_mask(mask: np.ndarray) -> None:
    runs = run_lengths(mask)
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    assert np.array_equal(flat.reshape(mask.shape, order="F"), mask) and runs[0] == (0 if mask[0, 0] else runs[0])


def test_pycocotools_reads_it(folder: Path, data: dict[str, Any]) -> None:
    module = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    coco = module.COCO(str(folder / FILE))
    assert len(coco.getImgIds()) == 2
    for entry in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(entry)
        assert mask.shape == (240, 320) and mask.sum() == entry["area"]
        rows, columns = np.nonzero(mask)
        assert entry["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    evaluation = pytest.importorskip("pycocotools.cocoeval", reason="pycocotools is not installed").COCOeval
    hands = [category["id"] for category in data["categories"] if category["supercategory"] == "hand"]
    results = coco.loadRes([
        {"image_id": e["image_id"], "category_id": e["category_id"], "keypoints": e["keypoints"], "score": 1.0}
        for e in data["annotations"] if e["category_id"] in hands
    ])
    judge = evaluation(coco, results, "keypoints")
    judge.params.catIds, judge.params.kpt_oks_sigmas = hands, np.full(21, 0.05)
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert judge.stats[0] == pytest.approx(1.0), "its own labels score 1"


def hand_of(data: dict[str, Any]) -> dict[str, Any]:
    return next(entry for entry in data["annotations"] if len(entry["keypoints"]) == 63)


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no images": (lambda d: d.pop("images"), "needs the keys"),
    "id twice": (lambda d: d["annotations"][1].update(id=1), "an id is there twice"),
    "no such picture": (lambda d: d["annotations"][0].update(image_id=99), "annotations 1: image_id 99"),
    "no such category": (lambda d: d["annotations"][0].update(category_id=0), "category_id 0"),
    "one number short": (lambda d: d["annotations"][0]["keypoints"].pop(), "must be 24 numbers"),
    "visibility 3": (lambda d: d["annotations"][0]["keypoints"].__setitem__(2, 3), "visibility is 3"),
    "visibility 1.0": (lambda d: d["annotations"][0]["keypoints"].__setitem__(2, 1.0), "visibility is 1.0"),
    "place without point": (lambda d: hand_of(d)["keypoints"].__setitem__(hand_of(d)["keypoints"][2::3].index(0) * 3, 5.0), "has no place"),
    "outside": (lambda d: hand_of(d)["keypoints"].__setitem__(0, 320.0), "outside the picture of 320 x 240"),
    "wrong count": (lambda d: d["annotations"][0].update(num_keypoints=0), "num_keypoints is 0"),
    "crowd": (lambda d: d["annotations"][0].update(iscrowd=1), "iscrowd must be 0"),
    "box": (lambda d: d["annotations"][0].update(bbox=[300, 0, 40, 10]), "leaves the picture"),
    "area": (lambda d: d["annotations"][0].update(area=1), "the mask has"),
    "runs": (lambda d: d["annotations"][0]["segmentation"]["counts"].append(1), "do not add up"),
    "skeleton from 0": (lambda d: d["categories"][0]["skeleton"].append([0, 1]), "must join two of 1 to 8"),
    "same name": (lambda d: d["categories"][0]["keypoints"].__setitem__(0, "joint2"), "twice"),
    "file name twice": (lambda d: d["images"][1].update(file_name=d["images"][0]["file_name"]), "same file_name"),
    "NaN": (lambda d: d["annotations"][0]["keypoints"].__setitem__(0, float("nan")), "must be 24 numbers"),
    "not a list": (lambda d: d.update(categories={}), "categories: must be a list"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(data: dict[str, Any], damage: str) -> None:
    broken = copy.deepcopy(data)
    check(broken)
    harm, words = DAMAGES[damage]
    harm(broken)
    with pytest.raises(CocoError, match=words):
        check(broken)


def test_a_folder_is_not_written_twice_and_pictures_must_be_there(folder: Path, data: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DexError, match="is there already"):
        CocoWriter(folder, (), {})
    (tmp_path / FILE).write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(CocoError, match="000001.png cannot be read"):
        check_folder(tmp_path)
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "000001.png"), np.zeros((2, 2, 3), dtype=np.uint8))
    with pytest.raises(CocoError, match="is 2 x 2; the file says 320 x 240"):
        check_folder(tmp_path)
    (tmp_path / FILE).write_text("{", encoding="utf-8")
    with pytest.raises(CocoError, match="annotations.json"):
        check_folder(tmp_path)
