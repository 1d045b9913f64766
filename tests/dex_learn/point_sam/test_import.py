# SPDX-License-Identifier: Apache-2.0
"""``dex bundle import point_sam``: from a weights file to a bundle that passes every check and says what upstream says."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from tests.dex_learn.point_sam.random_weights import weights_by_name, write_safetensors  # noqa: E402
from tests.dex_learn.point_sam.test_net import SMALL, UPSTREAM, sizes_of  # noqa: E402

from dex_core.bundle import Bundle, load_bundle  # noqa: E402
from dex_core.clouds import Cloud  # noqa: E402
from dex_core.errors import BundleError, DexError, ShapeError  # noqa: E402
from dex_learn.point_sam import bundle as exporting  # noqa: E402
from dex_learn.point_sam import written  # noqa: E402
from dex_learn.point_sam.command import main  # noqa: E402
from dex_learn.point_sam.golden import golden_cloud  # noqa: E402
from dex_perception.segment.base import Clicks  # noqa: E402
from dex_perception.segment.point_sam import PointSam  # noqa: E402

ATOL = 1e-5
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # three exports, half a minute of one core


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    (folder / "LICENSE").write_text("MIT License\n")
    return write_safetensors(folder / "model.safetensors", weights_by_name(sizes_of(SMALL)))


@pytest.fixture(scope="module")
def imported(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Imported once for all tests, with its weights in files of their own, as those of the real one are."""
    out = tmp_path_factory.mktemp("models") / "point_sam_small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(written, "INLINE_BYTES", 0)
        assert main([str(file), "--out", str(out), "--patches", "24", "--patch-size", "8"]) == 0
    return load_bundle(out)


@pytest.fixture(scope="module")
def upstream() -> dict[str, np.ndarray]:
    with np.load(UPSTREAM) as arrays:
        return {name: arrays[name] for name in arrays.files}


def encode(bundle: Bundle, coords: np.ndarray, colors: np.ndarray) -> dict[str, np.ndarray]:
    known = {"coords": coords, "colors": colors}
    return known | bundle.sessions["encoder"].run(known)


