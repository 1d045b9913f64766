# SPDX-License-Identifier: Apache-2.0
"""Networks in training as actors of lockstep episodes: with the true picture, or with the trunk alone and imitated vision errors."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dex_core.images import to_policy_input
from dex_learn.latents import LATENT_DIM, HandCodec
from dex_learn.policy_net import STEPS, Trunk
from dex_learn.records import PREVIOUS_STEPS, TASKS
from dex_learn.train_trunk import Sentences
from dex_learn.vision_net import VisionNet
from dex_sim.lockstep import Observation

Array = NDArray[np.float64]


class NetActor:
    """(observation, task, previous hand joints (64, 12)) -> chunk (64, 26) [rad].

    Args:
        trunk, codec, sentences: the policy without eyes, the hands' latent space, the words.
        vision: the eyes; None: the truth with errors, a fixed part per episode and a changing one.
        bias_m, noise_m: standard deviations of those errors [m].
        seed: of errors and sentences.
    """

    def __init__(
        self, trunk: Trunk, codec: HandCodec, sentences: Sentences, vision: VisionNet | None = None, *, bias_m: float = 0.004,
        noise_m: float = 0.003, seed: int = 0,
    ) -> None:
        self._trunk, self._codec, self._sentences, self._vision = trunk.eval(), codec, sentences, vision
        self._bias_m, self._noise_m = bias_m, noise_m
        self._rng = np.random.default_rng([seed, 0xAC7])
        self._generator = torch.Generator().manual_seed(seed)
        self._bias = np.zeros(4)
        self._last_s = np.inf

    def __call__(self, observation: Observation, task: str, previous: Array) -> Array:
        """See the class."""
        if observation.time_s < self._last_s:
            self._bias = self._rng.normal(0.0, self._bias_m, 4) * self._rng.choice([0.0, 1.0, 1.5])
        self._last_s = observation.time_s
        tokens = self._sentences.draw(torch.tensor([TASKS.index(task)]), self._generator)
        with torch.no_grad():
            hands = torch.from_numpy(previous[list(PREVIOUS_STEPS)].reshape(-1, 6).astype(np.float32))
            latents = self._codec.encoder(hands).reshape(1, len(PREVIOUS_STEPS), 2, LATENT_DIM).permute(0, 2, 1, 3)
            joints = torch.from_numpy(observation.arm_joints_rad.astype(np.float32))[None]
            chunk = self._trunk(self._cans(observation), tokens, joints, latents)[0]
            fingers = self._codec.decoder(chunk[:, 14:].reshape(STEPS * 2, LATENT_DIM)).reshape(STEPS, 12)
        return np.concatenate([chunk[:, :14].numpy(), fingers.numpy()], axis=1).astype(np.float64)

    def _cans(self, observation: Observation) -> Tensor:
        if self._vision is None:
            true = np.concatenate([observation.cans_m["left_can"], observation.cans_m["right_can"]])
            seen = true + self._bias + self._rng.normal(0.0, self._noise_m, 4)
            return torch.from_numpy(seen.astype(np.float32))[None]
        if observation.image is None:
            raise ValueError("an actor with eyes needs a picture in the observation")
        return self._vision(torch.from_numpy(to_policy_input(observation.image))[None])
