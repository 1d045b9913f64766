# SPDX-License-Identifier: Apache-2.0
"""A good bundle is changed in one place; the loader must name exactly that."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import yaml
from onnx import helper, numpy_helper

from dex_core.bundle import LoadOptions, load_bundle, verify_bundle
from dex_core.bundle.load import CHECKS
from dex_core.bundle.probes import unpack_cases
from dex_core.bundle.write import pack_cases
from dex_core.config import CellConfig
from dex_core.config.bundles import BundleRules
from dex_core.errors import BundleError, ConfigError

from .conftest import LATENT, POLICY, edit, edit_model, refusal, reseal

DECODER = "graphs/left_inspire_decoder.onnx"


def edit_json(folder: Path, path: str, change: Callable[[dict], Any]) -> None:
    data = json.loads((folder / path).read_text())
    change(data)
    (folder / path).write_text(json.dumps(data))
    reseal(folder)


def test_good_bundles_pass_every_check(root: Path, cell: CellConfig) -> None:
    for name in (LATENT, POLICY):
        bundle, error = verify_bundle(root / name, LoadOptions(cell=cell))
        assert error is None
        assert [r.name for r in bundle.report] == [c[1] for c in CHECKS] and all(r.ok for r in bundle.report)


def test_hash_of_a_bundle_is_stable_and_pins(root: Path, good: Path) -> None:
    first, second = load_bundle(root / LATENT), load_bundle(good / LATENT)
    assert first.hash == second.hash
    assert load_bundle(root / LATENT, LoadOptions(pinned_hash=first.hash)).hash == first.hash
    assert refusal(root / LATENT, pinned_hash="0" * 64).code == "hash_mismatch"


@pytest.mark.parametrize("name", [LATENT, POLICY])
def test_one_flipped_byte_anywhere_refuses(root: Path, name: str) -> None:
    folder = root / name
    rng = np.random.default_rng(0)
    for path in yaml.safe_load((folder / "manifest.yaml").read_text())["files"]:
        before = (folder / path).read_bytes()
        changed = bytearray(before)
        changed[int(rng.integers(len(before)))] ^= 1 << int(rng.integers(8))
        (folder / path).write_bytes(bytes(changed))
        error = refusal(folder)
        assert error.code == "hash_mismatch" and path in str(error)
        (folder / path).write_bytes(before)


def test_truncated_file(root: Path) -> None:
    blob = (root / LATENT / DECODER).read_bytes()
    (root / LATENT / DECODER).write_bytes(blob[:-10])
    error = refusal(root / LATENT)
    assert error.code == "hash_mismatch" and str(len(blob)) in str(error) and str(len(blob) - 10) in str(error)


MANIFEST_CASES: dict[str, tuple[str, Callable[[dict], Any]]] = {
    "unknown key": ("manifest_invalid", lambda d: d.update(colour="red")),
    "missing key": ("manifest_invalid", lambda d: d.pop("latency")),
    "schema of the future": ("manifest_invalid", lambda d: d.update(schema=2)),
    "unknown kind": ("manifest_invalid", lambda d: d.update(kind="magic")),
    "graph left out": ("manifest_invalid", lambda d: d["graphs"].pop("left_inspire/encoder")),
    "float64": ("manifest_invalid", lambda d: d["graphs"]["left_inspire/decoder"]["inputs"][0].update(dtype="float64")),
    "not a number": ("manifest_invalid", lambda d: d["latency"].update(budget_ms=float("nan"))),
    "path upwards": ("path_escape", lambda d: d["graphs"]["left_inspire/decoder"].update(file="../decoder.onnx")),
    "absolute path": ("path_escape", lambda d: d["files"].update({"/etc/passwd": dict(d["files"][DECODER])})),
    "file not listed": ("file_unlisted", lambda d: d["files"].pop(DECODER)),
    "file not there": ("file_missing", lambda d: d["files"].update({"NOTICE": dict(d["files"][DECODER])})),
    "wrong hash": ("hash_mismatch", lambda d: d["files"][DECODER].update(sha256="0" * 64)),
    "no licence": ("licence_refused", lambda d: d["licence"].update(weights="")),
    "pickled format": ("format_refused", lambda d: d["runtime"].update(formats=["onnx", "pt2"])),
    "older opset only": ("graph_refused", lambda d: d["runtime"].update(opset=17)),
    "older IR only": ("graph_refused", lambda d: d["runtime"].update(ir_version=7)),
    "no provider here": ("provider_missing", lambda d: d["runtime"].update(providers=["tensorrt"])),
    "renamed input": ("interface_mismatch", lambda d: d["graphs"]["left_inspire/decoder"]["inputs"][0].update(name="latent")),
    "other dtype": ("interface_mismatch", lambda d: d["graphs"]["left_inspire/decoder"]["inputs"][0].update(dtype="int64")),
    "other width": ("interface_mismatch", lambda d: d["graphs"]["left_inspire/decoder"]["inputs"][0].update(shape=["B", 31])),
    "fixed batch": (
        "interface_mismatch",
        lambda d: (
            [d["graphs"]["left_inspire/decoder"].update(dynamic={})]
            + [
                t.update(shape=[1, *t["shape"][1:]])
                for t in d["graphs"]["left_inspire/decoder"]["inputs"] + d["graphs"]["left_inspire/decoder"]["outputs"]
            ]
        ),
    ),
    "other latent width": ("layout_invalid", lambda d: d["spaces"]["latent"].update(dim=16)),
    "joint named twice": (
        "layout_invalid",
        lambda d: d["graphs"]["left_inspire/decoder"]["outputs"][0]["names"].__setitem__(0, "ring_proximal_joint"),
    ),
    "swapped joints": ("embodiment_mismatch", lambda d: d["graphs"]["left_inspire/decoder"]["outputs"][0]["names"].sort()),
    "residual too good": ("probe_failed", lambda d: d["spaces"]["latent"].update(residual_q99=1e-12)),
}


@pytest.mark.parametrize("case", MANIFEST_CASES)
def test_latent_manifest_mutations(root: Path, cell: CellConfig, case: str) -> None:
    code, change = MANIFEST_CASES[case]
    edit(root / LATENT, change)
    error = refusal(root / LATENT, cell)
    assert error.code == code, str(error)


POLICY_CASES: dict[str, tuple[str, Callable[[dict], Any]]] = {
    "no timing": ("manifest_invalid", lambda d: d.pop("timing")),
    "no image": ("manifest_invalid", lambda d: d.pop("image")),
    "chunk 63": ("layout_invalid", lambda d: d["timing"].update(chunk=63)),
    "gap between slices": ("layout_invalid", lambda d: d["graphs"]["policy"]["outputs"][0]["slices"][1].update(at=[8, 14])),
    "overlap": ("layout_invalid", lambda d: d["graphs"]["policy"]["outputs"][0]["slices"][1].update(at=[6, 14])),
    "too short": ("layout_invalid", lambda d: d["graphs"]["policy"]["outputs"][0]["slices"].pop()),
    "interface twice": ("layout_invalid", lambda d: d["graphs"]["policy"]["outputs"][0]["slices"][1].update(interface="left_arm")),
    "latent without anchor": ("layout_invalid", lambda d: d["graphs"]["policy"]["outputs"][0]["slices"][2].pop("anchor")),
    "picture of another size": ("layout_invalid", lambda d: d["image"].update(height=256)),
    "other words": ("layout_invalid", lambda d: d["instruction"].update(buckets=8192)),
    "rate and step disagree": ("timing_invalid", lambda d: d["timing"].update(rate_hz=25.0)),
    "slower than its chunk": ("timing_invalid", lambda d: d["latency"].update(budget_ms=3200.0)),
    "unknown joint": ("embodiment_mismatch", lambda d: d["graphs"]["policy"]["outputs"][0]["slices"][0]["names"].__setitem__(0, "joint8")),
    "anchor retrained": ("space_mismatch", lambda d: d["requires"][0]["anchors"].update({"left_inspire/decoder": "0" * 64})),
    "anchor not there": ("space_mismatch", lambda d: d["requires"][0]["anchors"].update({"left_leap/decoder": "0" * 64})),
    "anchor not pinned": ("space_mismatch", lambda d: d["requires"][0]["anchors"].pop("left_inspire/decoder")),
    "space not there": ("space_mismatch", lambda d: d["requires"][0].update(bundle="no_such_space")),
    "nothing required": ("space_mismatch", lambda d: d.update(requires=[])),
}


@pytest.mark.parametrize("case", POLICY_CASES)
def test_policy_manifest_mutations(root: Path, cell: CellConfig, case: str) -> None:
    code, change = POLICY_CASES[case]
    edit(root / POLICY, change)
    error = refusal(root / POLICY, cell)
    assert error.code == code, str(error)


STATS_CASES: dict[str, Callable[[dict], Any]] = {
    "record missing": lambda s: s.pop("chunk/left_arm"),
    "column dropped": lambda s: s["chunk/left_arm"]["mean"].pop(),
    "q01 above q99": lambda s: s["chunk/left_arm"].update(q01=s["chunk/left_arm"]["q99"], q99=s["chunk/left_arm"]["q01"]),
    "constant, unmasked": lambda s: [s["chunk/left_arm"][k].__setitem__(0, 0.5) for k in ("min", "max", "q01", "q99")],
    "no spread": lambda s: s["chunk/left_arm"]["std"].__setitem__(3, 0.0),
    "NaN": lambda s: s["chunk/left_arm"]["max"].__setitem__(0, float("nan")),
    "no data": lambda s: s["chunk/left_arm"].update(count=0),
    "unknown method": lambda s: s["chunk/left_arm"].update(method="guess"),
    "limits without lo": lambda s: s["chunk/left_arm"].update(method="limits"),
    "unknown field": lambda s: s["chunk/left_arm"].update(median=[0.0] * 7),
}


@pytest.mark.parametrize("case", STATS_CASES)
def test_statistics_mutations(root: Path, case: str) -> None:
    edit_json(root / POLICY, "stats.json", STATS_CASES[case])
    assert refusal(root / POLICY).code == "stats_invalid"


def test_big_manifest(root: Path) -> None:
    path = root / LATENT / "manifest.yaml"
    path.write_text(path.read_text() + "# " + "x" * 300 * 1024)
    assert refusal(root / LATENT).code == "manifest_invalid"


@pytest.mark.parametrize("line", ["evil: !!python/object/apply:os.system ['true']", "a: &a [1]\nb: *a", "{", "name: again", "\x00"])
def test_hostile_yaml(root: Path, line: str) -> None:
    path = root / LATENT / "manifest.yaml"
    path.write_text(path.read_text() + line + "\n")
    assert refusal(root / LATENT).code == "manifest_invalid"


def test_no_manifest_and_no_bundle(root: Path, tmp_path: Path) -> None:
    (root / LATENT / "manifest.yaml").unlink()
    assert refusal(root / LATENT).code == "file_missing"
    with pytest.raises(ConfigError, match="not found"):
        load_bundle("no_such_bundle_anywhere")
    with pytest.raises(ConfigError, match="no such folder"):
        load_bundle(tmp_path / "a" / "b")


def test_extra_link_and_hard_link(root: Path, tmp_path: Path) -> None:
    folder = root / LATENT
    (folder / "extra.bin").write_bytes(b"x")
    assert refusal(folder).code == "file_unlisted"
    (folder / "extra.bin").unlink()
    outside = tmp_path / "outside.onnx"
    shutil.move(folder / DECODER, outside)
    (folder / DECODER).symlink_to(outside)
    assert refusal(folder).code == "path_escape"
    (folder / DECODER).unlink()
    (folder / DECODER).hardlink_to(outside)
    assert refusal(folder).code == "path_escape"


def _custom_domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def _external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../outside.data")


def _strings(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor("words", onnx.TensorProto.STRING, [1], [b"hello"]))


def _huge(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1 << 20, 1 << 20]


@pytest.mark.parametrize("change", [_custom_domain, _external, _strings, _huge])
def test_refused_graphs(root: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    edit_model(root / LATENT, DECODER, change)
    assert refusal(root / LATENT).code == "graph_refused"


def test_no_onnx_at_all(root: Path) -> None:
    (root / LATENT / DECODER).write_bytes(b"not a model")
    reseal(root / LATENT)
    assert refusal(root / LATENT).code == "graph_refused"


def _set_weights(name: str, value: Callable[[np.ndarray], np.ndarray]) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.name == name:
                tensor.CopyFrom(numpy_helper.from_array(value(numpy_helper.to_array(tensor)), name))

    return change


@pytest.mark.parametrize("change", [lambda w: w * np.nan, lambda w: w + 0.01, lambda w: -w])
def test_other_weights_fail_the_golden_cases(root: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    edit_model(root / LATENT, DECODER, _set_weights("w", change))
    error = refusal(root / LATENT)
    assert error.code == "parity_failed" and "left_inspire_decoder" in str(error)


def _golden_cases(folder: Path, path: str) -> list:
    from dex_core.bundle.probes import unpack_cases

    return unpack_cases((folder / path).read_bytes(), path)


@pytest.mark.parametrize(
    "change",
    [
        lambda cases: [(i, {k: v + 0.01 for k, v in o.items()}) for i, o in cases],
        lambda cases: cases[:1],
        lambda cases: [cases[0], cases[0]],
        lambda cases: [(i, {k: v * 0 for k, v in o.items()}) for i, o in cases],
        lambda cases: [(i, {k: v * np.nan for k, v in o.items()}) for i, o in cases],
        lambda cases: [({k: v.astype(np.float64) for k, v in i.items()}, o) for i, o in cases],
    ],
)
def test_golden_mutations(root: Path, change: Callable[[list], list]) -> None:
    path = "golden/left_inspire_decoder.npz"
    (root / LATENT / path).write_bytes(pack_cases(change(_golden_cases(root / LATENT, path))))
    reseal(root / LATENT)
    assert refusal(root / LATENT).code == "parity_failed"


@pytest.mark.parametrize(("at", "value"), [(6, 0x20), (6, 0x01), (8, 0x63), (60, 0xFF)], ids=["patched", "encrypted", "unknown method", "stream"])
def test_a_damaged_zip_of_golden_cases_is_refused(at: int, value: int) -> None:
    """Flags, method and compressed data of an entry, in its own header and in the directory."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{"0/in/x": np.arange(64.0)})
    damaged = bytearray(buffer.getvalue())
    damaged[at] = value
    directory = damaged.find(b"PK\x01\x02")
    if at < 30:
        damaged[directory + at + 2] = value
    else:
        damaged[at : at + 8] = bytes([value]) * 8
    with pytest.raises(BundleError, match=r"cases\.npz: no readable npz") as caught:
        unpack_cases(bytes(damaged), "cases.npz")
    assert caught.value.code == "parity_failed"


