# SPDX-License-Identifier: Apache-2.0
"""One hand's encoder and decoder of a latent space, per frame or per chunk, with the guard against latents no pose could have made."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.bundle.load import Bundle
from dex_core.errors import BundleError, ShapeError
from dex_core.runtime import run_rows
from dex_core.types import Array, frozen_array

GUARDED = 4
"""The guard looks at every so many-th latent of a chunk and at its last one."""


class DecodedLatents(NamedTuple):
    """Result of decoding K latents into T postures; T is K, or the frames of a chunk.

    Every posture is decoded, but only every fourth latent and the last one are encoded again: that is all the guard knows. Other latents are given
    the figures of the nearest of these, at most two steps away, the earlier one of two. In a chunk that leaves the space for a step or three
    between them the guard sees nothing.

    Attributes:
        position_rad: (T, n) inside the limits [rad], in the order of ``LatentDecoder.joints``.
        residual: (K,) ||E(D(z)) - z|| of the nearest guarded latent z, in the latent's own unit.
        flagged: (K,) that residual is above the 99 % quantile of training poses: the latent lies off the space.
    """

    position_rad: Array
    residual: Array
    flagged: np.ndarray


class LatentDecoder:
    """Encoder and decoder of one embodiment in a loaded latent bundle.

    In a space of unit ``frame`` a posture is a latent: T postures, T latents. In a space of unit ``chunk`` a latent is ``frames`` postures:
    one latent goes in and a whole chunk comes out.

    Args:
        bundle: kind ``latent_space``.
        embodiment: e.g. ``left_inspire``.

    Attributes:
        joints: names without the side's prefix.
        lower_rad, upper_rad: (n,) limits the graphs were trained with [rad].
        dim: latent dimension.
        unit: ``frame`` or ``chunk``. frames: postures of one latent; 1 for a frame.
        residual_q99: 99 % quantile of the round-trip residual on training poses.
        accepted_hashes: sha256 of every graph of the bundle: a latent pinned to any of them belongs to this space.
    """

    def __init__(self, bundle: Bundle, embodiment: str) -> None:
        if bundle.manifest.kind != "latent_space" or embodiment not in bundle.embodiments:
            raise BundleError(
                f"bundle {bundle.manifest.name!r} ({bundle.manifest.kind}) cannot decode for {embodiment!r}; it knows {list(bundle.embodiments)}",
                code="space_mismatch",
            )
        e = bundle.embodiments[embodiment]
        n = len(e.joints)
        self.embodiment = embodiment
        self.joints = e.joints
        self.lower_rad = frozen_array(e.lower_rad, (n,), f"{embodiment} lower limits")
        self.upper_rad = frozen_array(e.upper_rad, (n,), f"{embodiment} upper limits")
        latent = bundle.manifest.spaces.latent
        assert latent is not None  # the kind's manifest check
        self.dim, self.residual_q99 = latent.dim, latent.residual_q99
        self.unit, self.frames = latent.unit, latent.frames
        self.accepted_hashes = frozenset(bundle.graph_sha256(g) for g in bundle.manifest.graphs)
        self._encoder = bundle.sessions[f"{embodiment}/encoder"]
        self._decoder = bundle.sessions[f"{embodiment}/decoder"]

    def encode(self, position_rad: ArrayLike) -> Array:
        """(T, n) joints [rad] -> (T, dim) latents, in a chunk's space (frames, n) -> (1, dim); joints outside the limits are taken at the limit.

        Raises:
            ShapeError, NonFiniteError: another number of joints or of frames, or a number that is not finite.
        """
        q = frozen_array(position_rad, (None, len(self.joints)), f"{self.embodiment} joints to encode")
        if self.unit == "chunk" and len(q) != self.frames:
            raise ShapeError(f"{self.embodiment}: {len(q)} frames to encode; a latent of this space is a chunk of exactly {self.frames}")
        return run_rows(self._encoder, self._rows(np.clip(q, self.lower_rad, self.upper_rad))).astype(np.float64)

    def decode(self, latents: ArrayLike) -> DecodedLatents:
        """(K, dim) latents -> K postures, in a chunk's space (1, dim) -> ``frames`` postures, inside the limits, residual and flags.

        Raises:
            ShapeError, NonFiniteError: another width, more than one latent for a chunk, or a number that is not finite.
        """
        z = frozen_array(latents, (None, self.dim), f"{self.embodiment} latents", dtype=np.float32)
        if self.unit == "chunk" and len(z) != 1:
            text = f"{self.embodiment}: {len(z)} latents; one latent of this space is a whole chunk of {self.frames} frames, so exactly 1 is allowed"
            raise ShapeError(text)
        q = run_rows(self._decoder, z)
        rows, nearest = _guarded(len(z))
        residual = np.linalg.norm(run_rows(self._encoder, q[rows]) - z[rows], axis=1)[nearest].astype(np.float64)  # (K,)
        positions = np.minimum(np.maximum(q.reshape(-1, len(self.joints)), self.lower_rad), self.upper_rad)
        return DecodedLatents(positions, residual, residual > self.residual_q99)

    def _rows(self, q: Array) -> Array:
        """Postures as the encoder takes them: (T, n), or (1, frames, n)."""
        return q[None] if self.unit == "chunk" else q


@cache
def _guarded(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of ``count`` latents that the guard encodes again, and for every latent which of these is the nearest."""
    rows = np.unique(np.append(np.arange(0, count, GUARDED), count - 1))
    nearest = np.abs(np.arange(count)[:, None] - rows).argmin(axis=1)
    rows.setflags(write=False)
    nearest.setflags(write=False)
    return rows, nearest
