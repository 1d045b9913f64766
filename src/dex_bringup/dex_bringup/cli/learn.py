# SPDX-License-Identifier: Apache-2.0
"""`dex learn`: the commands of dex_learn."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Entry of the verb; dex_learn says itself when torch is missing."""
    from dex_learn.cli import main as learn

    return int(learn(list(argv)))
