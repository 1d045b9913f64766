# SPDX-License-Identifier: Apache-2.0
"""SnowflakeNet (Xiang et al., ICCV 2021; TPAMI 2023) with the parameter names of its released checkpoints.

A global feature of the partial cloud makes 256 seeds; 512 points of seeds and partial cloud together are split again and again, each child moved
by what attention over its neighbourhood and the parents' last displacement say. Features are channels first, (B, C, N), as the weights are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dex_learn.points import farthest_points, gather, nearest

NEIGHBOURS = 16
HIDDEN, FEATURES = 64, 128


@dataclass(frozen=True)
class Variant:
    """One released configuration.

    Attributes:
        up_factors: children of every point, level by level. points: of the partial cloud it was trained with.
        features: width of the global feature. seeds: points made from it. first: points that are split.
        radius: children of level i are moved by at most radius^-i.
        patches: points kept of the cloud in the two levels of the encoder.
    """

    up_factors: tuple[int, ...]
    points: int = 2048
    features: int = 512
    seeds: int = 256
    first: int = 512
    radius: float = 1.0
    patches: tuple[int, int] = (512, 128)

    @property
    def counts(self) -> tuple[int, ...]:
        """Points of every cloud it gives, coarse to fine."""
        out = [self.seeds, self.first * self.up_factors[0]]
        for factor in self.up_factors[1:]:
            out.append(out[-1] * factor)
        return tuple(out)


VARIANTS = {"pcn": Variant((1, 4, 8)), "c3d": Variant((1, 2, 2)), "shapenet": Variant((1, 4, 4), points=8192)}


def _rows(features: Tensor, index: Tensor) -> Tensor:
    """(B, C, N) at (B, S, K) -> (B, C, S, K)."""
    return gather(features.transpose(1, 2), index).permute(0, 3, 1, 2)


def _neighbours(places: Tensor, among: Tensor) -> Tensor:
    """Nearest of ``among`` (B, 3, N) to each of ``places`` (B, 3, S): (B, S, NEIGHBOURS)."""
    return nearest(places.transpose(1, 2), among.transpose(1, 2), NEIGHBOURS)[0]


def _chain(*widths: int) -> nn.Sequential:
    """Pointwise layers with ReLU between them, at 0, 2, 4, ..."""
    parts: list[nn.Module] = []
    for a, b in zip(widths, widths[1:], strict=False):
        parts += [nn.Conv1d(a, b, 1), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


class Chain(nn.Module):
    """The same below the name ``mlp``."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.mlp = _chain(*widths)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) -> (B, C', N)."""
        return self.mlp(x)


class Residual(nn.Module):
    """Two pointwise layers beside one."""

    def __init__(self, given: int, hidden: int, out: int) -> None:
        super().__init__()
        self.conv_1, self.conv_2, self.conv_shortcut = nn.Conv1d(given, hidden, 1), nn.Conv1d(hidden, out, 1), nn.Conv1d(given, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, given, N) -> (B, out, N)."""
        return self.conv_2(torch.relu(self.conv_1(x))) + self.conv_shortcut(x)


class Pointwise(nn.Module):
    """One layer of a patch network. Its normalisation is in every checkpoint and used by none of these networks."""

    def __init__(self, given: int, out: int, last: bool) -> None:
        super().__init__()
        self.conv, self.bn, self._last = nn.Conv2d(given, out, (1, 1)), nn.BatchNorm2d(out), last

    def forward(self, x: Tensor) -> Tensor:
        """(B, given, S, K) -> (B, out, S, K)."""
        return self.conv(x) if self._last else torch.relu(self.conv(x))


class Patches(nn.Module):
    """Fewer points, each with the largest features of its neighbourhood; ``count`` None: one for the whole cloud."""

    def __init__(self, count: int | None, given: int, hidden: int, out: int) -> None:
        super().__init__()
        self._count = count
        self.mlp_conv = nn.Sequential(Pointwise(given + 3, hidden, False), Pointwise(hidden, out, True))

    def forward(self, places: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, N), (B, C, N) -> (B, 3, S), (B, out, S)."""
        if self._count is None:
            whole = torch.cat((places, features), dim=1).unsqueeze(2)
            return torch.zeros_like(places[..., :1]), self.mlp_conv(whole).amax(3)
        points = places.transpose(1, 2)
        centres = gather(points, farthest_points(points, self._count, skip_origin=True)).transpose(1, 2)
        index = _neighbours(centres, places)
        around = torch.cat((_rows(places, index) - centres.unsqueeze(3), _rows(features, index)), dim=1)
        return centres, self.mlp_conv(around).amax(3)


