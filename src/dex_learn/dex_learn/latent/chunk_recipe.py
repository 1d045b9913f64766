# SPDX-License-Identifier: Apache-2.0
"""Trains the chunk latents on smooth random trajectories, scores them and writes their bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dex_core.bundle.load import load_bundle
from dex_learn.export import IR_VERSION, OPSET, check_parity, run_torch, to_onnx
from dex_learn.latent import losses
from dex_learn.latent.bundle import PARITY, Exported, embodiment_of, manifest_of
from dex_learn.latent.chunk import CHUNK_DIM, FRAMES, ChunkDecoder, ChunkEncoder, Compressor, trajectories
from dex_learn.latent.frozen import nets_of
from dex_learn.latent.hand import FINGERS, pinches_of
from dex_learn.latent.net import LatentNets
from dex_learn.latent.recipe import Recipe, load_hands, write_curves
from dex_learn.latent.sampling import near_pinches, uniform
from dex_learn.latent.scores import pair_tables
from dex_learn.latent.train import Training
from dex_learn.resumable import Resumable

NAME = "hand_chunks"
NOISE = 0.02
SCORED = 100
DEFINITIONS = {
    "samples": f"{SCORED} smooth random trajectories of {FRAMES} frames per hand, through two to four postures, not used for training",
    "joint_mean_rad": "mean over frames and joints of |q' - q|, q' = D(E(q))", "tip_mean_mm": "mean distance of fingertips of q' and q",
    "pinch_distance_mm": "source to target: mean of | ||d_t|| - ||d_s|| | over thumb-to-finger vectors of all frames, ||d_s|| from 5 to 60 mm",
    "pinch_direction_deg": "mean angle between them", "residual_q99": "99 % quantile of ||E(D(z)) - z|| over the chunks",
}


def make_chunk_bundle(recipe: Recipe, space: Path, folder: Path, notes: str) -> dict[str, Any]:
    """Trains a compressor on the right hands of the space in ``space`` and writes a bundle with both sides; returns the scores."""
    bundle = load_bundle(space)
    models = [e.robot for e in bundle.embodiments.values() if e.side == "right"]
    right, left = (nets_of(bundle, load_hands(models, side)).to(recipe.device) for side in ("right", "left"))
    trainer = Trainer(right, recipe.training, recipe.work / "chunks.pt")
    compressor = trainer.run().to("cpu")
    write_curves(recipe.work, {"chunks": trainer.curves})
    stacks = [right.to("cpu"), left.to("cpu")]
    scores = {nets.hands[0].side: score_chunks(nets, compressor) for nets in stacks}
    exported = Exported()
    for nets in stacks:
        _export(exported, nets, compressor)
    largest = max(hand["residual_q99"] for side in scores.values() for hand in side["hands"].values())
    training = replace(recipe.training, steps=trainer.step)
    manifest = manifest_of(exported, training, largest, f"{notes}; around {bundle.manifest.name} of {bundle.manifest.created}", recipe.code)
    manifest |= {"name": NAME, "runtime": {"opset": OPSET, "ir_version": IR_VERSION}}
    manifest["spaces"]["latent"] = {"dim": CHUNK_DIM, "residual_q99": largest, "unit": "chunk", "frames": FRAMES}
    exported.write(folder, manifest, {"definitions": DEFINITIONS, "scores": {**scores, "onnx_parity": exported.parity}})
    return scores


class Trainer(Resumable[Compressor]):
    """Trains on trajectories of these hands, frozen: every chunk is decoded by its own hand and by the next one of the stack.

    Args:
        nets: the hands, on the device to compute on. training: how. checkpoint: file to write to and to go on from; None: nowhere.
    """

    TITLE, CLIP, FLOOR = "chunk latents", 5.0, 0.003

    def __init__(self, nets: LatentNets, training: Training, checkpoint: Path | None = None) -> None:
        self.training, self._nets = training, nets.requires_grad_(False)
        self._pool = _pool(nets, training.pool, torch.Generator().manual_seed(training.seed))
        super().__init__(Compressor(training.seed).to(nets.present.device), training, checkpoint, training.weight_decay)

    def identity(self) -> str:
        """The settings and the hands; how long may change."""
        return f"chunks of {[h.name for h in self._nets.hands]}, {super().identity()}"

    def learn(self) -> dict[str, Tensor]:
        """Gradients of some trajectories of every hand."""
        paths = trajectories(self._pool, max(1, self.training.batch // 16), self.generator)
        parts = _losses(self._nets, self.net, paths, self.training, self.generator)
        torch.stack(list(parts.values())).sum().backward()
        return parts


def _pool(nets: LatentNets, count: int, generator: torch.Generator) -> Tensor:
    return torch.cat([uniform(nets, count, generator), near_pinches(nets, count, generator)], dim=1)


def _through(nets: LatentNets, compressor: Compressor, u: Tensor, noise: Tensor | None = None) -> tuple[losses.Batch, Tensor, Tensor]:
    """Chunks (H, C, 64, n): their frames as a batch (H, C 64, n), the frame latents that come back (H, C 64, 32), and the codes (H, C, dim)."""
    h, c = u.shape[:2]
    batch = losses.batch_of(nets, u.flatten(1, 2))
    z = nets.encode(batch.u, batch.tips).view(h * c, FRAMES, -1)
    code = compressor.compress(z)
    spoken = code if noise is None else code + noise
    return batch, compressor.expand(spoken).reshape(h, c * FRAMES, -1), code.view(h, c, -1)


def _losses(nets: LatentNets, compressor: Compressor, u: Tensor, training: Training, generator: torch.Generator) -> dict[str, Tensor]:
    noise = NOISE * torch.randn((u.shape[0] * u.shape[1], CHUNK_DIM), generator=generator).to(u.device)
    batch, z, _ = _through(nets, compressor, u, noise)
    order = torch.randperm(len(nets.hands), generator=generator).to(u.device)
    own, other = losses.decode_own(nets, z), losses.decode_own(nets, z[order])
    joint, tip = losses.reconstruction(nets, batch, own, training.weights)
    pinches = pinches_of(other.tips)  # target k shows source order[k]
    mask = (nets.present * nets.present[order])[:, None, None]
    distance, direction = losses.retargeting_rows(pinches[:, None], batch.pinches[order][:, None], mask, training.weights)
    return {"joint": joint, "tip": tip, "distance": distance, "direction": direction}


@torch.no_grad()
def score_chunks(nets: LatentNets, compressor: Compressor, count: int = SCORED, seed: int = 20_000) -> dict[str, Any]:
    """Scores of ``DEFINITIONS`` on unseen trajectories."""
    generator = torch.Generator().manual_seed(seed)
    u = trajectories(_pool(nets, 500, generator), count, generator)
    batch, z, code = _through(nets, compressor, u)
    decoded = losses.decode_all(nets, z)
    own = losses.own_of(decoded)
    hands = {}
    for k, hand in enumerate(nets.hands):
        n, fingers = len(hand.joints), [FINGERS.index(f) for f in hand.target.fingers]
        half = 0.5 * (nets.high - nets.low)[k, :, :n]
        again = _through(nets.cut(k), compressor, own.u[k, :, :n].clamp(-1.0, 1.0).view(1, count, FRAMES, n))[2][0]
        hands[hand.name] = {
            "joint_mean_rad": float(((own.u[k, :, :n].clamp(-1.0, 1.0) - batch.u[k, :, :n]).abs() * half).mean()),
            "tip_mean_mm": 1e3 * float((own.tips - batch.tips)[k, fingers].norm(dim=-1).mean()),
            "residual_q99": float(torch.quantile((again - code[k]).norm(dim=-1), 0.99)),
        }
    tables = pair_tables(nets, decoded, batch.pinches)
    return {"hands": hands, **{key: tables[key] for key in ("pinch_distance_mm", "pinch_direction_deg")}}


@torch.no_grad()
def _export(exported: Exported, nets: LatentNets, compressor: Compressor) -> None:
    for row, hand in enumerate(nets.hands):
        encoder, decoder = ChunkEncoder(nets, row, compressor).eval(), ChunkDecoder(nets, row, compressor).eval()
        generator = torch.Generator().manual_seed(7)
        alone = encoder.nets
        walks = [trajectories(uniform(alone, 50, generator), count, generator).flatten(1, 2) for count in (1, 3)]
        paths = [alone.joints(walk)[0].unflatten(0, (-1, FRAMES)) for walk in walks]
        exported.embodiments[hand.name], names = embodiment_of(hand), list(hand.joints)
        joints = {"name": "q", "dtype": "float32", "shape": ["B", FRAMES, len(names)], "space": "joint_position", "unit": "rad", "names": names}
        latent = {"name": "z", "dtype": "float32", "shape": ["B", CHUNK_DIM], "space": "latent"}
        codes = [encoder(path) for path in paths]
        for part, module, given, out, values in (("encoder", encoder, joints, latent, paths), ("decoder", decoder, latent, joints, codes)):
            key = f"{hand.name}/{part}"
            cases = [({given["name"]: v.numpy()}, run_torch(module, {given["name"]: v.numpy()}, [out["name"]])) for v in values]
            exported.graphs[key] = to_onnx(module, {given["name"]: values[1]}, [out["name"]])
            exported.golden[key] = cases
            exported.parity[key] = check_parity(exported.graphs[key], cases, PARITY, key)
            exported.specs[key] = {"inputs": [given], "outputs": [out], "dynamic": {"B": [1, 256]}, "golden": {"atol": PARITY, "rtol": 1e-4}}