def decode(bundle: Bundle, graph: str, known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return bundle.sessions[graph].run({t.name: known[t.name] for t in bundle.manifest.graphs[graph].inputs})


def test_the_graphs_say_what_upstream_says(imported: Bundle, upstream: dict[str, np.ndarray]) -> None:
    known = encode(imported, upstream["coords"], upstream["colors"])
    np.testing.assert_allclose(known["embeddings"], upstream["embeddings"], atol=ATOL)
    known = {name: np.repeat(value, 2, axis=0) for name, value in known.items()}
    known |= {name: upstream[name] for name in ("prompt_coords", "prompt_labels", "prompt_mask")}
    first, refined = decode(imported, "decoder", known), decode(imported, "decoder_mask", known)
    for found, wanted in ((first, ("masks", "iou")), (refined, ("refined_masks", "refined_iou"))):
        np.testing.assert_allclose(found["masks"], upstream[wanted[0]], atol=ATOL)
        np.testing.assert_allclose(found["iou"], upstream[wanted[1]], atol=ATOL)


def test_any_number_of_points_and_clicks(imported: Bundle) -> None:
    cloud = golden_cloud(SMALL, 613, seed=3)
    known = encode(imported, **cloud)
    for clicks in (1, 5):
        prompts = {"prompt_coords": cloud["coords"][:, :clicks], "prompt_labels": np.ones((1, clicks), np.int64)}
        found = decode(imported, "decoder", known | prompts)
        assert found["masks"].shape == (1, 3, 613) and found["iou"].shape == (1, 3)
        found = decode(imported, "decoder_mask", known | prompts | {"prompt_mask": np.ascontiguousarray(found["masks"][:, 0])})
        assert found["masks"].shape == (1, 1, 613) and found["iou"].shape == (1, 1)


def test_permuted_points_give_the_permuted_mask(imported: Bundle) -> None:
    cloud = golden_cloud(SMALL, 200, seed=4)
    order = np.r_[0, 1 + np.random.default_rng(0).permutation(199)]  # sampling starts at the first point
    prompts = {"prompt_coords": cloud["coords"][:, 5:6], "prompt_labels": np.ones((1, 1), np.int64)}
    masks = []
    for rows in (np.arange(200), order):
        known = encode(imported, *(np.ascontiguousarray(cloud[name][:, rows]) for name in ("coords", "colors")))
        masks.append(decode(imported, "decoder", known | prompts)["masks"])
    np.testing.assert_allclose(masks[0][:, :, order], masks[1], atol=ATOL)


def test_fewer_points_than_patches_are_refused(imported: Bundle) -> None:
    few = np.zeros((1, 23, 3), np.float32)
    with pytest.raises(ShapeError, match="coords"):
        encode(imported, few, few)


def test_the_runtime_runs_it(imported: Bundle) -> None:
    """A first click and a second one, as the segmentation node asks: the masks are those of the graphs fed by hand."""
    points = golden_cloud(SMALL, 300, seed=6)["coords"][0] * np.float32(0.3) + np.float32([0.5, -0.2, 1.0])
    cloud = Cloud(points, np.full((300, 3), 51, np.uint8))
    segmenter = PointSam(imported)
    encoded = segmenter.encode(cloud, np.eye(4))
    first = segmenter.decode(encoded, Clicks(points[9:10], np.array([True])))
    second = segmenter.decode(encoded, Clicks(points[[9, 40]], np.array([True, False])), first)

    centred = points - points.mean(0, dtype=np.float64)
    coords = (centred / np.linalg.norm(centred, axis=1).max()).astype(np.float32)[None]
    known = encode(imported, coords, np.full_like(coords, 0.2))
    by_hand = decode(imported, "decoder", known | {"prompt_coords": coords[:, 9:10], "prompt_labels": np.ones((1, 1), np.int64)})
    best = int(by_hand["iou"].argmax())
    np.testing.assert_allclose(first.logits, by_hand["masks"][0, best], atol=ATOL)
    prompts = {"prompt_coords": coords[:, [9, 40]], "prompt_labels": np.array([[1, 0]]), "prompt_mask": first.logits[None]}
    np.testing.assert_allclose(second.logits, decode(imported, "decoder_mask", known | prompts)["masks"][0, 0], atol=ATOL)
    assert (first.logits != second.logits).any()


def test_what_the_manifest_says(imported: Bundle) -> None:
    manifest = imported.manifest
    assert manifest.kind == "segmentation" and not manifest.provenance.trained_here and manifest.licence.weights == "MIT"
    assert manifest.graphs["encoder"].dynamic == {"N": (24, 100_000), "B": (1, 1)}
    assert "patches 24" in manifest.provenance.notes and "colours as in training" in manifest.provenance.notes


def test_weights_lie_beside_their_graphs(imported: Bundle) -> None:
    for name in ("encoder", "decoder", "decoder_mask"):
        graph, data = (imported.manifest.files[f"graphs/{name}.onnx{end}"].bytes for end in ("", ".data"))
        assert graph < 200_000 < data, name
    assert [path.name for path in imported.folder.parent.iterdir()] == ["point_sam_small"]


def test_a_licence_text_must_be_there(file: Path, tmp_path: Path) -> None:
    alone = tmp_path / "model.safetensors"
    alone.write_bytes(b"")
    with pytest.raises(BundleError, match="--license FILE") as caught:
        main([str(alone)])
    assert caught.value.code == "licence_refused"
    (tmp_path / "LICENSE").write_text(" \n")
    with pytest.raises(BundleError, match="licence text of the weights is empty"):
        main([str(alone)])
    (tmp_path / "LICENSE").write_text("MIT")
    with pytest.raises(DexError, match="no safetensors file"):
        main([str(alone)])


def test_a_licence_that_is_not_known_to_allow_commerce_is_not_said_to() -> None:
    for name, allowed in (("MIT", True), ("CC-BY-NC-4.0", False)):
        manifest = exporting.manifest_of("x", {}, SMALL, exporting.Options(licence="text", licence_name=name, colours="demo"))
        assert manifest["licence"]["commercial_use"] is allowed and "colours as in demo" in manifest["provenance"]["notes"]
