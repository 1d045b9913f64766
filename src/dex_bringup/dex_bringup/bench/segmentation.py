# SPDX-License-Identifier: Apache-2.0
"""Clicks on rendered tables, through the segmenter that the node runs: overlap after one, two and three clicks, time of a click."""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dex_bringup.bench.report import Goal, Report, percentile
from dex_core.bundle import LoadOptions, load_bundle
from dex_core.clouds import Cloud
from dex_core.config import find_share
from dex_core.errors import DexError
from dex_learn.segmentation.clouds import Cloud as SceneCloud
from dex_learn.segmentation.scores import Answer, Ask, score_scenes, summary
from dex_learn.tabletop.store import stored_scenes
from dex_perception.segment.base import Clicks, Mask, Segmenter
from dex_perception.segment.codes import NoTarget
from dex_perception.segment.geometric import GeometricSegmenter
from dex_perception.segment.point_sam import PointSam

BUNDLE = "tabletop_segmentation"
SEED = 77_003
"""Neither the training's nor that of the scores in the bundle."""
SCENES, QUICK_SCENES = 100, 50
NOTHING = -1.0
GOALS = (Goal("miou_1", at_least=0.85), Goal("click_p50_ms", at_most=60.0, unit="ms"))


@dataclass
class Timed:
    """A segmenter whose calls are timed.

    Attributes:
        encode_ms: per cloud. first_ms: per first click: encoding, decoding and bringing the mask back to every point. next_ms: per later click.
        refused: clicks answered by 'no target'; they count as empty masks.
    """

    segmenter: Segmenter
    encode_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    next_ms: list[float] = field(default_factory=list)
    refused: int = 0

    def open(self, cloud: SceneCloud, pose_camera_in_world: NDArray[np.float64]) -> Ask:
        """What answers clicks on one cloud."""
        seen = Cloud(cloud.points_m, np.rint(255.0 * cloud.colors).astype(np.uint8), None, cloud.pixels.astype(np.int32))
        pose = pose_camera_in_world.copy()
        pose[:3, 3] = 0.0  # the scene's points are given from the lens
        start = time.perf_counter()
        encoded = self.segmenter.encode(seen, pose)
        self.encode_ms.append(1e3 * (time.perf_counter() - start))

        def ask(clicks_m: NDArray[np.float32], on: NDArray[np.bool_], logits: NDArray[np.float32] | None) -> Answer:
            begun = time.perf_counter()
            try:
                mask = self.segmenter.decode(encoded, Clicks(clicks_m, on), None if logits is None else Mask(logits, 1.0))
            except NoTarget:
                self.refused += 1
                mask = Mask(np.full(len(cloud.points_m), NOTHING, np.float32), 0.0)
            spent = 1e3 * (time.perf_counter() - begun)
            if logits is None:
                self.first_ms.append(self.encode_ms[-1] + spent)
            else:
                self.next_ms.append(spent)
            return Answer(mask.logits, mask.confidence)

        return ask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--bundle", default=BUNDLE, help="segmentation bundle, name under models/ or path (default %(default)s)")
    parser.add_argument("--scenes", type=int, default=SCENES, help="tables, rounded up to whole fifties (default %(default)s)")
    parser.add_argument("--split", choices=("unseen", "train"), default="unseen", help="things not trained on, or those that are (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of the model (default %(default)s)")
    parser.add_argument("--work", type=Path, help="folder that keeps the rendered scenes (default: they are thrown away)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SCENES} tables, too few to judge the goals by")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """The bundle and the geometric segmenter on the same clicks, in this process."""
    if options.scenes < 1 or options.threads < 1:
        raise DexError(f"--scenes {options.scenes}, --threads {options.threads}: at least 1 each", code="bad_argument")
    source = options.bundle if Path(options.bundle).exists() else find_share("models", options.bundle)
    bundle = load_bundle(source, LoadOptions(threads=options.threads))
    count = QUICK_SCENES if options.quick else options.scenes
    with tempfile.TemporaryDirectory(prefix="dex_segmentation_") as scratch:
        say(f"{count} tables of the {options.split} split")
        scenes = stored_scenes(options.work or Path(scratch), options.split, count, SEED)
    figures: dict[str, Any] = {"bundle": f"{bundle.manifest.name} {bundle.manifest.version}", "scenes": len(scenes), "threads": options.threads}
    ours, plain = Timed(PointSam(bundle)), Timed(GeometricSegmenter())
    say(f"clicks on {bundle.manifest.name}")
    figures |= summary(score_scenes(ours.open, scenes)) | times(ours)
    say("the same clicks on the geometric segmenter")
    figures |= {f"geometric_{key}": value for key, value in (summary(score_scenes(plain.open, scenes)) | times(plain)).items() if _compared(key)}
    return Report("segmentation", figures, GOALS)


def times(timed: Timed) -> dict[str, float]:
    """Median and 99 % quantile of what was timed [ms], and the share of clicks without a target."""
    lists = {"encode": timed.encode_ms, "click": timed.first_ms, "next_click": timed.next_ms}
    found = {f"{name}_{label}_ms": percentile(values, p) for name, values in lists.items() for label, p in (("p50", 50.0), ("p99", 99.0))}
    asked = len(timed.first_ms) + len(timed.next_ms)
    return found | {"refused_share": timed.refused / asked if asked else math.nan}


def _compared(key: str) -> bool:
    return key.startswith(("miou_", "above_", "click_", "trained_", "other_"))
