# SPDX-License-Identifier: Apache-2.0
"""What the commands have in common that render scenes, train a network on them and write a bundle."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from dex_core.errors import DexError

Handler = Callable[[argparse.Namespace], int]


def add_learner(commands: argparse._SubParsersAction, handler: Handler, words: str, examples: str, *, threads: int = 1) -> argparse.ArgumentParser:
    """A command of ``dex learn`` named as its handler, with the options that all have.

    Args:
        commands: of the parser of ``dex learn``.
        handler: runs it; its bundle is ``models/tabletop_`` and its name.
        words: what it does; the first sentence is what the list of commands shows.
        examples: shown below.
        threads: default.
    """
    name = handler.__name__
    parser = commands.add_parser(
        name, help=words.split(".")[0], description=f"{words}\n\n{examples}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(handler=handler)
    parser.add_argument("--out", type=Path, help=f"folder of the bundle (models/tabletop_{name})")
    parser.add_argument("--seed", type=int, default=1, help="of weights and of what is drawn in training (%(default)s)")
    parser.add_argument("--threads", type=int, default=threads, help="CPU threads of torch (%(default)s)")
    parser.add_argument("--work", type=Path, default=Path(f"/tmp/dex_{name}"), help="folder for what is rendered and the checkpoint (%(default)s)")
    parser.add_argument("--code", default="", help="revision of the code, for the manifest; needed where the code is not in a git checkout")
    return parser


def check_counts(arguments: argparse.Namespace, *names: str) -> None:
    """Raises DexError ``bad_argument`` for the first of these options that is less than 1."""
    for name in names:
        if getattr(arguments, name) < 1:
            raise DexError(f"--{name} {getattr(arguments, name)}: at least 1", code="bad_argument")
