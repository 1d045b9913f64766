# SPDX-License-Identifier: Apache-2.0
"""Words to a box by an open-vocabulary detector that the user brings: OWL-ViT's or OWLv2's ONNX export and its tokenizer's files.

The folder: ``model.onnx``, ``vocab.json``, ``merges.txt``, ``preprocessor_config.json``, as ``optimum-cli export onnx --model
google/owlvit-base-patch32 --task zero-shot-object-detection --batch_size 1 FOLDER`` and the checkpoint's repository give them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from dex_core.config.paths import find_share
from dex_core.errors import BundleError, DexError
from dex_core.runtime import PROVIDERS, Settings, choose_provider, open_session
from dex_perception.segment.clip_tokens import ClipTokens
from dex_perception.segment.codes import NoTarget
from dex_perception.segment.prompts import Meant
from dex_perception.segment.view import View

MODEL, CONFIG = "model.onnx", "preprocessor_config.json"
INPUTS, OUTPUTS = ("input_ids", "attention_mask", "pixel_values"), ("logits", "pred_boxes")
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
GREY = 0.5
"""What OWLv2 fills the square with."""
LEAST, MARGIN, SAME_IOU = 0.1, 0.03, 0.3
"""Score below which nothing was found, as upstream has it; two boxes as near in score and apart in place are ambiguous."""
QUERY = "a photo of {}"


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes the detector's.

    Attributes:
        size: edge of its square [px]. square: True: filled up to a square at the right and bottom first (OWLv2); False: stretched (OWL-ViT).
        mean, std: of the channels.
    """

    size: int
    square: bool
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD

    def pixels(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) uint8 -> (1, 3, size, size) float32."""
        picture = rgb.astype(np.float32) / np.float32(255.0)
        if self.square:
            longer = max(rgb.shape[:2])
            filled = np.full((longer, longer, 3), GREY, dtype=np.float32)
            filled[: rgb.shape[0], : rgb.shape[1]] = picture
            picture = filled
        shrinks = min(picture.shape[:2]) > self.size
        picture = cv2.resize(picture, (self.size, self.size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        even = (np.clip(picture, 0.0, 1.0) - np.float32(self.mean)) / np.float32(self.std)
        return np.ascontiguousarray(even.transpose(2, 0, 1)[None], dtype=np.float32)

    def boxes_px(self, boxes: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.float64]:
        """(N, 4) middle, width and height in [0, 1] -> x_min, y_min, x_max, y_max [px] of the picture as it came."""
        height, width = (max(size_hw),) * 2 if self.square else size_hw
        middle, half = boxes[:, :2].astype(np.float64), 0.5 * boxes[:, 2:].astype(np.float64)
        return np.concatenate([middle - half, middle + half], axis=1) * (width, height, width, height)


class Detector:
    """Implements dex_perception.segment.prompts.Reader.

    Args:
        session: of the model. prepare: for its pictures. tokens: of its words.
        name: shown in diagnostics.
    """

    def __init__(self, session: ort.InferenceSession, prepare: Preparation, tokens: ClipTokens, name: str) -> None:
        self._session, self._prepare, self._tokens = session, prepare, tokens
        self.name = name

    def find(self, text: str, view: View) -> Meant:
        """The box that the words describe best. Raises NoTarget ``text_unmatched`` or ``text_ambiguous``; DexError when the model fails."""
        ids, attention = self._tokens(QUERY.format(text.strip()))
        inputs = dict(zip(INPUTS, (ids, attention, self._prepare.pixels(view.picture.rgb)), strict=True))
        try:
            logits, boxes = self._session.run(list(OUTPUTS), inputs)
        except Exception as error:  # onnxruntime's errors share no base class of their own
            raise DexError(f"detector {self.name}: {error}", code="segmenter_failed") from error
        return best_of(logits, self._prepare.boxes_px(boxes[0], view.size_hw), text)


def best_of(logits: NDArray[np.float32], boxes_px: NDArray[np.float64], text: str) -> Meant:
    """The best box of (1, N, Q) logits and (N, 4) boxes [px]. Raises NoTarget, and DexError for numbers that are not finite."""
    if not (np.isfinite(logits).all() and np.isfinite(boxes_px).all()):
        raise DexError("the detector's output is not finite", code="segmenter_failed")
    scores = 1.0 / (1.0 + np.exp(-logits[0].max(axis=1).astype(np.float64)))
    best = int(scores.argmax())
    if scores[best] < LEAST:
        raise NoTarget(f"nothing in view fits {text!r}: the best box has {scores[best]:.2f}, needed {LEAST:.2f}", code="text_unmatched")
    rivals = (scores >= max(LEAST, scores[best] - MARGIN)) & (_overlaps(boxes_px, boxes_px[best]) < SAME_IOU)
    if rivals.any():
        raise NoTarget(f"{1 + np.count_nonzero(rivals)} boxes fit {text!r} as well; say more, e.g. a colour", code="text_ambiguous")
    return Meant(float(scores[best]), box_px=tuple(float(v) for v in boxes_px[best]))  # type: ignore[arg-type]


def _overlaps(boxes: NDArray[np.float64], one: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) intersection over union with one box."""
    edges = np.maximum(0.0, np.minimum(boxes[:, 2:], one[2:]) - np.maximum(boxes[:, :2], one[:2]))
    inner = edges.prod(axis=1)
    areas = np.maximum(0.0, boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + np.maximum(0.0, one[2:] - one[:2]).prod()
    return inner / np.maximum(areas - inner, 1e-9)


def load_detector(folder_or_name: str, provider: str = "auto", threads: int = 1) -> Detector:
    """A detector from its folder (or its name under ``models/``).

    Raises:
        BundleError: a file is missing or is not what it must be; says which and what to bring.
    """
    folder = Path(folder_or_name)
    folder = folder if folder.is_dir() or len(folder.parts) > 1 else find_share("models", folder_or_name)
    if not (folder / MODEL).is_file():
        raise BundleError(f"{folder / MODEL} does not exist; bring the export of an OWL-ViT (docs/perception.md)", code="file_missing")
    session = open_session(str(folder / MODEL), str(folder / MODEL), Settings(choose_provider(provider, tuple(PROVIDERS)), threads))
    inputs, outputs = {t.name: t for t in session.get_inputs()}, {t.name for t in session.get_outputs()}
    if set(inputs) != set(INPUTS) or not set(OUTPUTS) <= outputs:
        text = f"{folder / MODEL}: inputs {sorted(inputs)}, outputs {sorted(outputs)}; expected {list(INPUTS)} and {list(OUTPUTS)}"
        raise BundleError(text, code="interface_mismatch")
    length = inputs["input_ids"].shape[-1]
    tokens = ClipTokens(folder, length) if isinstance(length, int) else ClipTokens(folder)
    return Detector(session, _preparation(folder / CONFIG, inputs["pixel_values"].shape), tokens, folder.name)


def _preparation(file: Path, shape: list) -> Preparation:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        size = data["size"]
        edge = int(size["height"] if isinstance(size, dict) else size[0] if isinstance(size, list) else size)
        kind = f"{data.get('image_processor_type', '')} {data.get('feature_extractor_type', '')} {data.get('processor_class', '')}"
        mean, std = (tuple(float(v) for v in data[key]) for key in ("image_mean", "image_std"))
    except FileNotFoundError as error:
        raise BundleError(f"{file} does not exist; it tells the detector's picture size", code="file_missing") from error
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise BundleError(f"{file}: {error!r}", code="format_refused") from error
    wanted = [v for v in shape[-2:] if isinstance(v, int)]
    if any(v != edge for v in wanted) or not 32 <= edge <= 4096 or len(mean) != 3 or len(std) != 3 or not all(v > 0.0 for v in std):
        raise BundleError(f"{file}: size {edge}, mean {mean}, std {std}; the model's pixel_values are {shape}", code="interface_mismatch")
    return Preparation(edge, "owlv2" in kind.lower() or bool(data.get("do_pad")), mean, std)
