# SPDX-License-Identifier: Apache-2.0
"""``python -m dex_learn.cli COMMAND`` (or ``dex learn COMMAND``): everything that made the models under models/."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dex_core.errors import DexError
from dex_learn.completion.command import add_completion
from dex_learn.latent.command import add_latents
from dex_learn.picker.command import add_picker
from dex_learn.policy.command import add_commands as add_policy
from dex_learn.segmentation.command import add_segmentation


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    arguments = build_parser().parse_args(argv)
    try:
        return int(arguments.handler(arguments))
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "onnx", "rich"):
            raise
        sys.stderr.write(f"{error.name} is not installed; learning needs it:  .venv/bin/pip install -r requirements-learn.txt\n")
        return 2
    except DexError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(prog="dex learn", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_latents(commands)
    add_completion(commands)
    add_policy(commands)
    add_picker(commands)
    add_segmentation(commands)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
