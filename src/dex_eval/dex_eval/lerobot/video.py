# SPDX-License-Identifier: Apache-2.0
"""Pictures into mp4 and out again, by PyAV; imported only when it is needed."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import ConfigError, DexError

INSTALL = "pip install -c constraints.txt -r requirements-lerobot.txt"
CODECS = {
    "av1": ("libsvtav1", {"g": "2", "crf": "30", "preset": "10"}),
    "h264": ("libx264", {"g": "2", "crf": "23"}),
}
"""Name -> encoder and its options; a key frame every other picture makes any of them quick to reach. AV1 as LeRobot itself writes it."""


def require(name: str) -> Any:
    """Imports an optional package. Raises ConfigError that says what to install."""
    if name == "av":
        os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder writes its settings to the terminal otherwise
    try:
        return __import__(name, fromlist=["_"])
    except ImportError as error:
        raise ConfigError(f"LeRobot datasets need the package {name.split('.')[0]}: {INSTALL}") from error


def write_video(path: Path, pictures: Iterable[NDArray[np.uint8]], fps: int, codec: str) -> int:
    """Writes (H, W, 3) uint8 RGB pictures of one size, even in both directions, at a fixed rate; returns how many. Raises DexError."""
    av = require("av")
    encoder, options = CODECS[codec]
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        with av.open(str(path), "w") as container:
            stream = container.add_stream(encoder, rate=fps, options=options)
            stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, fps)
            for image in pictures:
                if count == 0:
                    stream.height, stream.width = image.shape[:2]
                    if stream.height % 2 or stream.width % 2:
                        raise DexError(f"{path}: pictures of {stream.width} x {stream.height}; a video needs even sizes, use --pictures png")
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = count, Fraction(1, fps)
                container.mux(stream.encode(frame))
                count += 1
            container.mux(stream.encode())
    except av.FFmpegError as error:
        raise DexError(f"{path} cannot be encoded by {encoder}: {error}") from error
    return count


def read_video(path: Path, from_s: float, to_s: float) -> Iterator[NDArray[np.uint8]]:
    """(H, W, 3) uint8 RGB pictures shown from ``from_s`` on and before ``to_s`` [s]. Raises DexError for a file that does not decode."""
    av = require("av")
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            half = Fraction(1, 2) / Fraction(stream.average_rate or 1)
            container.seek(max(0, int((from_s - float(half)) / stream.time_base)), stream=stream)
            for frame in container.decode(stream):
                if frame.time is not None and from_s - float(half) <= frame.time < to_s - float(half):
                    yield frame.to_ndarray(format="rgb24")
                elif frame.time is not None and frame.time >= to_s:
                    return
    except (av.FFmpegError, IndexError) as error:
        raise DexError(f"{path} cannot be decoded: {error}", code="dataset_invalid") from error


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """One picture as PNG: every pixel as it was."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, format="PNG", compress_level=1)
    return out.getvalue()
