# SPDX-License-Identifier: Apache-2.0
"""Policies as lockstep actors: an exported graph, a bundle through the very code of the policy node, and the trunk in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dex_core.bundle import LoadOptions, load_bundle
from dex_core.config import CellConfig
from dex_core.decode import poses_from_columns, tool_pose_columns
from dex_core.policy import base
from dex_core.policy.chunk_policy import ChunkPolicy
from dex_core.policy.runtime import mounted_hands
from dex_core.text import tokenize
from dex_core.types import JointState
from dex_learn.export import session_of
from dex_learn.policy.codes import HandCode
from dex_learn.policy.embodied import Embodied
from dex_learn.policy.layout import HAND_STEPS, OBJECTS, PREVIOUS_STEPS, SIDES, TASKS, to_input
from dex_learn.policy.train import Sentences
from dex_learn.policy.trunk import Trunk, interpolation, tools_of
from dex_learn.policy.vision import VisionNet
from dex_sim.lockstep import Observation, ToolChunk

Array = NDArray[np.float64]


class GraphPolicy:
    """Observation -> (64, n) joint targets [rad] by an exported graph and the mounted hands' decoders; remembers its last chunk.

    Args:
        graph: ONNX as ``bundle.export_graph`` makes it.
        body: decoders of the mounted hands.
    """

    def __init__(self, graph: bytes, body: Embodied) -> None:
        self._session, self._body = session_of(graph), body
        self._previous: Array | None = None

    def reset(self) -> None:
        """A new goal begins."""
        self._previous = None
        self._body.reset()

    def __call__(self, observation: Observation) -> Array:
        """See the class. Raises ValueError without a picture."""
        if observation.image is None:
            raise ValueError("a policy needs a picture in the observation")
        previous = self._body.encode(observation.joints) if self._previous is None else self._previous
        inputs = {
            "image": to_input(observation.image)[None], "tokens": tokenize(observation.instruction),
            "poses": self._body.poses(observation.joints).astype(np.float32)[None], "previous_latents": previous.astype(np.float32)[None],
        }
        chunk = self._session.run(["chunk"], inputs)[0][0].astype(np.float64)
        self._previous = chunk[:, 18:].reshape(len(chunk), 2, -1).transpose(1, 0, 2)
        return self._body.joints(chunk, observation.joints)


class BundlePolicy:
    """The same by ``ChunkPolicy``: checks, ranges and memory are those of the policy node."""

    def __init__(self, folder: Path, cell: CellConfig, make_body: Callable[[object], Embodied]) -> None:
        bundle = load_bundle(folder, LoadOptions(cell=cell))
        assert bundle.space is not None  # a chunk policy with latents was loaded with its space
        self.hash = bundle.hash
        self._cell, self._policy, self._body = cell, ChunkPolicy(bundle), make_body(bundle.space)
        self._mounted = mounted_hands(cell, bundle)
        self.inference_ms: list[float] = []
        self.flags: list[str] = []

    def reset(self) -> None:
        """A new goal begins."""
        self._policy.reset()
        self._body.reset()

    def __call__(self, observation: Observation) -> Array:
        """See the class."""
        prediction = self._policy.infer(self._convert(observation))
        self.inference_ms.append(prediction.inference_ms)
        self.flags += prediction.flags
        names = [f"{side}_{part}" for part in ("arm", "hand") for side in SIDES]
        slices = {s.interface: s.data for s in prediction.chunk.slices}
        return self._body.joints(np.concatenate([slices[name] for name in names], axis=1), observation.joints)

    def _convert(self, observation: Observation) -> base.Observation:
        assert observation.image is not None
        stamp, joints = round(observation.time_s * 1e9), {}
        for name, q in observation.joints.items():
            names = self._cell.interface(name).names
            joints[name] = JointState(names, q, np.zeros(len(names)), np.zeros(len(names)), stamp)
        columns = self._body.poses(observation.joints).reshape(2, 9)
        poses = {f"{side}_arm": poses_from_columns(row) for side, row in zip(SIDES, columns, strict=True)}
        images = {camera: observation.image for camera in self._policy.spec.cameras}
        return base.Observation(stamp, images, joints, observation.instruction, poses=poses, mounted=self._mounted)


class TrunkActor:
    """(observation, task, previous hand joints (64, 2, n)) -> ToolChunk, by a trunk in training.

    Args:
        trunk, codes, sentences: the policy without eyes, hand codes by side, the words.
        vision: the eyes; None: the truth with errors, a fixed part per episode and a changing one.
        bias_m, noise_m: standard deviations of those errors [m].
        seed: of errors and sentences.
    """

    def __init__(
        self, trunk: Trunk, codes: Mapping[str, HandCode], sentences: Sentences, vision: VisionNet | None = None, *, bias_m: float = 0.003,
        noise_m: float = 0.002, seed: int = 0,
    ) -> None:
        self._trunk, self._codes, self._sentences, self._vision = trunk.eval(), codes, sentences, vision
        self._bias_m, self._noise_m = bias_m, noise_m
        self._rng = np.random.default_rng([seed, 0xAC7])
        self._generator = torch.Generator().manual_seed(seed)
        self._between = interpolation(HAND_STEPS)  # (13, 64)
        self._bias = np.zeros((len(OBJECTS), 3))
        self._last_s = np.inf

    def __call__(self, observation: Observation, task: str, previous: Array) -> ToolChunk:
        """See the class."""
        if observation.time_s < self._last_s:
            self._bias = self._rng.normal(0.0, self._bias_m, (len(OBJECTS), 3)) * self._rng.choice([0.0, 1.0, 1.5])
        self._last_s = observation.time_s
        tokens = self._sentences.draw(torch.tensor([TASKS.index(task)]), self._generator)
        back = np.stack([self._codes[side].encode(previous[list(PREVIOUS_STEPS), i]) for i, side in enumerate(SIDES)])
        tools = tools_of(_tensor(tool_pose_columns(observation.tool_poses).reshape(1, 18)))
        with torch.no_grad():
            objects, there = self._seen(observation, tools)
            place, heading, codes = self._trunk(objects, there, tools, tokens, _tensor(back[None]))
        yaw = np.arctan2(heading[0, ..., 1].numpy(), heading[0, ..., 0].numpy())
        paths = np.concatenate([place[0].numpy(), np.unwrap(yaw, axis=0)[..., None]], axis=2).astype(np.float64)
        hands = {side: self._codes[side].decode((codes[0, i].numpy().T @ self._between).T) for i, side in enumerate(SIDES)}
        return ToolChunk(paths, hands)

    def _seen(self, observation: Observation, tools: Tensor) -> tuple[Tensor, Tensor]:
        if self._vision is not None:
            if observation.image is None:
                raise ValueError("an actor with eyes needs a picture in the observation")
            return self._vision(torch.from_numpy(to_input(observation.image))[None], tools)
        objects, there = np.zeros((1, len(OBJECTS), 3)), np.zeros((1, len(OBJECTS)))
        for k, name in enumerate(OBJECTS):
            if name in observation.objects_m:
                objects[0, k], there[0, k] = observation.objects_m[name] + self._bias[k] + self._rng.normal(0.0, self._noise_m, 3), 1.0
        return _tensor(objects), _tensor(there)


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


__all__ = ["BundlePolicy", "GraphPolicy", "TrunkActor"]
