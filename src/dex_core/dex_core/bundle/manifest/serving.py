# SPDX-License-Identifier: Apache-2.0
"""How a bundle is run and fed: runtime, timing, spaces, pictures, words, statistics."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dex_core.config.strict import bounded, choice
from dex_core.errors import ConfigError

FORMATS = ("onnx", "pt2")
"""ONNX, and torch.export, which is read only where its hash is named by whoever runs it."""


@dataclass(frozen=True)
class Runtime:
    """What runs the graphs; ``formats``: those of their files. They may need at most ``opset`` and ``ir_version``, of listed operator domains."""

    formats: tuple[str, ...] = ("onnx",)
    opset: int = bounded(1, 100, default=20)
    ir_version: int = bounded(3, 100, default=10)
    domains: tuple[str, ...] = ("",)
    providers: tuple[str, ...] = ("cpu", "cuda")
    deterministic: bool = True


@dataclass(frozen=True)
class Timing:
    """Action k of a chunk is for stamp + (first_action_offset + k) * dt [s]."""

    rate_hz: float = bounded(0.1, 1000.0)
    dt: float = bounded(1e-3, 10.0)
    chunk: int = bounded(1, 4096)
    first_action_offset: float = bounded(-1000.0, 1000.0)
    observation_history: int = bounded(1, 64, default=1)


@dataclass(frozen=True)
class Latency:
    """``budget_ms``: p99 of one warm inference must stay below it on the serving machine."""

    budget_ms: float = bounded(0.01, 60000.0)
    warmup_runs: int = bounded(2, 1000, default=10)


@dataclass(frozen=True)
class LatentSpec:
    """What a latent is.

    Attributes:
        dim: numbers of a latent.
        residual_q99: 99 % quantile of ||E(D(z)) - z|| over latents of training poses.
        unit: ``frame``: a latent is one posture; ``chunk``: a latent is ``frames`` postures, dt of the chunk apart.
        frames: postures of a latent.
    """

    dim: int = bounded(1, 4096)
    residual_q99: float = bounded(0.0, 1e6)
    unit: str = choice("frame", "chunk", default="frame")
    frames: int = bounded(1, 4096, default=1)

    def __post_init__(self) -> None:
        if (self.unit == "frame") != (self.frames == 1):
            raise ConfigError(f"unit {self.unit!r} with frames {self.frames}: a frame is one posture, a chunk at least 2")


@dataclass(frozen=True)
class Spaces:
    """The spaces a bundle defines."""

    latent: LatentSpec | None = None


@dataclass(frozen=True)
class ImageSpec:
    """A picture a policy takes: (B, height, width, 3) uint8 RGB at graph input ``input``, from ``source`` pictures of the camera, or as said.

    Attributes:
        layout: HWC, or CHW: (B, 3, height, width).
        resize: by area averaging or bilinear. fit: the whole picture stretched, or its proportions kept between black bars.
        dtype: uint8, or float32: value * ``scale``, less ``mean``, by ``std``, per channel in the network's order.
    """

    input: str
    height: int = bounded(8, 4096)
    width: int = bounded(8, 4096)
    source_height: int = bounded(8, 8192, default=240)
    source_width: int = bounded(8, 8192, default=320)
    camera: str = "front"
    layout: str = choice("HWC", "CHW", default="HWC")
    channel_order: str = choice("rgb", "bgr", default="rgb")
    resize: str = choice("area", "linear", default="area")
    fit: str = choice("stretch", "pad", default="stretch")
    dtype: str = choice("uint8", "float32", default="uint8")
    scale: float = bounded(1e-9, 1e9, default=1.0 / 255.0)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        numbers = (*self.mean, *self.std)
        if numbers and (self.dtype != "float32" or len(self.mean) != 3 or len(self.std) != 3 or not all(map(math.isfinite, numbers))):
            raise ConfigError(f"mean {list(self.mean)} and std {list(self.std)}: three finite numbers each, for dtype float32 alone")
        if any(std < 1e-6 for std in self.std):
            raise ConfigError(f"std {list(self.std)}: at least 1e-6 each")

    @property
    def tail(self) -> tuple[int, ...]:
        """Shape of one picture as the graph takes it."""
        return (self.height, self.width, 3) if self.layout == "HWC" else (3, self.height, self.width)


@dataclass(frozen=True)
class InstructionSpec:
    """How words become ids. ``trained``: the sentences the policy knows; ``min_similarity``: below it an instruction is refused."""

    input: str
    trained: tuple[str, ...]
    length: int = bounded(1, 4096, default=24)
    buckets: int = bounded(2, 2**24, default=4096)
    max_chars: int = bounded(1, 65536, default=256)
    method: str = choice("fnv1a_words_and_pairs", default="fnv1a_words_and_pairs")
    min_similarity: float = bounded(0.0, 1.0, default=0.3)


@dataclass(frozen=True)
class Normalisation:
    """``inside_graph`` true: graphs take and give SI numbers; the statistics then serve the range checks. False: measured columns and chunks are
    normalised outside, by each record's ``method``."""

    file: str = "stats.json"
    inside_graph: bool = True
