# SPDX-License-Identifier: Apache-2.0
"""The latent space released with XL-VLA (DexLatent) as a bundle: ``dex bundle import dexlatent FILE``.

The file is read with ``weights_only``: nothing in it is executed. Every key and shape must be as released.
"""

from __future__ import annotations

import argparse
import datetime
import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dex_core.bundle.manifest import Embodiment
from dex_core.bundle.write import write_bundle
from dex_core.config import load_robot
from dex_core.errors import BundleError
from dex_learn.dexlatent_hands import HANDS, SIDES, UPSTREAM, UpstreamHand
from dex_learn.export import IR_VERSION, OPSET, Case, check_parity, run_torch, to_onnx

NAME = "dexlatent"
PARITY = 1e-5
LATENT_DIM = 32
WIDTHS = (64, 128, 64)
GOLDEN_BATCHES = (1, 5, 64)
BUDGET_MS = 20.0
RESIDUAL_POSES = 4000
_ENTRIES = ("autoencoders", "hand_names", "config", "epoch")


def wanted_shapes(joints: int) -> dict[str, tuple[int, ...]]:
    """Every weight of one hand with ``joints`` joints: name within the hand -> shape."""
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, inputs: int, outputs: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs), (outputs,)

    for body, first in (("hand_encoder_backbone", joints), ("hand_decoder", LATENT_DIM)):
        for layer, (a, b) in enumerate(zip((first, *WIDTHS), WIDTHS, strict=False)):
            linear(f"{body}.{3 * layer}", a, b)
            shapes[f"{body}.{3 * layer + 1}.weight"] = shapes[f"{body}.{3 * layer + 1}.bias"] = (b,)
    linear("hand_mean_head", WIDTHS[-1], LATENT_DIM)
    linear("hand_logvar_head", WIDTHS[-1], LATENT_DIM)
    linear(f"hand_decoder.{3 * len(WIDTHS)}", WIDTHS[-1], joints)
    return shapes


