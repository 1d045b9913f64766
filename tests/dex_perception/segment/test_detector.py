# SPDX-License-Identifier: Apache-2.0
"""The detector that a user brings: its tokens, its picture, its boxes, and what is said when a file is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from dex_core.errors import BundleError, DexError
from dex_perception.segment.clip_tokens import END, START, ClipTokens, _letters_of_bytes
from dex_perception.segment.codes import NoTarget
from dex_perception.segment.detector import Preparation, best_of, load_detector

MERGES = ("t h", "th e</w>", "l e", "m o", "mo n</w>", "le mon</w>", "l o", "y e")


def write_tokens(folder: Path, merges: tuple[str, ...] = MERGES) -> None:
    pieces = [*_letters_of_bytes().values()]
    pieces += [piece + "</w>" for piece in pieces] + ["".join(pair.split()) for pair in merges] + [START, END]
    (folder / "vocab.json").write_text(json.dumps({piece: k for k, piece in enumerate(pieces)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")


@pytest.fixture
def tokens(tmp_path: Path) -> ClipTokens:
    write_tokens(tmp_path)
    return ClipTokens(tmp_path)


def pieces_of(tokens: ClipTokens, text: str) -> list[str]:
    names = {number: piece for piece, number in tokens._ids.items()}
    ids, mask = tokens(text)
    return [names[int(i)] for i in ids[0, : int(mask.sum())]]


def test_pieces_are_merged_in_the_lists_order(tokens: ClipTokens) -> None:
    assert pieces_of(tokens, "The  LEMON") == [START, "the</w>", "lemon</w>", END]
    assert pieces_of(tokens, "melon") == [START, "m", "e", "lo", "n</w>", END], "a pair joins only where it stands, and 'lo' is a pair, 'on</w>' none"
    assert pieces_of(tokens, "don't 12!?")[1:-1] == ["d", "o", "n</w>", "'", "t</w>", "1</w>", "2</w>", "!", "?</w>"]


def test_the_first_byte_is_the_padding_and_long_text_keeps_its_end(tokens: ClipTokens) -> None:
    ids, mask = tokens("the lemon")
    assert ids.shape == mask.shape == (1, 16) and ids.dtype == np.int64 and mask.sum() == 4 and (ids[0, 4:] == 0).all()
    ids, mask = tokens("the " * 40)
    assert mask.all() and ids[0, -1] == tokens._ids[END] and ids[0, 0] == tokens._ids[START]


@given(st.text(max_size=60))
def test_any_text_gives_tokens(shared_tokens: ClipTokens, text: str) -> None:
    ids, mask = shared_tokens(text)
    assert 2 <= mask.sum() <= 16 and ids.max() < len(shared_tokens._ids) and (ids[0, int(mask.sum()) :] == 0).all()


@pytest.fixture(scope="module")
def shared_tokens(tmp_path_factory: pytest.TempPathFactory) -> ClipTokens:
    folder = tmp_path_factory.mktemp("tokens")
    write_tokens(folder)
    return ClipTokens(folder)


def test_owlvit_stretches_and_owlv2_fills_up() -> None:
    rgb = np.zeros((60, 120, 3), dtype=np.uint8)
    rgb[:, 60:] = 255
    stretched = Preparation(64, square=False, mean=(0.0,) * 3, std=(1.0,) * 3).pixels(rgb)
    assert stretched.shape == (1, 3, 64, 64) and stretched[0, 0, 60, 60] == 1.0 and stretched[0, 0, 60, 4] == 0.0
    filled = Preparation(64, square=True, mean=(0.0,) * 3, std=(1.0,) * 3).pixels(rgb)
    assert filled[0, 0, 60, 60] == pytest.approx(0.5) and filled[0, 0, 10, 60] == 1.0
    box = np.array([[0.5, 0.25, 0.2, 0.1]], dtype=np.float32)
    np.testing.assert_allclose(Preparation(64, square=False).boxes_px(box, (60, 120)), [[48.0, 12.0, 72.0, 18.0]], rtol=1e-5)
    np.testing.assert_allclose(Preparation(64, square=True).boxes_px(box, (60, 120)), [[48.0, 24.0, 72.0, 36.0]], rtol=1e-5)


def logit(chance: float) -> float:
    return float(np.log(chance / (1.0 - chance)))


def test_the_best_box_or_why_there_is_none() -> None:
    boxes = np.array([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [50.0, 50.0, 60.0, 60.0]])

    def found(*chances: float) -> Any:
        return best_of(np.array([[[logit(c)] for c in chances]], dtype=np.float32), boxes, "mug")

    meant = found(0.4, 0.39, 0.2)
    assert meant.box_px == (0.0, 0.0, 10.0, 10.0) and meant.confidence == pytest.approx(0.4, abs=1e-3)
    for chances, code in (((0.05, 0.02, 0.09), "text_unmatched"), ((0.4, 0.1, 0.385), "text_ambiguous")):
        with pytest.raises(NoTarget) as caught:
            found(*chances)
        assert caught.value.code == code
    with pytest.raises(DexError, match="not finite"):
        best_of(np.full((1, 3, 1), np.nan, dtype=np.float32), boxes, "mug")


def write_model(folder: Path, inputs: tuple[str, ...] = ("input_ids", "attention_mask", "pixel_values")) -> None:
    """A detector whose second box's logit is the picture's mean: it finds bright pictures."""
    kinds = {"pixel_values": (TensorProto.FLOAT, [1, 3, 64, 64])}
    given_ = [helper.make_tensor_value_info(n, *kinds.get(n, (TensorProto.INT64, ["text", 16]))) for n in inputs]
    boxes = np.array([[[0.2, 0.2, 0.1, 0.1], [0.5, 0.5, 0.2, 0.4]]], dtype=np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["pixel_values"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "weight"], ["logits"]), helper.make_node("Identity", ["boxes"], ["pred_boxes"]),
    ]
    constants = [numpy_helper.from_array(np.array([[[0.0], [1.0]]], dtype=np.float32) - 4.0 * np.array([[[1.0], [0.0]]], np.float32), "weight")]
    constants += [numpy_helper.from_array(boxes, "boxes")]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("logits", "pred_boxes")]
    graph = helper.make_graph(nodes, "detector", given_, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    config = {"size": {"height": 64, "width": 64}, "image_mean": [0.0] * 3, "image_std": [1.0] * 3, "image_processor_type": "OwlViTImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))


def test_a_brought_detector_reads_words(tmp_path: Path, scene: Callable) -> None:
    write_tokens(tmp_path)
    write_model(tmp_path)
    detector = load_detector(str(tmp_path))
    view, _ = scene().view()
    meant = detector.find("the lemon", view)
    np.testing.assert_allclose(meant.box_px, (64.0, 36.0, 96.0, 84.0), rtol=1e-5)
    assert detector.name == tmp_path.name and 0.5 < meant.confidence < 0.8


def test_every_missing_or_wrong_file_is_named(tmp_path: Path) -> None:
    def refused() -> tuple[str, str]:
        with pytest.raises(BundleError) as caught:
            load_detector(str(tmp_path))
        return caught.value.code, str(caught.value)

    assert refused()[0] == "file_missing" and "model.onnx" in refused()[1]
    write_model(tmp_path)
    assert refused()[0] == "file_missing" and "vocab.json" in refused()[1]
    write_tokens(tmp_path)
    load_detector(str(tmp_path))
    (tmp_path / "merges.txt").write_text("a b c\n")
    assert refused()[0] == "format_refused"
    write_tokens(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": 1}')
    assert refused()[0] == "format_refused" and START in refused()[1]
    write_tokens(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"size": 32, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}')
    assert refused()[0] == "interface_mismatch" and "size 32" in refused()[1]
    (tmp_path / "preprocessor_config.json").write_text("{")
    assert refused()[0] == "format_refused"
    write_model(tmp_path, ("input_ids", "pixel_values"))
    assert refused()[0] == "interface_mismatch"
    (tmp_path / "model.onnx").write_bytes(b"no model")
    assert refused()[0] == "graph_refused"
