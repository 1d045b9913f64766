# SPDX-License-Identifier: Apache-2.0
"""``dex bundle import point_sam``: Point-SAM's released weights as a bundle that runs without torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dex_core.errors import BundleError
from dex_learn.point_sam.bundle import COLOURS, NAME, Options, import_point_sam
from dex_learn.point_sam.shape import VARIANTS

EXAMPLES = """examples:
  dex bundle import point_sam model.safetensors                                  the released ViT-L, 1024 patches of 256 points
  dex bundle import point_sam model.safetensors --patches 512 --patch-size 64    the same weights, a third of the time on a CPU"""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit status. Raises DexError where the file is refused."""
    options = _parser().parse_args(list(argv))
    variant = VARIANTS.get(options.variant)
    text_file = options.license or options.file.with_name("LICENSE")
    if not text_file.is_file():
        message = f"{text_file} does not exist; the weights' licence text must go with them: --license FILE"
        raise BundleError(message, code="licence_refused")
    chosen = Options(
        licence=text_file.read_text("utf-8"), licence_name=options.license_name, colours=options.colours,
        patches=options.patches or (variant and variant.patches), patch_size=options.patch_size or (variant and variant.patch_size),
    )
    digest = import_point_sam(options.file, options.out, chosen)
    sys.stdout.write(f"{options.out}\n  hash {digest}\n  check it:  dex bundle verify {options.out} --cell none\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dex bundle import point_sam", description=f"{__doc__}\n\n{EXAMPLES}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="the released weights, model.safetensors")
    parser.add_argument("--out", type=Path, default=Path(NAME), help="folder of the bundle, replaced if it is there (default: ./%(default)s)")
    parser.add_argument("--license", type=Path, help="the weights' licence text (default: LICENSE beside FILE)")
    parser.add_argument("--license-name", default="MIT", help="its SPDX name, as their publisher states it (default: %(default)s)")
    parser.add_argument("--variant", choices=tuple(VARIANTS), help="whose patches to take (default: the variant with the file's transformer)")
    parser.add_argument("--patches", type=int, help="number of patches; no weight depends on it")
    parser.add_argument("--patch-size", type=int, help="points of each patch; no weight depends on it")
    words = "what happens to colours in the graph: as in upstream's training and evaluation, or as in its demo (default: %(default)s)"
    parser.add_argument("--colours", choices=tuple(COLOURS), default="training", help=words)
    return parser
