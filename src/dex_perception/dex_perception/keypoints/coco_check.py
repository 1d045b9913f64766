# SPDX-License-Identifier: Apache-2.0
"""A strict look at a COCO keypoints file: everything that a trainer silently trips over is an error with its place."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2

from dex_core.errors import DexError
from dex_perception.keypoints.coco import FILE
from dex_perception.keypoints.sample import MISSING, VISIBLE

SLACK_PX = 0.5
"""A point in the last half pixel is in the picture: pixel centres are at integers."""


class CocoError(DexError):
    """A file is not what COCO keypoints are; the message begins with the place."""

    code = "coco_invalid"


def check_folder(folder: Path) -> dict[str, int]:
    """Checks ``annotations.json`` of a folder and that its pictures are there with the size it says.

    Returns:
        How many pictures, annotations, and keypoints of each visibility there are.

    Raises:
        CocoError: the first thing that is wrong.
    """
    path = folder / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (OSError, ValueError) as error:
        raise CocoError(f"{path}: {error}") from error
    try:
        counts = check(data)
    except CocoError as error:
        raise CocoError(f"{path}: {error}") from error
    for image in data["images"]:
        picture = cv2.imread(str(folder / image["file_name"]), cv2.IMREAD_UNCHANGED)
        if picture is None or picture.shape[:2] != (image["height"], image["width"]):
            found = "cannot be read" if picture is None else f"is {picture.shape[1]} x {picture.shape[0]}"
            raise CocoError(f"{folder / image['file_name']} {found}; the file says {image['width']} x {image['height']}")
    return counts


def check(data: Any) -> dict[str, int]:
    """Checks the content of such a file; returns counts as ``check_folder``. Raises CocoError."""
    _need(isinstance(data, dict) and {"images", "annotations", "categories"} <= set(data), "file", "needs the keys images, annotations, categories")
    for key in ("images", "annotations", "categories"):
        _need(isinstance(data[key], list) and all(isinstance(entry, dict) for entry in data[key]), key, "must be a list of objects")
    images, categories = _by_id(data, "images"), _by_id(data, "categories")
    _by_id(data, "annotations")
    for place, image in _placed(data, "images"):
        _need(all(_whole(image.get(key)) and image[key] > 0 for key in ("width", "height")), place, "width and height must be whole and positive")
        _need(isinstance(image.get("file_name"), str) and bool(image["file_name"]), place, "file_name is missing")
    _need(len({image["file_name"] for image in data["images"]}) == len(images), "images", "two have the same file_name")
    for place, category in _placed(data, "categories"):
        _check_category(place, category)
    counts: Counter[str] = Counter({"images": len(images), "annotations": len(data["annotations"]), "hidden": 0, "visible": 0, "missing": 0})
    for place, entry in _placed(data, "annotations"):
        _need(entry.get("image_id") in images, place, f"image_id {entry.get('image_id')!r} is no picture's")
        _need(entry.get("category_id") in categories, place, f"category_id {entry.get('category_id')!r} is no category's")
        _check_annotation(place, entry, images[entry["image_id"]], categories[entry["category_id"]], counts)
    return dict(counts)


def _check_category(place: str, category: Mapping[str, Any]) -> None:
    names = category.get("keypoints")
    _need(isinstance(names, list) and bool(names) and all(isinstance(name, str) for name in names), place, "keypoints must be a list of names")
    _need(len(set(names)) == len(names), place, "a keypoint's name is there twice")
    _need(isinstance(category.get("name"), str), place, "name is missing")
    for edge in category.get("skeleton", ()):
        _need(isinstance(edge, list) and len(edge) == 2 and all(_whole(end) and 1 <= end <= len(names) for end in edge) and edge[0] != edge[1], place,
              f"skeleton {edge} must join two of 1 to {len(names)}")


def _check_annotation(place: str, entry: Mapping[str, Any], image: Mapping[str, Any], category: Mapping[str, Any], counts: Counter[str]) -> None:
    values = entry.get("keypoints")
    count = len(category["keypoints"])
    _need(isinstance(values, list) and len(values) == 3 * count and all(map(_number, values)), place, f"keypoints must be {3 * count} numbers")
    labelled = 0
    for row, (x, y, visibility) in enumerate(zip(values[::3], values[1::3], values[2::3], strict=True)):
        where = f"{place}, {category['keypoints'][row]}"
        _need(visibility in (0, 1, 2) and _whole(visibility), where, f"visibility is {visibility}; allowed: 0, 1, 2")
        if visibility == MISSING:
            _need(x == 0 and y == 0, where, f"has no place, yet is at {x}, {y}")
        else:
            inside = -SLACK_PX <= x <= image["width"] - SLACK_PX and -SLACK_PX <= y <= image["height"] - SLACK_PX
            _need(inside, where, f"{x}, {y} is outside the picture of {image['width']} x {image['height']}")
        labelled += visibility != MISSING
        counts["visible" if visibility == VISIBLE else "missing" if visibility == MISSING else "hidden"] += 1
    _need(entry.get("num_keypoints") == labelled, place, f"num_keypoints is {entry.get('num_keypoints')}, {labelled} are labelled")
    _need(entry.get("iscrowd") == 0, place, "iscrowd must be 0: keypoints belong to one instance")
    _check_extent(place, entry, image)


def _check_extent(place: str, entry: Mapping[str, Any], image: Mapping[str, Any]) -> None:
    box, width, height = entry.get("bbox"), image["width"], image["height"]
    _need(isinstance(box, list) and len(box) == 4 and all(map(_number, box)), place, "bbox must be four numbers")
    x, y, w, h = box
    _need(w > 0 and h > 0 and x >= 0 and y >= 0 and x + w <= width + SLACK_PX and y + h <= height + SLACK_PX, place, f"bbox {box} leaves the picture")
    _need(_number(entry.get("area")) and 0 < entry["area"] <= width * height, place, f"area is {entry.get('area')}")
    mask = entry.get("segmentation")
    if mask is None:
        return
    there = isinstance(mask, dict) and mask.get("size") == [height, width] and isinstance(mask.get("counts"), list)
    _need(there, place, "segmentation must be run lengths")
    runs = mask["counts"]
    _need(all(_whole(run) and run >= 0 for run in runs) and sum(runs) == width * height, place, f"runs of the mask do not add up to {width * height}")
    _need(sum(runs[1::2]) == entry["area"], place, f"area is {entry['area']}, the mask has {sum(runs[1::2])} pixels")


def _by_id(data: Mapping[str, Any], key: str) -> dict[int, Mapping[str, Any]]:
    ids = [entry.get("id") for entry in data[key]]
    _need(all(map(_whole, ids)), key, "each needs a whole id")
    _need(len(set(ids)) == len(ids), key, "an id is there twice")
    return dict(zip(ids, data[key], strict=True))


def _placed(data: Mapping[str, Any], key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((f"{key} {entry['id']}", entry) for entry in data[key])


def _need(holds: bool, place: str, what: str) -> None:
    if not holds:
        raise CocoError(f"{place}: {what}")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no JSON number")
