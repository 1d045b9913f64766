# SPDX-License-Identifier: Apache-2.0
"""Segmentation in a cell: which models, how sure, how fresh, and where objects may be. Without this block no node is started."""

from __future__ import annotations

from dataclasses import dataclass

from dex_core.config.bundles import BundleRules
from dex_core.config.strict import bounded, choice
from dex_core.errors import ConfigError


@dataclass(frozen=True)
class PerceptionConfig:
    """The segmentation node. Times in seconds.

    Attributes:
        camera: whose pictures, one of the cell's; empty: its only one. It must give depth.
        bundle: of kind ``segmentation``, name or path; empty: the geometric segmenter, without a model.
        detector_bundle: folder of an open-vocabulary detector, for words; empty: none.
        picker_bundle: of kind ``picker``, for words where there is no detector; empty: none.
        completion_bundle: of kind ``completion``; empty: no completed clouds.
        world_frame: frame of the clouds, z up.
        workspace_low_m, workspace_high_m: corners of the box objects are looked for in, in ``world_frame``.
        depth_max_m: farther depth is not believed.
        budget_s: from a picture's arrival to its result; later ones say so.
        max_age_s: older pictures are not used, older results are withdrawn.
        pairing_s: largest difference of the stamps of colour and depth.
        frozen_after: so many equal pictures in a row are a frozen sensor; 0: the camera has no noise. A simulated one never counts as frozen.
        transform_ahead_s: how far a picture may be newer than the newest transform of a frame that moves; it is waited for.
        min_confidence: below it a mask is no object, and words have no meaning.
        min_points: of an object's cloud.
        rate_hz: pictures looked at while an object is followed, at most.
        picture_timeout_s: without a usable picture for so long a goal is aborted.
        bundles: how far bundles are trusted, what they may take, how they are tuned.
        lost_timeout_s: out of sight for so long a followed object is given up.
    """

    camera: str = ""
    bundle: str = ""
    detector_bundle: str = ""
    picker_bundle: str = ""
    completion_bundle: str = ""
    world_frame: str = "world"
    workspace_low_m: tuple[float, float, float] = (0.05, -0.8, -0.05)
    workspace_high_m: tuple[float, float, float] = (1.0, 0.8, 0.6)
    depth_max_m: float = bounded(0.1, 20.0, default=3.0)
    budget_s: float = bounded(0.005, 60.0, default=0.3)
    max_age_s: float = bounded(0.01, 60.0, default=0.6)
    pairing_s: float = bounded(0.0, 1.0, default=0.02)
    frozen_after: int = bounded(0, 1000, default=3)
    transform_ahead_s: float = bounded(0.0, 1.0, default=0.0)
    min_confidence: float = bounded(0.0, 1.0, default=0.5)
    min_points: int = bounded(1, 100_000, default=30)
    rate_hz: float = bounded(0.1, 60.0, default=5.0)
    picture_timeout_s: float = bounded(0.1, 60.0, default=2.0)
    lost_timeout_s: float = bounded(0.1, 60.0, default=2.0)
    provider: str = choice("auto", "cpu", "cuda", "tensorrt", default="auto")
    threads: int = bounded(1, 64, default=1)
    bundles: BundleRules = BundleRules()

    def __post_init__(self) -> None:
        for axis, low, high in zip("xyz", self.workspace_low_m, self.workspace_high_m, strict=True):
            if not low < high:
                raise ConfigError(f"workspace along {axis} goes from {low} to {high} m; it must grow")
        if not self.world_frame.strip("/"):
            raise ConfigError("world_frame is empty; it names the frame of the clouds, e.g. world")
        if self.budget_s > self.max_age_s:
            raise ConfigError(f"budget_s {self.budget_s} is above max_age_s {self.max_age_s}: what is within the budget would already be too old")
