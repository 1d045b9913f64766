# SPDX-License-Identifier: Apache-2.0
"""The small completion network: patches of what is seen, seeds that ask them, a patch of surface unfolded from every seed.

The seeds start where geometry alone would put them: on seen points, on their mirror images behind a plane that the network places, and below
both on what the thing stands on. Cans, boxes and bowls are nearly whole then, and the network learns what is missing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dex_learn.completion.data import SEEN
from dex_learn.points import farthest_points, gather, group, nearest

PATCHES, NEIGHBOURS = 64, 16
SEEN_SEEDS, MIRRORED_SEEDS, FLOOR_SEEDS = 48, 48, 32
SEEDS, UNFOLDED = SEEN_SEEDS + MIRRORED_SEEDS + FLOOR_SEEDS, 16
WIDTH, HEADS, GLOBAL = 96, 4, 256
BLOCKS_IN, BLOCKS_OUT = 2, 3
SHIFT, SPREAD = 1.0, 0.5
"""How far a seed may move, and half of what its patch may span, in units."""
DEEPEST = 1.5
"""The mirror stands at most so far before or behind the middle of what is seen, in units."""


def _layers(*widths: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for a, b in zip(widths, widths[1:], strict=False):
        parts += [nn.Linear(a, b), nn.GELU()]
    return nn.Sequential(*parts[:-1])


class Attention(nn.Module):
    """Asks ``source`` by the tokens; pre-norm, with a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.norm_source = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.ask, self.offer, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens: Tensor, source: Tensor) -> Tensor:
        """(B, T, W), (B, S, W) -> (B, T, W)."""
        query, (key, value) = self._heads(self.ask(self.norm(tokens))), self.offer(self.norm_source(source)).chunk(2, dim=-1)
        found = functional.scaled_dot_product_attention(query, self._heads(key), self._heads(value))
        return tokens + self.out(found.transpose(1, 2).reshape(tokens.shape))

    @staticmethod
    def _heads(values: Tensor) -> Tensor:
        return values.reshape(values.shape[0], values.shape[1], HEADS, WIDTH // HEADS).transpose(1, 2)


class Block(nn.Module):
    """Attention among the tokens, to another set if there is one, and a small network."""

    def __init__(self, crossed: bool) -> None:
        super().__init__()
        self.among = Attention()
        self.across = Attention() if crossed else None
        self.norm, self.small = nn.LayerNorm(WIDTH), _layers(WIDTH, 2 * WIDTH, WIDTH)

    def forward(self, tokens: Tensor, source: Tensor | None = None) -> Tensor:
        """(B, T, W) -> (B, T, W)."""
        tokens = self.among(tokens, tokens)
        if self.across is not None and source is not None:
            tokens = self.across(tokens, source)
        return tokens + self.small(self.norm(tokens))


class Completer(nn.Module):
    """Seen points in the tabletop frame -> seeds, the whole cloud and its normals."""

    def __init__(self) -> None:
        super().__init__()
        self.point, self.patch = _layers(6, 48, WIDTH), _layers(2 * WIDTH, WIDTH, WIDTH)
        self.place = _layers(3, WIDTH, WIDTH)
        self.blocks_in = nn.ModuleList(Block(False) for _ in range(BLOCKS_IN))
        self.whole = _layers(2 * WIDTH, GLOBAL, GLOBAL)
        self.mirror = _layers(GLOBAL, WIDTH, 1)
        self.seed_place, self.seed_whole, self.seed_kind = _layers(3, WIDTH, WIDTH), nn.Linear(GLOBAL, WIDTH), nn.Parameter(torch.zeros(SEEDS, WIDTH))
        self.blocks_out = nn.ModuleList(Block(True) for _ in range(BLOCKS_OUT))
        self.shift = _layers(WIDTH, WIDTH, 3)
        self.from_seed, self.from_grid = nn.Linear(WIDTH, 96), nn.Linear(2, 96, bias=False)
        self.unfold = nn.Sequential(nn.GELU(), nn.Linear(96, 48), nn.GELU(), nn.Linear(48, 6))
        self.register_buffer("level", torch.tensor([1.0, 1.0, 0.0]), persistent=False)
        side = torch.linspace(-1.0, 1.0, round(UNFOLDED**0.5))
        self.register_buffer("grid", torch.cartesian_prod(side, side), persistent=False)

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, SEEN, 3) in the order of farthest-point sampling -> (B, SEEDS, 3), (B, SEEDS * UNFOLDED, 3), and normals of the latter, not unit."""
        tokens = self._encode(seen)
        whole = self.whole(torch.cat((tokens.amax(1), tokens.mean(1)), dim=-1))
        seeds = self._seeds(seen, whole)
        asked = self.seed_place(seeds) + self.seed_whole(whole).unsqueeze(1) + self.seed_kind
        for block in self.blocks_out:
            asked = block(asked, tokens)
        seeds = seeds + SHIFT * torch.tanh(self.shift(asked))
        folded = self.unfold(self.from_seed(asked).unsqueeze(2) + self.from_grid(self.grid))  # (B, SEEDS, UNFOLDED, 6)
        cloud = seeds.unsqueeze(2) + SPREAD * torch.tanh(folded[..., :3])
        return seeds, cloud.flatten(1, 2), folded[..., 3:].flatten(1, 2)

    def _seeds(self, seen: Tensor, whole: Tensor) -> Tensor:
        """(B, SEEDS, 3): seen points, the same mirrored in a plane across the view, and some of both put down to height 0."""
        depth = DEEPEST * torch.tanh(self.mirror(whole)).unsqueeze(1)  # (B, 1, 1)
        front = seen[:, :SEEN_SEEDS]
        back = torch.cat((-2.0 * depth - front[..., :1], front[..., 1:]), dim=-1)
        half = FLOOR_SEEDS // 2
        low = torch.cat((front[:, :half], back[:, :half]), dim=1) * self.level
        return torch.cat((front, back[:, :MIRRORED_SEEDS], low), dim=1)

    def _encode(self, seen: Tensor) -> Tensor:
        """(B, PATCHES, W): the first points are the farthest from each other, each with its neighbours is a patch."""
        centres = seen[:, :PATCHES]
        index, _ = nearest(centres, seen, NEIGHBOURS)
        around = group(seen, centres, index)
        inside = self.point(torch.cat((4.0 * around, centres.unsqueeze(2).expand_as(around)), dim=-1))
        tokens = self.patch(torch.cat((inside.amax(2), inside.mean(2)), dim=-1)) + self.place(centres)
        for block in self.blocks_in:
            tokens = block(tokens)
        return tokens


class Exported(nn.Module):
    """What the bundle runs: any order of points in, coarse and fine clouds and unit normals out."""

    def __init__(self, net: Completer) -> None:
        super().__init__()
        self.net = net

    def forward(self, partial: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, 3) -> (B, SEEDS, 3), (B, M, 3), (B, M, 3)."""
        seeds, cloud, normals = self.net(gather(partial, farthest_points(partial, SEEN)))
        return seeds, cloud, functional.normalize(normals, dim=-1)