def _attend(net: nn.Module, places: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Vector attention of every point over its neighbours, by difference of features and of places: (B, C, N)."""
    index = _neighbours(places, places)
    where = net.pos_mlp(places.unsqueeze(3) - _rows(places, index))  # (B, C, N, K)
    weight = torch.softmax(net.attn_mlp(query.unsqueeze(3) - _rows(key, index) + where), dim=-1)
    return (weight * (value.unsqueeze(3) + where)).sum(-1)


def _small(given: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(given, hidden, 1), nn.BatchNorm2d(hidden), nn.ReLU(), nn.Conv2d(hidden, out, 1))


class Attention(nn.Module):
    """The encoder's: over its own features, with a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_key, self.conv_query, self.conv_value = (nn.Conv1d(HIDDEN, HIDDEN, 1) for _ in range(3))
        self.pos_mlp, self.attn_mlp = _small(3, 64, HIDDEN), _small(HIDDEN, 4 * HIDDEN, HIDDEN)
        self.linear_start, self.linear_end = nn.Conv1d(width, HIDDEN, 1), nn.Conv1d(HIDDEN, width, 1)

    def forward(self, features: Tensor, places: Tensor) -> Tensor:
        """(B, C, N), (B, 3, N) -> (B, C, N)."""
        x = self.linear_start(features)
        return self.linear_end(_attend(self, places, self.conv_query(x), self.conv_key(x), self.conv_value(x))) + features


class SkipAttention(nn.Module):
    """The decoder's: asks the displacement features of the level before."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp_v = Residual(2 * FEATURES, FEATURES, FEATURES)
        self.conv_key, self.conv_query, self.conv_value = (nn.Conv1d(FEATURES, HIDDEN, 1) for _ in range(3))
        self.pos_mlp, self.attn_mlp = _small(3, 64, HIDDEN), _small(HIDDEN, 4 * HIDDEN, HIDDEN)
        self.conv_end = nn.Conv1d(HIDDEN, FEATURES, 1)

    def forward(self, places: Tensor, key: Tensor, query: Tensor) -> Tensor:
        """(B, 3, N), twice (B, FEATURES, N) -> (B, FEATURES, N)."""
        value = self.mlp_v(torch.cat((key, query), dim=1))
        found = _attend(self, places, self.conv_query(query), self.conv_key(key), self.conv_value(value))
        return self.conv_end(found) + value


class Split(nn.Module):
    """One level: every point becomes ``factor`` children, each moved (snowflake point deconvolution)."""

    def __init__(self, features: int, factor: int, reach: float) -> None:
        super().__init__()
        self._factor, self._reach = factor, reach
        self.mlp_1, self.mlp_2 = Chain(3, 64, FEATURES), Chain(2 * FEATURES + features, 256, FEATURES)
        self.skip_transformer = SkipAttention()
        self.mlp_ps, self.ps = Chain(FEATURES, 64, 32), nn.ConvTranspose1d(32, FEATURES, factor, factor, bias=False)
        self.mlp_delta_feature, self.mlp_delta = Residual(2 * FEATURES, FEATURES, FEATURES), Chain(FEATURES, 64, 3)

    def forward(self, places: Tensor, whole: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, 3, N), (B, F, 1), (B, FEATURES, N) or None -> (B, 3, N factor), (B, FEATURES, N factor)."""
        own = self.mlp_1(places)
        both = (own.amax(2, keepdim=True), whole)
        query = self.mlp_2(torch.cat((own, *(x.expand(-1, -1, places.shape[2]) for x in both)), dim=1))
        shape = self.skip_transformer(places, query if before is None else before, query)
        children = self.ps(self.mlp_ps(shape))
        moved = self.mlp_delta_feature(torch.cat((children, self._repeat(shape)), dim=1))
        return self._repeat(places) + self._reach * torch.tanh(self.mlp_delta(torch.relu(moved))), moved

    def _repeat(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(self._factor, dim=2)


class Encoder(nn.Module):
    """The partial cloud as one feature."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        first, second = variant.patches
        self.sa_module_1, self.transformer_1 = Patches(first, 3, 64, 128), Attention(128)
        self.sa_module_2, self.transformer_2 = Patches(second, 128, 128, 256), Attention(256)
        self.sa_module_3 = Patches(None, 256, 512, variant.features)

    def forward(self, places: Tensor) -> Tensor:
        """(B, 3, N) -> (B, F, 1)."""
        places, features = self.sa_module_1(places, places)
        features = self.transformer_1(features, places)
        places, features = self.sa_module_2(places, features)
        return self.sa_module_3(places, self.transformer_2(features, places))[1]


class Seeds(nn.Module):
    """The coarsest cloud from the feature alone."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.ps = nn.ConvTranspose1d(variant.features, 128, variant.seeds)
        self.mlp_1, self.mlp_2 = Residual(variant.features + 128, 128, 128), Residual(128, 64, 128)
        self.mlp_3, self.mlp_4 = Residual(variant.features + 128, 128, 128), _chain(128, 64, 3)

    def forward(self, whole: Tensor) -> Tensor:
        """(B, F, 1) -> (B, 3, seeds)."""
        spread = self.ps(whole)
        beside = whole.expand(-1, -1, spread.shape[2])
        inner = self.mlp_2(self.mlp_1(torch.cat((spread, beside), dim=1)))
        return self.mlp_4(self.mlp_3(torch.cat((inner, beside), dim=1)))


class Decoder(nn.Module):
    """Seeds and partial cloud together, thinned and split level by level."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self._first = variant.first
        self.decoder_coarse = Seeds(variant)
        self.uppers = nn.ModuleList(Split(variant.features, f, variant.radius**-i) for i, f in enumerate(variant.up_factors))

    def forward(self, whole: Tensor, partial: Tensor) -> list[Tensor]:
        """(B, F, 1), (B, N, 3) -> clouds (B, m, 3)."""
        clouds = [self.decoder_coarse(whole).transpose(1, 2)]
        both = torch.cat((clouds[0], partial), dim=1)
        places = gather(both, farthest_points(both.detach(), self._first, skip_origin=True)).transpose(1, 2)
        before = None
        for level in self.uppers:
            places, before = level(places, whole, before)
            clouds.append(places.transpose(1, 2))
        return clouds


class SnowflakeNet(nn.Module):
    """The whole network.

    Its farthest-point sampling leaves out points within sqrt(1e-3) of the origin, as the CUDA kernel its weights were trained with does.
    """

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.feat_extractor, self.decoder = Encoder(variant), Decoder(variant)

    def forward(self, partial: Tensor) -> tuple[Tensor, ...]:
        """(B, N, 3) -> clouds (B, m, 3), coarse to fine."""
        return tuple(self.decoder(self.feat_extractor(partial.transpose(1, 2)), partial))
