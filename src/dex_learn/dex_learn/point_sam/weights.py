# SPDX-License-Identifier: Apache-2.0
"""Released weights into the network: every parameter of the network is in the file, and everything in the file is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dex_core.errors import DexError
from dex_learn.point_sam.net import PointSam
from dex_learn.point_sam.safetensors import read_safetensors
from dex_learn.point_sam.shape import shape_of

PREFIX = "module."
"""Put before every name by wrappers for training on several GPUs."""
UNUSED = tuple(f"pc_encoder.transformer.{part}" for part in ("cls_token", "pos_embed", "patch_embed.", "rope.", "head."))
"""Parts of the picture model that Point-SAM keeps and never calls."""


def read_weights(file: Path) -> dict[str, NDArray]:
    """The parameters in use, under their plain names. Raises DexError ``weights_unreadable``."""
    found = {name.removeprefix(PREFIX): value for name, value in read_safetensors(file).items()}
    return {name: value for name, value in found.items() if not name.startswith(UNUSED)}


def network_of(weights: Mapping[str, NDArray], patches: int | None = None, patch_size: int | None = None) -> PointSam:
    """The network with these weights, in eval mode.

    Args:
        weights: parameter name -> value.
        patches, patch_size: see ``shape_of``.

    Raises:
        ConfigError: see ``shape_of``.
        DexError: ``weights_refused``: a parameter is missing, unknown, of another size or not finite; names it.
    """
    shape = shape_of({name: value.shape for name, value in weights.items()}, patches, patch_size)
    with torch.device("meta"):  # the weights are in memory once
        net = PointSam(shape)
    for name, value in weights.items():
        if not np.isfinite(value).all():
            raise DexError(f"parameter {name!r} holds {np.count_nonzero(~np.isfinite(value))} numbers that are not finite", code="weights_refused")
    try:
        net.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()}, strict=True, assign=True)
    except RuntimeError as error:  # torch lists what is missing, what is unknown and what has another size
        raise DexError(f"the weights do not fit: {error}", code="weights_refused") from error
    return net.eval()
