# SPDX-License-Identifier: Apache-2.0
"""What the policy speaks of, in order: tasks, objects, sides, steps of a chunk, columns of a pose; and which seeds are for what."""

from __future__ import annotations

from dex_core.bundle.manifest import ImageSpec
from dex_core.errors import DexError
from dex_core.transforms import picture_input

SIDES = ("left", "right")
TASKS = ("push_cans", "reorganize_lemons", "rest")
OBJECTS = ("left_can", "right_can", "lemon", "lime", "bowl")
OF_TASK = {"push_cans": ("left_can", "right_can"), "reorganize_lemons": ("lemon", "lime", "bowl")}
IS_FRUIT = tuple(name in ("lemon", "lime") for name in OBJECTS)
SEEN_BY_RIGHT = (1, 0, 3, 2, 4)
"""The objects as the right side counts them: its own first."""

IMAGE = ImageSpec(input="image", height=224, width=224)
"""How a picture of the cell's camera comes to the network: drawn for training, live and in replay by the same transforms."""
to_input = picture_input(IMAGE)

STEPS, DT_S = 64, 0.05
HAND_STEPS = (0, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 63)
"""Steps at which the hands' codes are given; between them they are interpolated."""
PREVIOUS_STEPS = (0, 8, 16, 24, 40, 63)
"""Steps of the chunk before that the policy looks at."""

DEMO_SEEDS = (0, 1000)
SCORE_SEEDS = (1000, 2000)
DAGGER_SEEDS = (10_000, 20_000)
RESERVED_FROM = 100_000


def check_unseen(seeds: range) -> None:
    """Raises DexError when a score would use seeds that are trained on."""
    for low, high in (DEMO_SEEDS, DAGGER_SEEDS):
        if seeds.start < high and low < seeds.stop:
            raise DexError(f"seeds {seeds.start} to {seeds.stop - 1} overlap the training seeds {low} to {high - 1}")
