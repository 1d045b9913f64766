# SPDX-License-Identifier: Apache-2.0
"""The picker's network: hashed words and a thing's features, read apart and then together, to one logit.

The inner product beside the joint layers is what makes it learn: which word goes with which feature is then a gradient from the first step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dex_core import text
from dex_perception.segment.candidates import FEATURES

WORD, READ, SEEN, JOINT = 24, 48, 48, 64
REACH = 5
"""Words that are read together: 'into the bowl' is not 'the bowl'."""
FARTHEST = 6.0
"""Standard deviations beyond which a feature says no more."""


class PickerNet(nn.Module):
    """tokens (B, 24) int64, things (B, FEATURES) -> logit (B, 1).

    Args:
        mean, std: (FEATURES,) of the features it is trained on.
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("std", std.float().clamp_min(1e-3))
        self.words = nn.Embedding(text.BUCKETS, WORD)
        self.places = nn.Parameter(torch.zeros(text.LENGTH, WORD))
        self.reader = nn.Conv1d(WORD, READ, REACH, padding=REACH // 2)
        self.told = nn.Sequential(nn.Linear(2 * READ, SEEN), nn.ReLU(), nn.Linear(SEEN, SEEN))
        self.seen = nn.Sequential(nn.Linear(FEATURES, 96), nn.ReLU(), nn.Linear(96, SEEN), nn.ReLU(), nn.Linear(SEEN, SEEN))
        self.joint = nn.Sequential(nn.Linear(3 * SEEN, JOINT), nn.ReLU(), nn.Linear(JOINT, JOINT), nn.ReLU(), nn.Linear(JOINT, 1))
        nn.init.normal_(self.words.weight, std=1.0)

    def forward(self, tokens: Tensor, things: Tensor) -> Tensor:
        """Above 0 where the words describe the thing."""
        return self.judge(self.read(tokens), things)

    def read(self, tokens: Tensor) -> Tensor:
        """(B, 24) tokens -> (B, SEEN) what they say."""
        there = (tokens > 0).float().unsqueeze(-1)
        read = torch.relu(self.reader(((self.words(tokens) + self.places) * there).transpose(1, 2))) * there.transpose(1, 2)
        return self.told(torch.cat([read.amax(dim=2), read.sum(dim=2) / there.sum(dim=1).clamp_min(1.0)], dim=1))

    def judge(self, told: Tensor, things: Tensor) -> Tensor:
        """(B, SEEN) and (B, FEATURES) -> (B, 1)."""
        seen = self.seen(((things - self.mean) / self.std).clamp(-FARTHEST, FARTHEST))
        both = told * seen
        return self.joint(torch.cat([told, seen, both], dim=1)) + both.sum(dim=1, keepdim=True) / SEEN**0.5