def read_checkpoint(path: Path) -> dict[str, dict[str, Tensor]]:
    """Upstream hand name -> its weights by name, all checked.

    Raises:
        BundleError: ``checkpoint_refused``: no file, not readable without running code, or another layout; names the key, what was found
            and what was expected.
    """
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise _refused(f"{path} cannot be read: {error.strerror or error}") from error
    except (EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:  # torch's own text advises to run the code
        raise _refused(f"{path}: {type(error).__name__}: found no checkpoint that can be read without running code, expected tensors only") from error
    if not isinstance(payload, Mapping):
        raise _refused(f"{path}: holds {type(payload).__name__}, expected a mapping with {list(_ENTRIES)}")
    for key in _ENTRIES:
        if key not in payload:
            raise _refused(f"{path}: key {key!r} is missing; found {sorted(map(str, payload))}, expected {list(_ENTRIES)}")
    names = payload["hand_names"]
    if list(names) != list(UPSTREAM):
        raise _refused(f"{path}: key 'hand_names' is {list(names)}, expected {list(UPSTREAM)}")
    state = payload["autoencoders"]
    wanted = {f"{name}.{key}": shape for name, hand in UPSTREAM.items() for key, shape in wanted_shapes(len(hand.joints)).items()}
    _check_state(path, state, wanted)
    return {name: {key: state[f"{name}.{key}"] for key in wanted_shapes(len(hand.joints))} for name, hand in UPSTREAM.items()}


def _check_state(path: Path, state: object, wanted: Mapping[str, tuple[int, ...]]) -> None:
    if not isinstance(state, Mapping):
        raise _refused(f"{path}: key 'autoencoders' is {type(state).__name__}, expected a mapping of tensors")
    for key, shape in wanted.items():
        if key not in state:
            raise _refused(f"{path}: key 'autoencoders.{key}' is missing, expected a tensor of shape {shape}")
        value = state[key]
        if not isinstance(value, Tensor) or tuple(value.shape) != shape or value.dtype != torch.float32:
            found = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise _refused(f"{path}: key 'autoencoders.{key}' is {found}, expected torch.float32 {shape}")
        if not bool(torch.isfinite(value).all()):
            raise _refused(f"{path}: key 'autoencoders.{key}' holds numbers that are not finite, expected finite ones")
    unknown = sorted(set(state) - set(wanted))
    if unknown:
        raise _refused(f"{path}: key 'autoencoders.{unknown[0]}' is unknown; found {len(state)} keys, expected {len(wanted)}")


def _refused(message: str) -> BundleError:
    return BundleError(message, code="checkpoint_refused")


def _body(first: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for a, b in zip((first, *WIDTHS), WIDTHS, strict=False):
        layers += [nn.Linear(a, b), nn.LayerNorm(b), nn.ReLU()]
    return layers


class ReleasedEncoder(nn.Module):
    """Joints (B, n) [rad] -> mean of the posterior (B, 32). Joints that follow another one are filled in first."""

    def __init__(self, weights: Mapping[str, Tensor], hand: UpstreamHand, own: Sequence[str]) -> None:
        super().__init__()
        self.register_buffer("expand", torch.tensor(hand.expansion(own), dtype=torch.float32))
        self.register_buffer("low", torch.tensor(hand.lower_rad, dtype=torch.float32))
        self.register_buffer("high", torch.tensor(hand.upper_rad, dtype=torch.float32))
        self.hand_encoder_backbone = nn.Sequential(*_body(len(hand.joints)))
        self.hand_mean_head = nn.Linear(WIDTHS[-1], LATENT_DIM)
        self.load_state_dict({k: v for k, v in weights.items() if k in self.state_dict()}, strict=False)

    def forward(self, q: Tensor) -> Tensor:
        """(B, n) [rad] -> (B, 32)."""
        u = 2.0 * (q @ self.expand.T - self.low) / (self.high - self.low) - 1.0
        return self.hand_mean_head(self.hand_encoder_backbone(u.clamp(-1.0, 1.0)))


class ReleasedDecoder(nn.Module):
    """Latent (B, 32) -> joints (B, n) [rad] inside the limits it was trained with.

    Where a joint follows another one on the hardware, the two decoded values are projected onto that line (least squares).
    """

    def __init__(self, weights: Mapping[str, Tensor], hand: UpstreamHand, own: Sequence[str]) -> None:
        super().__init__()
        self.register_buffer("project", torch.tensor(hand.projection(own), dtype=torch.float32))
        self.register_buffer("low", torch.tensor(hand.lower_rad, dtype=torch.float32))
        self.register_buffer("high", torch.tensor(hand.upper_rad, dtype=torch.float32))
        self.hand_decoder = nn.Sequential(*_body(LATENT_DIM), nn.Linear(WIDTHS[-1], len(hand.joints)), nn.Tanh())
        self.load_state_dict({k: v for k, v in weights.items() if k in self.state_dict()}, strict=False)

    def forward(self, z: Tensor) -> Tensor:
        """(B, 32) -> (B, n) [rad]."""
        return (self.low + (self.hand_decoder(z) + 1.0) * 0.5 * (self.high - self.low)) @ self.project.T


def import_dexlatent(path: Path, folder: Path, licence: Path | None = None) -> str:
    """Writes the bundle and returns its hash.

    Args:
        path: the released checkpoint.
        folder: of the bundle, made or replaced; its last part should be ``dexlatent``.
        licence: text that must travel with the weights; None: the file LICENSE beside ``path``.

    Raises:
        BundleError: ``checkpoint_refused`` (see :func:`read_checkpoint`), ``licence_refused`` where there is no licence text.
    """
    weights = read_checkpoint(path)
    text_file = licence if licence is not None else path.with_name("LICENSE")
    if not text_file.is_file():
        message = f"{text_file} does not exist; the weights are MIT and their licence text must go with them: --license FILE"
        raise BundleError(message, code="licence_refused")
    graphs: dict[str, bytes] = {}
    specs: dict[str, Any] = {}
    golden: dict[str, list[Case]] = {}
    embodiments: dict[str, Embodiment] = {}
    worst = residual = 0.0
    for robot, own in HANDS.items():
        hand = next(h for h in UPSTREAM.values() if robot in h.robots)
        encoder, decoder = (part(weights[hand.name], hand, own).eval() for part in (ReleasedEncoder, ReleasedDecoder))
        limits = hand.limits_of(own)
        residual = max(residual, _residual_q99(encoder, decoder, limits))
        made = {part: _export(part, encoder, decoder, own, limits) for part in ("encoder", "decoder")}
        for side in SIDES:
            for part, (graph, cases, spec) in made.items():
                key = f"{side}_{robot}/{part}"
                graphs[key], golden[key], specs[key] = graph, cases, spec
                worst = max(worst, check_parity(graph, cases, PARITY, key))
            embodiments[f"{side}_{robot}"] = _embodiment(robot, side, own, limits)
    scores = {"definitions": {"parity": "largest difference between ONNX and torch on the golden cases"}, "scores": {"parity": worst}}
    manifest = _manifest(tuple(embodiments), specs, residual)
    return write_bundle(
        folder, manifest, graphs=graphs, golden=golden, embodiments=embodiments, scores=scores,
        licence_text=_attribution(text_file.read_text("utf-8")),
    )


def _attribution(text: str) -> str:
    return f"Weights of this folder: DexLatent, github.com/EmptyBlueBox/DexLatent, converted to ONNX without change of their values.\n\n{text}"


def _poses(limits: np.ndarray, count: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(limits[0], limits[1], (count, limits.shape[1])).astype(np.float32))


def _residual_q99(encoder: nn.Module, decoder: nn.Module, limits: np.ndarray) -> float:
    with torch.no_grad():
        z = encoder(_poses(limits, RESIDUAL_POSES, 11))
        return float((encoder(decoder(z)) - z).norm(dim=1).quantile(0.99))


def _export(part: str, encoder: nn.Module, decoder: nn.Module, own: Sequence[str], limits: np.ndarray) -> tuple[bytes, list[Case], dict[str, Any]]:
    module, key, out = (encoder, "q", "z") if part == "encoder" else (decoder, "z", "q")
    cases: list[Case] = []
    for batch in GOLDEN_BATCHES:
        q = _poses(limits, batch, 7 + batch)
        with torch.no_grad():
            value = q if part == "encoder" else encoder(q)
        cases.append(({key: value.numpy()}, run_torch(module, {key: value.numpy()}, [out])))
    graph = to_onnx(module, {key: torch.from_numpy(cases[1][0][key])}, [out])
    joints = {"name": "q", "dtype": "float32", "shape": ["B", len(own)], "space": "joint_position", "unit": "rad", "names": list(own)}
    tensors = {"q": joints, "z": {"name": "z", "dtype": "float32", "shape": ["B", LATENT_DIM], "space": "latent"}}
    spec = {"inputs": [tensors[key]], "outputs": [tensors[out]], "dynamic": {"B": [1, 4096]}, "golden": {"atol": PARITY, "rtol": 1e-4}}
    return graph, cases, spec


def _embodiment(robot: str, side: str, own: Sequence[str], limits: np.ndarray) -> Embodiment:
    """With the limits of the released normalisation; those that are not our hardware's are named, and the gate clamps to the hardware's."""
    lower, upper = limits.tolist()
    differ: tuple[str, ...] = ()
    if not robot.endswith("_free"):
        ours = load_robot(robot).for_side(side).limits
        differ = tuple(j for j, a, b in zip(own, lower, upper, strict=True) if (a, b) != (ours[j].lower_rad, ours[j].upper_rad))
    return Embodiment(robot=robot, side=side, joints=tuple(own), lower_rad=tuple(lower), upper_rad=tuple(upper), limits_differ=differ)


def _manifest(names: tuple[str, ...], specs: dict[str, Any], residual: float) -> dict[str, Any]:
    return {
        "name": NAME, "version": "1.0.0", "kind": "latent_space", "created": datetime.date.today().isoformat(),
        "licence": {"weights": "MIT", "commercial_use": True, "upstream": "github.com/EmptyBlueBox/DexLatent"},
        "provenance": {
            "trained_here": False, "data": "uniform random and pinch poses of four right hands, by the authors of XL-VLA", "steps": 1000, "seed": 42,
            "notes": "left hands use the right hand's weights, as upstream",
        },
        "runtime": {"opset": OPSET, "ir_version": IR_VERSION}, "latency": {"budget_ms": BUDGET_MS, "warmup_runs": 10},
        "embodiments": list(names), "graphs": specs, "spaces": {"latent": {"dim": LATENT_DIM, "residual_q99": residual}},
    }


def main(argv: Sequence[str]) -> int:
    """``dex bundle import dexlatent``; returns the exit status. Raises BundleError where the file is refused."""
    parser = argparse.ArgumentParser(
        prog="dex bundle import dexlatent", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="the released checkpoint, e.g. checkpoint_epoch_1000.pt")
    parser.add_argument("--out", type=Path, default=Path(NAME), help="folder of the bundle, replaced if it is there (default: ./%(default)s)")
    parser.add_argument("--license", type=Path, help="the weights' licence text (default: LICENSE beside FILE)")
    options = parser.parse_args(list(argv))
    digest = import_dexlatent(options.file, options.out, options.license)
    sys.stdout.write(f"{options.out}\n  hash {digest}\n  check it:  dex bundle verify {options.out}\n")
    return 0
