# SPDX-License-Identifier: Apache-2.0
"""What of a chunk will be executed before the next one can arrive: what the next one has to begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dex_core.errors import ShapeError
from dex_core.types import Array, frozen_array


@dataclass(frozen=True)
class Committed:
    """Rows of the chunk before, at the times of the rows of the chunk to come.

    Attributes:
        steps: interface -> (k, columns) in the policy's own action space; row i is for row ``start_step + i`` of the chunk to come. As far as
            the chunk before reaches.
        start_step: row of the chunk to come that the first of them is for.
        frozen: the first so many of them will be executed whatever the next chunk says; the others are what the chunk before would go on with.
    """

    steps: Mapping[str, Array]
    start_step: int = 0
    frozen: int = 0

    def __post_init__(self) -> None:
        steps = {name: frozen_array(rows, (None, None), f"committed rows of {name}") for name, rows in self.steps.items()}
        lengths = {len(rows) for rows in steps.values()}
        if len(lengths) != 1:
            raise ShapeError(f"committed rows must be of one number for all interfaces, at least one interface: {[*map(len, steps.values())]}")
        if self.start_step < 0 or not 0 <= self.frozen <= min(lengths):
            raise ShapeError(f"start_step {self.start_step}, frozen {self.frozen} of {min(lengths)} rows; allowed: 0 or more, frozen within them")
        object.__setattr__(self, "steps", steps)

    @property
    def known(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.steps.values())))
