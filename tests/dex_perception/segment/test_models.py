# SPDX-License-Identifier: Apache-2.0
"""The models that a cell names: made ready, or refused by name; and what the picker that ships can do."""

from __future__ import annotations

from pathlib import Path

import pytest

from dex_core.bundle import load_bundle
from dex_core.config import PerceptionConfig, load_task
from dex_core.errors import BundleError, ConfigError
from dex_perception.segment.models import make_completer, make_reader, make_segmenter
from dex_perception.segment.picker import Picker


def test_nothing_named_is_nothing_loaded() -> None:
    config = PerceptionConfig()
    assert make_segmenter(config).name == "geometric" and make_reader(config) is None and make_completer(config) is None


def test_a_bundle_of_another_kind_is_refused() -> None:
    for key, make in (("bundle", make_segmenter), ("completion_bundle", make_completer)):
        with pytest.raises(ConfigError, match="'tabletop_picker' is of kind 'picker'; needed is"):
            make(PerceptionConfig(**{key: "tabletop_picker"}))
    with pytest.raises(ConfigError, match="is of kind 'latent_space'; needed is 'picker'"):
        make_reader(PerceptionConfig(picker_bundle="hand_latents"))


def test_missing_models_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        make_segmenter(PerceptionConfig(bundle="no_such_bundle"))
    with pytest.raises(BundleError, match="model.onnx does not exist") as caught:
        make_reader(PerceptionConfig(detector_bundle=str(tmp_path)))
    assert caught.value.code == "file_missing"


def test_the_picker_that_ships_knows_the_cells_words() -> None:
    reader = make_reader(PerceptionConfig(picker_bundle="tabletop_picker"))
    assert isinstance(reader, Picker) and reader.name == "tabletop_picker"
    bundle = load_bundle("tabletop_picker")
    assert bundle.manifest.picker is not None
    words = set(bundle.manifest.picker.words)
    for task in ("push_cans", "reorganize_lemons"):
        assert set(load_task(task).instruction.lower().split()) & words
    assert {"lemon", "lime", "bowl", "can", "left", "red"} <= words and "Limits:" in bundle.manifest.provenance.notes
