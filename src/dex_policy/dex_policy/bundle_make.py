# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: T201 - a command-line tool
"""``dex bundle create | sign | schema``: bundles of one's own networks, signatures, and what a manifest may hold."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from dex_core.bundle import LoadOptions, find_bundle, parse_manifest, verify_bundle
from dex_core.bundle.create import DESCRIPTION, draft_bundle, write_draft
from dex_core.bundle.schema import PARTS, schema_of
from dex_core.bundle.signature import SIGNATURES, new_key, sign
from dex_core.config import find_share, load_cell
from dex_core.config.bundles import BundleRules
from dex_core.errors import BundleError, ConfigError

CREATE = f"""\
Makes a bundle of a folder of exported graphs: <graph>.onnx (a / of its name as _), {DESCRIPTION} with what cannot be read out of them, and where
they are there golden/<graph>.npz, embodiments/<side>_<robot>.yaml, stats.json, scores.json and LICENSE. Fills in hashes, tensors, versions of
operators, pins of the latent space and golden cases; says in one list what is missing; runs every check of the loader on what it made.
Example:  dex bundle create my_export --out models/my_policy"""


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """The three commands' lines."""
    create = verbs.add_parser(
        "create", help="make a bundle of exported graphs", description=CREATE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    create.add_argument("folder", type=Path, help=f"folder with the graphs and {DESCRIPTION}")
    create.add_argument("--out", type=Path, required=True, help="the bundle's folder, e.g. models/my_policy; its last part is the bundle's name")
    create.add_argument("--cell", default="xarm_bimanual", help="cell that will use it, or 'none' (default: %(default)s)")
    create.add_argument("--spaces", type=Path, help="where bundles lie that it requires (default: where --out lies, then models/)")
    create.add_argument("--force", action="store_true", help="replace a bundle that is there")
    signing = verbs.add_parser(
        "sign",
        help="sign a bundle, or make a key",
        description=f"Signs a bundle's hash with an Ed25519 key; the signature goes into {SIGNATURES} beside the manifest, and any change of a file "
        "ends it. A cell takes only signed bundles when its configuration lists keys:  policy: {bundles: {trusted_keys: [KEY]}}",
    )
    signing.add_argument("bundle", nargs="?", help="name under models/ or path")
    signing.add_argument("--key", type=Path, help="private key, PEM")
    signing.add_argument("--new-key", type=Path, help="write a new private key here and show its public one")
    schema = verbs.add_parser("schema", help="print the JSON schema of a manifest", description="Made from the dataclasses that read it.")
    schema.add_argument("part", nargs="?", default="manifest", choices=tuple(PARTS), help="of what (default: %(default)s)")


def create(args: argparse.Namespace) -> int:
    """``dex bundle create``. Returns 0; 1: something is missing, or the loader refuses what was made."""
    target = args.out
    if target.exists() and not args.force:
        raise ConfigError(f"{target} exists; --force replaces it")
    spaces = args.spaces or (target.parent if any(target.parent.glob("*/manifest.yaml")) else find_share("models"))
    cell = None if args.cell == "none" else load_cell(args.cell)
    draft = draft_bundle(args.folder, target.name, spaces, cell)
    if draft.missing:
        print(f"dex bundle: {len(draft.missing)} thing(s) missing in {args.folder}:", file=sys.stderr)
        for line in draft.missing:
            print(f"  - {line}", file=sys.stderr)
        return 1
    digest = write_draft(draft, args.folder, target)
    print(f"{target}: {len(draft.graphs)} graph(s), hash {digest}")
    for name in draft.made:
        print(f"  golden cases of {name} were made by onnxruntime; a trainer's own (golden/{name.replace('/', '_')}.npz) prove more")
    # whoever makes a bundle of a .pt2 file has it already
    own = tuple(e.sha256 for path, e in parse_manifest(target / "manifest.yaml").files.items() if path.endswith(".pt2"))
    _, refused = verify_bundle(target, LoadOptions(cell=cell, space=_space(draft.manifest, spaces), rules=BundleRules(allow_pickle=own)))
    if refused is not None:
        raise refused
    print("  every check of the loader passes")
    return 0


def _space(manifest: dict, spaces: Path) -> Path | None:
    required = manifest.get("requires") or []
    return spaces / required[0]["bundle"] if required else None


def sign_bundle(args: argparse.Namespace) -> int:
    """``dex bundle sign``. Returns 0; raises BundleError where the bundle is not whole."""
    if args.new_key is not None:
        print(f"{args.new_key}: private key, keep it; the public one is\n{new_key(args.new_key)}")
        if args.bundle is None:
            return 0
    key = args.key or args.new_key
    if args.bundle is None or key is None:
        raise ConfigError("say what to sign and with which key:  dex bundle sign NAME --key FILE   (--new-key FILE makes one)")
    folder = find_bundle(args.bundle)
    bundle, refused = verify_bundle(folder)
    if refused is not None and not _whole(bundle.hash, refused):
        raise refused
    print(f"{folder}: hash {bundle.hash}\nsigned by {sign(folder, bundle.hash, key)}")
    return 0


def _whole(digest: str, refused: BundleError) -> bool:
    """Whether a bundle that is refused here has all the bytes it should have: what this machine lacks is no reason not to sign."""
    return bool(digest) and refused.code in ("provider_missing", "format_refused", "licence_refused", "space_mismatch", "no_memory")


def print_schema(args: argparse.Namespace) -> int:
    """``dex bundle schema``."""
    print(json.dumps(schema_of(args.part), indent=1))
    return 0


RUN: dict[str, Callable[[argparse.Namespace], int]] = {"create": create, "sign": sign_bundle, "schema": print_schema}
