# SPDX-License-Identifier: Apache-2.0
"""The networks of a written bundle, read back out of its ONNX files: a space can be added to without the checkpoint it was trained in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from dex_core.bundle.load import Bundle
from dex_core.errors import DexError
from dex_learn.latent.hand import LatentHand
from dex_learn.latent.net import LATENT_DIM, LatentNets, Widths

PREFIX = "nets."
SAME_RAD = 1e-4


def nets_of(bundle: Bundle, hands: Sequence[LatentHand]) -> LatentNets:
    """The stack of these hands, weight by weight what the graphs hold, checked by encoding and decoding.

    Args:
        bundle: of kind ``latent_space``, written by ``dex_learn.latent.bundle``.
        hands: all of them embodiments of the bundle.

    Raises:
        DexError: ``foreign_space``: a hand is missing, or its graphs are not of this package's networks.
    """
    alone = [_one(bundle, hand) for hand in hands]
    return LatentNets.stack(alone).eval()


def weights_in(graph: bytes) -> dict[str, np.ndarray]:
    """Named weights of a graph."""
    model = onnx.load_from_string(graph)
    return {i.name.removeprefix(PREFIX): numpy_helper.to_array(i) for i in model.graph.initializer if i.name.startswith(PREFIX)}


def _one(bundle: Bundle, hand: LatentHand) -> LatentNets:
    if bundle.manifest.kind != "latent_space" or hand.name not in bundle.embodiments:
        raise DexError(f"bundle {bundle.manifest.name!r} has no {hand.name!r}; it has {list(bundle.embodiments)}", code="foreign_space")
    found: dict[str, np.ndarray] = {}
    for part in ("encoder", "decoder"):
        found.update(weights_in(bundle.contents[bundle.manifest.graphs[f"{hand.name}/{part}"].file]))
    keys = ("encoder.weights.0", "guess.weights.0")
    if any(key not in found for key in keys):
        text = f"{bundle.folder}: the graphs of {hand.name} are not of this package's networks; hands can be added to such a space only"
        raise DexError(text, code="foreign_space")
    nets = LatentNets([hand], Widths(found[keys[0]].shape[-1], found[keys[1]].shape[-1]))
    with torch.no_grad():
        for name, place in nets.named_parameters():
            if name not in found or found[name].shape != tuple(place.shape):
                raise DexError(f"{bundle.folder}: {hand.name}: no weights {name!r} of shape {tuple(place.shape)}", code="foreign_space")
            place.copy_(torch.from_numpy(found[name].copy()))
    _check(bundle, hand, nets)
    return nets


def _check(bundle: Bundle, hand: LatentHand, nets: LatentNets) -> None:
    """The network read back computes what the graph computes."""
    z = np.random.default_rng(0).standard_normal((4, LATENT_DIM)).astype(np.float32)
    graph = bundle.sessions[f"{hand.name}/decoder"].run({"z": z})["q"]
    with torch.no_grad():
        q = nets.joints(nets.decode(torch.from_numpy(z)[None]).clamp(-1.0, 1.0))[0].numpy()
    apart = float(np.abs(q - graph).max())
    if apart > SAME_RAD:
        raise DexError(f"{bundle.folder}: {hand.name} decodes {apart:.1e} rad apart from its weights; was its URDF changed?", code="foreign_space")
