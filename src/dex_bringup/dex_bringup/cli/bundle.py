# SPDX-License-Identifier: Apache-2.0
"""`dex bundle`: the commands of dex_policy.bundle_cli, with examples."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

EXAMPLES = """examples:
  dex bundle verify                          every bundle in models/, every check, in order, on this cell
  dex bundle verify ./mine --cell none       a bundle alone
  dex bundle verify xl_vla_tabletop --json
  dex bundle info xl_vla_tabletop            what its manifest says
  dex bundle create my_export --out models/my_policy          graphs and a bundle.yaml become a bundle
  dex bundle sign --new-key my.pem                            then:  dex bundle sign my_policy --key my.pem
  dex bundle verify my_policy --trust 3f0a...                 refused unless that key signed it
  dex bundle schema                                           JSON schema of manifest.yaml
  dex bundle import dexlatent checkpoint_epoch_1000.pt --out models/dexlatent
  dex bundle import point_sam model.safetensors --out models/point_sam
  dex bundle import snowflake ckpt-best-pcn_cd_l1.pth --out models/snowflake_pcn"""


def main(argv: Sequence[str]) -> int:
    """Entry of the verb: 0 only if every bundle passed."""
    from dex_policy.bundle_cli import main as bundle
    from dex_policy.bundle_cli import parser

    if not argv or argv[0] in ("-h", "--help"):
        top = parser()
        top.epilog, top.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
        top.parse_args(list(argv) or ["--help"])
    return int(bundle(list(argv), {"dexlatent": _dexlatent, "point_sam": _point_sam, "snowflake": _snowflake}))


def _dexlatent(argv: Sequence[str]) -> int:
    from dex_learn.dexlatent import main as dexlatent

    return int(dexlatent(argv))


def _point_sam(argv: Sequence[str]) -> int:
    from dex_learn.point_sam.command import main as point_sam

    return int(point_sam(argv))


def _snowflake(argv: Sequence[str]) -> int:
    from dex_learn.completion.snowflake_import import main as snowflake

    return int(snowflake(argv))
