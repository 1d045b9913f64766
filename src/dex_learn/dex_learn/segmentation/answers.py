# SPDX-License-Identifier: Apache-2.0
"""The network in torch as what the scores ask."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from dex_learn.segmentation.clouds import Cloud
from dex_learn.segmentation.net import ClickNet
from dex_learn.segmentation.scores import Answer, Ask, Open


def opened_by(net: ClickNet) -> Open:
    """Masks of a network in eval mode; of its masks the one it believes in most."""

    def open_cloud(cloud: Cloud, _: NDArray[np.float64]) -> Ask:
        points, colors = torch.from_numpy(cloud.points_m)[None], torch.from_numpy(cloud.colors)[None]

        @torch.no_grad()
        def ask(clicks_m: NDArray[np.float32], on: NDArray[np.bool_], logits: NDArray[np.float32] | None) -> Answer:
            labels = torch.from_numpy(on.astype(np.int64))[None]
            before = None if logits is None else torch.from_numpy(logits)[None]
            masks, believed = net(points, colors, torch.from_numpy(clicks_m)[None], labels, before)
            best = int(believed[0].argmax())
            return Answer(masks[0, best].numpy(), float(torch.sigmoid(believed[0, best])))

        return ask

    return open_cloud
