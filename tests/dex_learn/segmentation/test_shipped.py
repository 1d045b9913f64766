# SPDX-License-Identifier: Apache-2.0
"""The shipped segmenter: loads without torch, tells things apart on a table made by hand, and its mask grows right with a second click."""
from __future__ import annotations

import json

import numpy as np
import pytest

from dex_core.bundle import Bundle, load_bundle
from dex_core.clouds import Cloud
from dex_core.config import find_share
from dex_learn.segmentation.clouds import cloud_of
from dex_learn.tabletop.testing import CAMERA_M, two_boxes
from dex_perception.segment.base import Clicks
from dex_perception.segment.point_sam import PointSam

SEEN = cloud_of(two_boxes(), 0)
POSE = np.eye(4)
POSE[:3, 3] = CAMERA_M


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(find_share("models", "tabletop_segmentation"))


@pytest.fixture(scope="module")
def cloud() -> Cloud:
    return Cloud((SEEN.points_m + CAMERA_M).astype(np.float32), np.rint(255.0 * SEEN.colors).astype(np.uint8), None, SEEN.pixels.astype(np.int32))


def test_it_is_small_and_says_what_it_was_trained_on(bundle: Bundle) -> None:
    assert sum(entry.bytes for entry in bundle.manifest.files.values()) < 8_000_000
    provenance, licence = bundle.manifest.provenance, bundle.manifest.licence
    assert provenance.trained_here and provenance.steps > 0 and provenance.code and "rendered" in provenance.data
    assert licence.weights == "Apache-2.0" and licence.commercial_use
    scores = json.loads(bundle.contents["scores.json"])
    assert scores["scores"]["parameters"] < 1_000_000 and {"miou_1", "miou_2", "miou_3"} <= set(scores["scores"]) and scores["definitions"]


@pytest.mark.parametrize("label", [1, 2])
def test_one_click_anywhere_on_a_box_finds_that_box(bundle: Bundle, cloud: Cloud, label: int) -> None:
    segmenter = PointSam(bundle)
    encoded = segmenter.encode(cloud, POSE)
    truth = SEEN.labels == label
    overlaps = []
    for at in np.random.default_rng(0).choice(np.flatnonzero(truth), 5, replace=False):
        inside = segmenter.decode(encoded, Clicks(cloud.points_m[[at]], np.array([True]))).inside
        overlaps.append((inside & truth).sum() / (inside | truth).sum())
    assert np.median(overlaps) > 0.8


def test_the_frame_of_the_world_does_not_matter(bundle: Bundle, cloud: Cloud) -> None:
    """The same cloud in a world that lies elsewhere and is turned about the vertical."""
    segmenter, at = PointSam(bundle), np.flatnonzero(SEEN.labels == 2)[1800]
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    moved = Cloud((cloud.points_m @ turn.T + [3.0, -2.0, 0.5]).astype(np.float32), cloud.rgb, None, cloud.pixels)
    pose = POSE.copy()
    pose[:3, 3] = turn @ POSE[:3, 3] + [3.0, -2.0, 0.5]
    one = segmenter.decode(segmenter.encode(cloud, POSE), Clicks(cloud.points_m[[at]], np.array([True]))).inside
    other = segmenter.decode(segmenter.encode(moved, pose), Clicks(moved.points_m[[at]], np.array([True]))).inside
    assert (one & other).sum() > 0.95 * (one | other).sum() > 0


def test_a_click_beside_takes_its_place_out_of_the_mask(bundle: Bundle, cloud: Cloud) -> None:
    segmenter = PointSam(bundle)
    encoded = segmenter.encode(cloud, POSE)
    first, beside = (int(np.flatnonzero(SEEN.labels == k)[900]) for k in (2, 1))
    mask = segmenter.decode(encoded, Clicks(cloud.points_m[[first]], np.array([True])))
    after = segmenter.decode(encoded, Clicks(cloud.points_m[[first, beside]], np.array([True, False])), mask)
    assert not after.inside[beside] and after.inside[first]