def test_golden_that_would_unpickle(root: Path) -> None:
    path = root / LATENT / "golden/left_inspire_decoder.npz"
    np.savez(path, **{"0/in/z": np.array([{"a": 1}], dtype=object)})
    reseal(root / LATENT)
    assert refusal(root / LATENT).code == "parity_failed"


def test_decoder_that_leaves_the_limits(root: Path) -> None:
    folder = root / LATENT
    edit_model(folder, DECODER, _set_weights("plus", lambda w: w * 3))
    cases = _golden_cases(folder, "golden/left_inspire_decoder.npz")
    session = ort.InferenceSession(str(folder / DECODER))
    (folder / "golden/left_inspire_decoder.npz").write_bytes(pack_cases([(i, {"q": session.run(None, dict(i))[0]}) for i, _ in cases]))
    reseal(folder)
    error = refusal(folder)
    assert error.code == "probe_failed" and "leaves" in str(error)


def test_random_graph_is_nondeterministic(root: Path) -> None:
    def noise(model: onnx.ModelProto) -> None:
        node = model.graph.node[-1]
        node.output[0] = "quiet"
        model.graph.node.extend(
            [
                helper.make_node("RandomNormalLike", ["quiet"], ["hiss"], scale=1e-7),
                helper.make_node("Add", ["quiet", "hiss"], ["q"]),
            ]
        )

    edit_model(root / LATENT, DECODER, noise)
    assert refusal(root / LATENT).code == "nondeterministic"
    edit(root / LATENT, lambda d: d["runtime"].update(deterministic=False))
    load_bundle(root / LATENT)


