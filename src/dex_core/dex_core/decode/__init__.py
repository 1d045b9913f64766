# SPDX-License-Identifier: Apache-2.0
"""From embodiment-neutral actions to one hand's joints: latents by its decoder, fingertips by inverse kinematics."""

from dex_core.decode.fingertip import FingertipSolution, FingertipSolver
from dex_core.decode.latent import DecodedLatents, LatentDecoder
from dex_core.decode.slices import SliceDecoder, columns_of

__all__ = ["DecodedLatents", "FingertipSolution", "FingertipSolver", "LatentDecoder", "SliceDecoder", "columns_of"]
