# SPDX-License-Identifier: Apache-2.0
"""Random tabletop scenes with ground truth: families of things, tables, cameras and the noise of depth cameras."""

from dex_learn.tabletop.families import FAMILIES
from dex_learn.tabletop.noise import LEVELS, DepthNoise, add_noise
from dex_learn.tabletop.objects import PALETTE, SPLITS, Thing, draw_of, draw_thing
from dex_learn.tabletop.scene import RenderedScene, render

__all__ = ["FAMILIES", "LEVELS", "PALETTE", "SPLITS", "DepthNoise", "RenderedScene", "Thing", "add_noise", "draw_of", "draw_thing", "render"]