def test_slow_graph_is_reported_and_refused_only_on_demand(root: Path) -> None:
    edit(root / LATENT, lambda d: d["latency"].update(budget_ms=0.01))

    def slow(model: onnx.ModelProto) -> None:
        node = model.graph.node[0]
        node.input[0] = "z0"
        model.graph.initializer.append(numpy_helper.from_array(np.eye(32, dtype=np.float32), "eye"))
        nodes = [helper.make_node("MatMul", ["z" if k == 0 else f"z_{k}", "eye"], [f"z_{k + 1}" if k < 499 else "z0"]) for k in range(500)]
        rest = list(model.graph.node)
        del model.graph.node[:]
        model.graph.node.extend(nodes + rest)

    edit_model(root / LATENT, DECODER, slow)
    bundle = load_bundle(root / LATENT)
    assert bundle.speed is not None and not bundle.speed.ok and [r.code for r in bundle.report if r.ok is False] == ["too_slow"]
    assert refusal(root / LATENT, enforce_speed=True).code == "too_slow"


def test_other_limits_and_other_hand(root: Path, cell: CellConfig) -> None:
    hand = cell.interface("left_hand")
    joint = hand.robot.actuated[0]
    limits = {**hand.robot.limits, joint: replace(hand.robot.limits[joint], upper_rad=1.2)}
    other = replace(hand, robot=replace(hand.robot, limits=limits), home_rad=dict(hand.home_rad))
    error = refusal(root / LATENT, replace(cell, interfaces={**cell.interfaces, "left_hand": other}))
    assert error.code == "embodiment_mismatch" and "1.47" in str(error) and "1.2" in str(error)
    path = root / LATENT / "embodiments/left_inspire.yaml"
    data = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**data, "limits_differ": [joint]}))
    reseal(root / LATENT)
    load_bundle(root / LATENT, LoadOptions(cell=replace(cell, interfaces={**cell.interfaces, "left_hand": other})))
    renamed = replace(hand, robot=replace(hand.robot, name="leap"))
    assert refusal(root / LATENT, replace(cell, interfaces={**cell.interfaces, "left_hand": renamed})).code == "embodiment_mismatch"


