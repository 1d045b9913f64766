# SPDX-License-Identifier: Apache-2.0
"""The transforms that a manifest describes: of a picture on its way to the network, and of the columns of a tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dex_core.transforms.base import Chain, Transform
from dex_core.transforms.pictures import ChannelsFirst, Pad, PixelValues, Resize, SwapChannels
from dex_core.transforms.scaling import normaliser
from dex_core.types import Array

if TYPE_CHECKING:  # the bundle package knows manifests, and imports transforms
    from dex_core.bundle.manifest import ImageSpec, Tensor
    from dex_core.bundle.stats import Statistic


def picture_input(image: ImageSpec) -> Chain:
    """(H, W, 3) uint8 RGB of a cell's camera -> what the network takes of it; training, live cell and replay all call this one."""
    steps: list[Transform] = [(Resize if image.fit == "stretch" else Pad)(image.width, image.height, image.resize)]
    if image.channel_order == "bgr":
        steps.append(SwapChannels())
    if image.dtype == "float32":
        steps.append(PixelValues(image.scale, image.mean, image.std))
    if image.layout == "CHW":
        steps.append(ChannelsFirst())
    return Chain(tuple(steps))


@dataclass(frozen=True)
class Sliced:
    """One transform for each run of columns; they tile the last axis in order."""

    parts: tuple[tuple[int, int, Transform], ...]

    def __call__(self, values: NDArray) -> Array:
        """(..., columns) forward, part by part."""
        return np.concatenate([part(values[..., start:end]) for start, end, part in self.parts], axis=-1)

    def inverse(self, values: NDArray) -> Array:
        """Back, part by part."""
        return np.concatenate([part.inverse(values[..., start:end]) for start, end, part in self.parts], axis=-1)


def tensor_normaliser(tensor: Tensor, stats: Mapping[str, Statistic]) -> Sliced:
    """SI columns of a sliced tensor -> as a graph takes and gives them that does not normalise itself. Raises ConfigError: degenerate columns."""
    return Sliced(tuple((s.at[0], s.at[1], normaliser(stats[f"{tensor.name}/{s.interface}"])) for s in tensor.slices))
