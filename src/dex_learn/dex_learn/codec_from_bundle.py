# SPDX-License-Identifier: Apache-2.0
"""A trained hand codec back from its bundle: the weights of the very graphs the policy will be pinned to."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import nn

from dex_core.config import RobotConfig
from dex_core.errors import BundleError
from dex_learn.latents import HandCodec, build_codec


def load_codec(bundle: Path, robot: RobotConfig, side: str) -> HandCodec:
    """Encoder and decoder of ``<side>_<robot>``, frozen, in eval mode.

    Raises:
        BundleError: ``space_mismatch``, the graphs do not hold the weights of this architecture.
    """
    codec = build_codec(robot)
    for part, module in (("encoder", codec.encoder), ("decoder", codec.decoder)):
        _fill(module, bundle / "graphs" / f"{side}_{robot.name}_{part}.onnx")
        module.eval().requires_grad_(False)
    return codec


def _fill(module: nn.Module, path: Path) -> None:
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(path), load_external_data=False).graph.initializer}
    wanted = dict(module.named_parameters())
    missing = sorted(set(wanted) - set(weights))
    if missing:
        raise BundleError(f"{path} has no weights {missing[:3]}; it was not exported by dex_learn.latents", code="space_mismatch")
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(torch.tensor(weights[name]))