def test_cell_with_other_interfaces(root: Path, cell: CellConfig) -> None:
    one_arm = replace(cell, interfaces={n: i for n, i in cell.interfaces.items() if n != "right_arm"})
    assert refusal(root / POLICY, one_arm).code == "embodiment_mismatch"


def test_space_retrained_is_refused_and_space_with_one_hand_more_is_taken(root: Path, cell: CellConfig) -> None:
    from dex_core.bundle.testing import write_latent_fixture

    write_latent_fixture(root / "retrained", cell, seed=5)
    error = refusal(root / POLICY, cell, space=root / "retrained")
    assert error.code == "space_mismatch" and "left_inspire" in str(error)
    _add_hand(root / LATENT)
    load_bundle(root / POLICY, LoadOptions(cell=cell))


def _add_hand(folder: Path) -> None:
    """Adds ``left_other``: the left Inspire's graphs under another name."""
    for part in ("encoder", "decoder"):
        shutil.copy(folder / f"graphs/left_inspire_{part}.onnx", folder / f"graphs/left_other_{part}.onnx")
        shutil.copy(folder / f"golden/left_inspire_{part}.npz", folder / f"golden/left_other_{part}.npz")
    text = (folder / "embodiments/left_inspire.yaml").read_text()
    (folder / "embodiments/left_other.yaml").write_text(text.replace("robot: inspire", "robot: other"))

    def change(data: dict) -> None:
        data["embodiments"].append("left_other")
        data["files"]["embodiments/left_other.yaml"] = data["files"]["embodiments/left_inspire.yaml"].copy()
        for part in ("encoder", "decoder"):
            graph = json.loads(json.dumps(data["graphs"][f"left_inspire/{part}"]))
            graph["file"], graph["golden"]["file"] = f"graphs/left_other_{part}.onnx", f"golden/left_other_{part}.npz"
            data["graphs"][f"left_other/{part}"] = graph
            for path in (graph["file"], graph["golden"]["file"]):
                data["files"][path] = data["files"][path.replace("other", "inspire")].copy()

    edit(folder, change)
    reseal(folder)


def test_a_policy_is_no_space(root: Path, cell: CellConfig) -> None:
    assert refusal(root / POLICY, cell, space=root / POLICY).code == "space_mismatch"


def test_licence_policy_of_the_caller(root: Path) -> None:
    edit(root / LATENT, lambda d: d["licence"].update(commercial_use=False))
    load_bundle(root / LATENT)
    assert refusal(root / LATENT, rules=BundleRules(allow_noncommercial=False)).code == "licence_refused"
    edit(root / LATENT, lambda d: d["licence"].update(weights="", commercial_use=True))
    load_bundle(root / LATENT, LoadOptions(rules=BundleRules(allow_unlicensed=True)))
