# SPDX-License-Identifier: Apache-2.0
"""A description says everything, and what it says is checked: each wrong key refuses with its place and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.dex_policy.foreign.made import OPEN, arm, changed, gripper, lerobot_description, moved, openpi_description

from dex_core.config import CellConfig, load_cell
from dex_core.errors import BundleError
from dex_policy.foreign import ForeignPolicy, is_remote, open_foreign, parse_remote

OPENPI = openpi_description("ws://127.0.0.1:8000")
LEROBOT = lerobot_description("grpc://127.0.0.1:8080")
PART = "action.parts.0."
Write = Callable[[dict[str, Any]], Path]


@pytest.mark.parametrize("description", [OPENPI, LEROBOT], ids=["openpi", "lerobot"])
def test_a_good_one_is_read_and_has_a_hash(written: Write, description: dict) -> None:
    folder = written(description)
    manifest, digest = parse_remote(folder)
    assert is_remote(folder) and manifest.name == description["name"] and len(digest) == 64
    written(changed(description, "server.deadline_s", 0.9))
    assert parse_remote(folder)[1] != digest


def test_other_bundles_are_none(tmp_path: Path) -> None:
    assert not is_remote(tmp_path)
    (tmp_path / "manifest.yaml").write_text("kind: chunk_policy\n")
    assert not is_remote(tmp_path)
    (tmp_path / "manifest.yaml").write_bytes(b"\xff\xfe[")
    assert not is_remote(tmp_path)


def test_nothing_lies_beside_it(written: Write) -> None:
    folder = written(OPENPI)
    (folder / "weights.pkl").write_bytes(b"")
    with pytest.raises(BundleError, match="weights.pkl") as refused:
        parse_remote(folder)
    assert refused.value.code == "file_unlisted"


@pytest.mark.parametrize(("path", "value", "words"), [
    ("schema", 2, "reads 1"),
    ("name", "Pi 0", "lower-case"),
    ("protocol", "grpc", r"\['openpi', 'lerobot'\]"),
    ("extra", 1, "unknown key 'extra'"),
    ("server.url", "http://127.0.0.1:8000", "ws://HOST:PORT"),
    ("server.url", "ws://127.0.0.1", "ws://HOST:PORT"),
    ("server.url", "ws://127.0.0.1:99999", "url"),
    ("server.deadline_s", ..., "'deadline_s' is missing"),
    ("server.deadline_s", float("nan"), "finite"),
    ("server.max_reply_mib", 1e6, "allowed"),
    ("observation.pictures", [], "pictures is empty"),
    ("observation.pictures.0.layout", "CWH", r"\['HWC', 'CHW'\]"),
    ("observation.pictures.0.resize", "none", "320 x 240 becomes 224 x 224"),
    ("observation.states.0.key", "prompt", "given twice"),
    ("observation.states.0.parts", [], "no parts"),
    ("observation.states.0.parts.0.reference", "absolute", "are of actions"),
    ("observation.states.0.dtype", "float16", "float32"),
    ("action.columns", 15, "16 in all"),
    ("action.chunk", 0, "allowed 2"),
    ("action.rate_hz", ..., "'rate_hz' is missing"),
    ("action.first_action_offset", ..., "'first_action_offset' is missing"),
    ("action.key", "", "action.key is missing"),
    ("action.hold", ["left_arm"], "none is both"),
    (PART + "reference", ..., "reference and limits must be given"),
    (PART + "limits", ..., "reference and limits must be given"),
    (PART + "limits", [[-1.0, 1.0]], "1 entries for 7"),
    (PART + "limits", [[1.0, 1.0]] * 7, "must grow"),
    (PART + "unit", ..., "'unit' is missing"),
    (PART + "unit", "turns", "'deg'"),
    (PART + "sign", [1.0, 0.5, 1, 1, 1, 1, 1], "1 or -1"),
    (PART + "zero_rad", [0.0], "1 entries for 7"),
    (PART + "scale", 0.0, "allowed 1e-06"),
    ("action.parts.1.scale", 2.0, "no place in a part of 'gripper'"),
    (PART + "joints", ["joint1"] * 7, "named twice"),
    (PART + "open_rad", OPEN, "no place in a part of 'joints'"),
    (PART + "range_rad", [[0, 1]] * 7, "no place with unit 'rad'"),
    (PART + "of", "wrist_pose", "no place|is missing"),
    ("action.parts.1.closed_value", 1.0, "are both 1.0"),
    ("action.parts.1.closed_rad", OPEN, "the same posture"),
    ("action.parts.1.closed_rad", {"thumb": 1.0}, "closed_rad"),
    ("action.parts.1.closed_value", ..., "'closed_value' is missing"),
    ("action.parts.1.reference", "delta_to_previous", "allowed: 'absolute'"),
    ("lerobot", LEROBOT["lerobot"], "no place with protocol 'openpi'"),
])
def test_a_wrong_key_is_refused_with_what_is_allowed(written: Write, path: str, value: Any, words: str) -> None:
    with pytest.raises(BundleError, match=words) as refused:
        parse_remote(written(changed(OPENPI, path, value)))
    assert refused.value.code == "manifest_invalid" and "manifest.yaml" in str(refused.value)


@pytest.mark.parametrize(("path", "value", "words"), [
    ("lerobot", ..., "must be allowed by name"),
    ("lerobot.allow_pickle", "yes", "lerobot"),
    ("lerobot.allow_pickle", ..., "'allow_pickle' is missing"),
    ("lerobot.host", "robot-server", "not for a name"),
    ("lerobot.host", "10.0.0.9", "10.0.0.9, server.url names 127.0.0.1"),
    ("lerobot.checkpoint", "", "must be given"),
    ("server.url", "ws://127.0.0.1:8080", "grpc://HOST:PORT"),
    ("server.token_file", "/tmp/t", "no place"),
    ("observation.states.0.key", "state", "observation.state"),
    ("observation.instruction.key", "prompt", "'task'"),
    ("observation.pictures.0.layout", "CHW", "layout HWC"),
    ("observation.pictures.0.key", "front", "observation.images.NAME"),
])
def test_a_wrong_key_of_a_lerobot_server_is_refused(written: Write, path: str, value: Any, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        parse_remote(written(changed(LEROBOT, path, value)))


def _poses(side: str) -> dict:
    return {"of": "wrist_pose", "interface": f"{side}_arm", "rotation": "rotvec"}


@pytest.mark.parametrize(("path", "value", "words"), [
    (PART + "interface", "middle_arm", "no interface 'middle_arm'"),
    (PART + "joints", [f"joint{i}" for i in range(2, 9)], "no joint 'joint8'"),
    ("action.parts.1", moved(gripper("left", open_rad={"thumb": 0.0}, closed_rad={"thumb": 1.0}), limits=[[0.0, 1.0]]), "left_hand has"),
    ("action.parts.1", moved(gripper("left", closed_rad={**OPEN, "index_proximal_joint": 9.0}), limits=[[0.0, 1.0]]), "index_proximal_joint is 9.0"),
    ("action.parts.0", {"of": "unused", "columns": 7}, "neither moves nor holds left_arm"),
    ("action.parts.0", {**moved(arm("left")), "interface": "right_arm"}, "needed once|neither moves"),
    ("action.hold", ["left_foot"], "no interface 'left_foot'"),
    ("observation.pictures.0.camera", "wrist", "camera 'wrist' is not in cell"),
    ("observation.pictures.0.source_width", 640, "source is 640 x 240; camera 'front' gives 320 x 240"),
    ("observation.states.0.parts.1", {"of": "wrist_pose", "interface": "left_hand", "rotation": "rotvec"}, "a wrist pose is of an arm"),
])
def test_what_the_cell_lacks_is_refused(written: Write, cell: CellConfig, path: str, value: Any, words: str) -> None:
    with pytest.raises(BundleError, match=words) as refused:
        open_foreign(written(changed(OPENPI, path, value)), cell)
    assert refused.value.code == "embodiment_mismatch"


def test_another_hand_than_described_is_refused(written: Write) -> None:
    with pytest.raises(BundleError, match="left_hand has"):
        open_foreign(written(OPENPI), load_cell("xarm_bimanual", left_hand="leap"))


def test_the_spec_names_what_the_description_needs(written: Write, cell: CellConfig) -> None:
    description = changed(changed(OPENPI, "observation.states.0.parts.0", _poses("left")), "server.connect_timeout_s", 0.1)
    policy: ForeignPolicy = open_foreign(written(description), cell)
    spec = policy.spec
    policy.close()
    assert spec.cameras == {"front": (240, 320)} and (spec.chunk, spec.dt_s, spec.first_action_offset) == (10, 0.05, 1.0)
    assert spec.action_interfaces == ("left_arm", "left_hand", "right_arm", "right_hand") and spec.mounted_sides == ("left", "right")
    assert spec.pose_interfaces == ("left_arm",) and set(spec.joint_interfaces) == set(cell.interfaces)
    assert spec.provider == "openpi at ws://127.0.0.1:8000" and len(spec.bundle_hash) == 64
