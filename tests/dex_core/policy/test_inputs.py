# SPDX-License-Identifier: Apache-2.0
"""Policies of several cameras, with a history, other layouts of pictures, normalised outside their graph, that speak in differences."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from dex_core.bundle import Bundle, LoadOptions, load_bundle
from dex_core.bundle.testing_cameras import HISTORY, STEPS, write_camera_fixture
from dex_core.config import load_cell
from dex_core.config.safety import SafetyConfig
from dex_core.errors import BundleError, DexError
from dex_core.policy import ChunkPolicy, Observation
from dex_core.transforms import picture_input, tensor_normaliser
from dex_core.types import JointState

STAMP, MS = 1_700_000_000_000_000_000, 1_000_000
BASE = load_cell("xarm_bimanual")
CELL = dataclasses.replace(
    BASE, interfaces={"left_arm": BASE.interfaces["left_arm"]}, safety=SafetyConfig(),
    cameras={"front": BASE.cameras["front"], "wrist": dataclasses.replace(BASE.cameras["front"], output_wh=(160, 120))},
)
ARM = CELL.interface("left_arm")
DOF = len(ARM.names)


def opened(folder: Path) -> Bundle:
    return load_bundle(folder, LoadOptions(cell=CELL))


def at(back: int, offset_rad: float = 0.0) -> Observation:
    """``back`` steps before the stamp."""
    rng, stamp = np.random.default_rng(back), STAMP - back * 100 * MS
    images = {"front": rng.integers(0, 255, (240, 320, 3), dtype=np.uint8), "wrist": rng.integers(0, 255, (120, 160, 3), dtype=np.uint8)}
    state = JointState(ARM.names, np.array(ARM.home) + 0.01 * back + offset_rad, np.zeros(DOF), np.zeros(DOF), stamp)
    return Observation(stamp, images, {"left_arm": state}, "push")


SEEN = dataclasses.replace(at(0), past=(at(2), at(1)))


@pytest.mark.parametrize("method", ["minmax", "quantile", "zscore", "limits", "none"])
def test_what_the_network_says_of_what_it_is_shown_is_back_in_radians(tmp_path: Path, method: str) -> None:
    policy = ChunkPolicy(opened(write_camera_fixture(tmp_path / "p", CELL, method=method)))
    chunk = policy.infer(SEEN).chunk
    np.testing.assert_allclose(chunk.slices[0].data, np.tile(ARM.home, (STEPS, 1)), atol=1e-5)


def test_the_spec_names_cameras_and_history(tmp_path: Path) -> None:
    spec = ChunkPolicy(opened(write_camera_fixture(tmp_path / "p", CELL))).spec
    assert spec.cameras == {"front": (240, 320), "wrist": (120, 160)} and (spec.history, spec.history_dt_s) == (HISTORY, 0.1)
    assert list(spec.cameras)[0] == "front" and spec.joint_interfaces == ("left_arm",)


@pytest.mark.parametrize("kind", ["delta_to_observation", "delta_to_previous"])
def test_differences_are_to_what_is_measured(tmp_path: Path, kind: str) -> None:
    policy = ChunkPolicy(opened(write_camera_fixture(tmp_path / "p", CELL, kind=kind)))
    for offset_rad in (0.0, 0.3):
        seen = dataclasses.replace(at(0, offset_rad), past=SEEN.past)
        np.testing.assert_allclose(policy.infer(seen).chunk.slices[0].data, np.tile(np.array(ARM.home) + offset_rad, (STEPS, 1)), atol=1e-5)


def test_inputs_are_what_plain_numpy_makes_of_them(tmp_path: Path) -> None:
    bundle = opened(write_camera_fixture(tmp_path / "p", CELL))
    policy, shown = ChunkPolicy(bundle), {}
    run = bundle.sessions["policy"].run
    policy._head._session = type("Spy", (), {"run": lambda self, inputs: shown.update(inputs) or run(inputs)})()
    policy.infer(SEEN)
    assert shown["front"].shape == (1, HISTORY, 3, 64, 48) and shown["wrist"].shape == (1, HISTORY, 40, 40, 3)
    for k, seen in enumerate((*SEEN.past, SEEN)):
        inner = cv2.resize(seen.images["front"], (48, 36), interpolation=cv2.INTER_LINEAR)
        padded = np.zeros((64, 48, 3), np.float32)
        padded[14:50] = inner
        expected = (padded[:, :, ::-1] / 255.0 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]
        np.testing.assert_allclose(shown["front"][0, k], expected.transpose(2, 0, 1), atol=1e-5)
        np.testing.assert_array_equal(shown["wrist"][0, k], cv2.resize(seen.images["wrist"], (40, 40), interpolation=cv2.INTER_AREA))
        low, high = bundle.stats["joints/left_arm"].min, bundle.stats["joints/left_arm"].max
        wanted = 2.0 * (seen.joints["left_arm"].position_rad - low) / (np.array(high) - low) - 1.0
        np.testing.assert_allclose(shown["joints"][0, k], wanted, atol=1e-5)


def test_transforms_of_a_manifest_are_the_trainers_too(tmp_path: Path) -> None:
    """A trainer that imports them makes the same numbers, to the bit, as the running policy."""
    bundle = opened(write_camera_fixture(tmp_path / "p", CELL))
    policy, shown = ChunkPolicy(bundle), {}
    run = bundle.sessions["policy"].run
    policy._head._session = type("Spy", (), {"run": lambda self, inputs: shown.update(inputs) or run(inputs)})()
    policy.infer(SEEN)
    for image in bundle.manifest.pictures:
        made = np.stack([picture_input(image)(o.images[image.camera]) for o in (*SEEN.past, SEEN)])[None]
        assert made.tobytes() == shown[image.input].tobytes() and made.dtype == shown[image.input].dtype
    joints = next(t for t in bundle.manifest.graphs["policy"].inputs if t.name == "joints")
    columns = np.stack([o.joints["left_arm"].position_rad for o in (*SEEN.past, SEEN)])
    assert tensor_normaliser(joints, bundle.stats)(columns).astype(np.float32)[None].tobytes() == shown["joints"].tobytes()


def test_a_history_that_is_too_short_or_a_camera_that_is_missing(tmp_path: Path) -> None:
    policy = ChunkPolicy(opened(write_camera_fixture(tmp_path / "p", CELL)))
    for seen, code in (
        (dataclasses.replace(SEEN, past=()), "history_short"),
        (dataclasses.replace(SEEN, past=(*SEEN.past, at(3))), "history_short"),
        (dataclasses.replace(SEEN, images={"front": SEEN.images["front"]}), "camera_lost"),
        (dataclasses.replace(SEEN, past=(dataclasses.replace(at(2), images={}), at(1))), "camera_lost"),
        (dataclasses.replace(SEEN, past=(dataclasses.replace(at(2), joints={}), at(1))), "state_stale"),
    ):
        with pytest.raises(DexError) as info:
            policy.infer(seen)
        assert info.value.code == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"image": {"input": "front", "height": 64, "width": 48}}, "layout_invalid"),  # the graph takes CHW float32
        ({"images": [{"input": "wrist", "height": 40, "width": 40, "camera": "front"}]}, "manifest_invalid"),  # one camera twice
        ({"images": [{"input": "wrist", "height": 40, "width": 40, "camera": "elbow"}]}, "camera_mismatch"),
        ({"images": [{"input": "wrist", "height": 40, "width": 40, "camera": "wrist"}]}, "camera_mismatch"),  # of another size
        ({"images": []}, "layout_invalid"),  # an input that nobody fills
    ],
)
def test_a_manifest_that_does_not_fit_its_graph_or_cell(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    folder = write_camera_fixture(tmp_path / "p", CELL)
    manifest = folder / "manifest.yaml"
    data = {**yaml.safe_load(manifest.read_text()), **changes}
    manifest.write_text(yaml.safe_dump(data))
    with pytest.raises(BundleError) as info:
        opened(folder)
    assert info.value.code == code, str(info.value)

