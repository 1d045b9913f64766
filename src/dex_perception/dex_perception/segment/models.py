# SPDX-License-Identifier: Apache-2.0
"""The models that a cell names, made ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dex_core.bundle import Bundle, LoadOptions, load_bundle
from dex_core.config.perception import PerceptionConfig
from dex_core.errors import ConfigError
from dex_perception.segment.base import Segmenter
from dex_perception.segment.geometric import GeometricSegmenter
from dex_perception.segment.prompts import Reader

if TYPE_CHECKING:
    from dex_perception.complete import Completer


def make_segmenter(config: PerceptionConfig) -> Segmenter:
    """The segmenter of a cell. Raises BundleError or ConfigError, naming what is wrong with its bundle."""
    if not config.bundle:
        return GeometricSegmenter()
    from dex_perception.segment.point_sam import PointSam

    return PointSam(_of_kind(config.bundle, "segmentation", config))


def make_reader(config: PerceptionConfig) -> Reader | None:
    """Who reads words: the detector the cell names, else its picker, else nobody. Raises BundleError or ConfigError."""
    if config.detector_bundle:
        from dex_perception.segment.detector import load_detector

        return load_detector(config.detector_bundle, config.provider, config.threads)
    if config.picker_bundle:
        from dex_perception.segment.picker import Picker

        return Picker(_of_kind(config.picker_bundle, "picker", config), least=config.min_confidence)
    return None


def make_completer(config: PerceptionConfig) -> Completer | None:
    """Who makes whole objects of seen ones; None: nobody. Raises BundleError or ConfigError."""
    if not config.completion_bundle:
        return None
    from dex_perception.complete import Completer

    return Completer(_of_kind(config.completion_bundle, "completion", config))


def _of_kind(name: str, kind: str, config: PerceptionConfig) -> Bundle:
    bundle = load_bundle(name, LoadOptions(provider=config.provider, threads=config.threads, rules=config.bundles))
    if bundle.manifest.kind != kind:
        raise ConfigError(f"bundle {name!r} is of kind {bundle.manifest.kind!r}; needed is {kind!r}")
    return bundle
