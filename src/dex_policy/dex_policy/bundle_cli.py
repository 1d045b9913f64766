# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: T201 - a command-line tool
"""``dex bundle``: what a model bundle is, whether every check of the loader passes, and how one is made, signed and imported."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dex_core.bundle import Bundle, LoadOptions, find_bundle, parse_manifest, verify_bundle
from dex_core.bundle.load import CheckResult
from dex_core.config import CellConfig, find_share, load_cell
from dex_core.config.bundles import BundleRules
from dex_core.config.strict import to_plain
from dex_core.errors import BundleError, DexError
from dex_core.runtime import PROVIDERS
from dex_policy.bundle_make import RUN, add_verbs
from dex_policy.foreign import is_remote
from dex_policy.foreign.inspect import describe, verify

_MARKS = {True: "✓", False: "✗", None: "·"}
FORMATS = {
    "dexlatent": "XL-VLA's released latent space, checkpoint_epoch_1000.pt",
    "point_sam": "Point-SAM's released weights, model.safetensors",
    "snowflake": "SnowflakeNet's released checkpoints, ckpt-best-*.pth",
}
"""What can be imported; the reader of each is handed in, as it needs torch."""
Importers = Mapping[str, Callable[[Sequence[str]], int]]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="dex bundle", description="Look into a model bundle (a folder under models/, or any path) and check it.")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="{verify,info,create,import,sign,schema}")
    verify = verbs.add_parser(
        "verify",
        help="run every check of the loader",
        description="Runs the checks in order and stops at the first failure; exit code 1 when the bundle is refused.",
    )
    verify.add_argument("bundle", nargs="*", help="name under models/ or path; none: all of models/")
    verify.add_argument("--cell", default="xarm_bimanual", help="cell to compare embodiments with, or 'none' (default: %(default)s)")
    verify.add_argument("--provider", default="auto", choices=("auto", *PROVIDERS), help="what runs the graphs (default: %(default)s)")
    verify.add_argument("--threads", type=int, default=1, help="threads of one inference, at most (default: %(default)s)")
    verify.add_argument("--pin", default="", metavar="HASH", help="the bundle hash it must have")
    verify.add_argument("--strict-speed", action="store_true", help="refuse when p99 is above the budget, too")
    verify.add_argument("--trust", action="append", default=[], metavar="KEY", help="refuse it unless signed by this public key; may be repeated")
    verify.add_argument("--allow-pickle", action="append", default=[], metavar="SHA256", help="read the .pt2 file with this hash; may be repeated")
    verify.add_argument("--memory-mb", type=int, default=None, help="refuse it when the process would hold more (default: as the cell says)")
    info = verbs.add_parser("info", help="show what the manifest says", description="Shows the manifest without running anything.")
    info.add_argument("bundle", help="name under models/ or path")
    for verb in (verify, info):
        verb.add_argument("--json", action="store_true", help="print one JSON object")
    words = "; ".join(f"{name}: {text}" for name, text in FORMATS.items())
    text = f"Formats: {words}. Reads weights, runs no code."
    foreign = verbs.add_parser("import", help="make a bundle of weights from elsewhere", description=text)
    foreign.add_argument("format", choices=tuple(FORMATS), help="what the file is")
    foreign.add_argument("options", nargs=argparse.REMAINDER, help="FILE and options; 'dex bundle import dexlatent --help' shows them")
    add_verbs(verbs)
    return top


def main(argv: list[str] | None = None, importers: Importers | None = None) -> int:
    """Runs the command. Returns 0 when all is well, 1 when a bundle is refused, 2 when there is none or what it needs is not installed.

    ``importers``: format -> what reads it, given its command line; a caller that has none says what to install.
    """
    args = parser().parse_args(argv)
    try:
        if args.verb == "import":
            return _import(args, importers or {})
        if args.verb in RUN:
            return RUN[args.verb](args)
        return _verify(args) if args.verb == "verify" else _info(args)
    except BundleError as error:
        print(f"dex bundle: [{error.code}] {error}", file=sys.stderr)
        return 1
    except DexError as error:
        print(f"dex bundle: {error}", file=sys.stderr)
        return 2


def _import(args: argparse.Namespace, importers: Importers) -> int:
    reader = importers.get(args.format)
    try:
        if reader is not None:
            return reader(args.options)
    except ModuleNotFoundError as error:
        if error.name not in ("dex_learn", "torch", "onnx"):
            raise
    print(f"dex bundle: importing {args.format} needs torch, which is not here:  .venv/bin/pip install -r requirements-learn.txt", file=sys.stderr)
    return 2


def _verify(args: argparse.Namespace) -> int:
    cell = None if args.cell == "none" else load_cell(args.cell)
    names = args.bundle or sorted(p.parent.name for p in find_models())
    if len(names) == 1 and is_remote(folder := find_bundle(names[0])):
        found = verify(folder, cell)
        verdict = "ok" if found["ok"] else f"REFUSED [{found['code']}]"
        print(json.dumps(found, indent=1) if args.json else f"{folder}\n  {verdict} {found['detail']}")
        return 0 if found["ok"] else 1
    options = LoadOptions(
        cell=cell, provider=args.provider, threads=args.threads, rules=_rules(args, cell), pinned_hash=args.pin, enforce_speed=args.strict_speed
    )
    results = [(name, *verify_bundle(name, options)) for name in names]
    refused = [error for _, _, error in results if error is not None]
    if args.json:
        print(json.dumps({"ok": not refused, "bundles": [_as_json(bundle, error) for _, bundle, error in results]}, indent=1))
    else:
        for _, bundle, error in results:
            _print_report(bundle, error)
    if not results:
        print("dex bundle: no bundle under models/", file=sys.stderr)
        return 2
    return 1 if refused else 0


def _rules(args: argparse.Namespace, cell: CellConfig | None) -> BundleRules:
    """The cell's rules with those of the command line added."""
    rules = cell.policy.bundles if cell is not None else BundleRules()
    return replace(
        rules,
        trusted_keys=(*rules.trusted_keys, *args.trust),
        allow_pickle=(*rules.allow_pickle, *args.allow_pickle),
        memory_mb=rules.memory_mb if args.memory_mb is None else args.memory_mb,
    )


def find_models() -> list[Path]:
    """Manifests of all bundles under ``models/``."""
    return sorted(find_share("models").glob("*/manifest.yaml"))


def _as_json(bundle: Bundle, error: BundleError | None) -> dict[str, Any]:
    return {
        "folder": str(bundle.folder),
        "ok": error is None,
        "code": error.code if error else "",
        "detail": str(error) if error else "",
        "hash": bundle.hash,
        "checks": [to_plain(r) for r in bundle.report],
        "tunings": {name: to_plain(tuning) for name, tuning in bundle.tunings.items()},
    }


def _print_report(bundle: Bundle, error: BundleError | None) -> None:
    print(f"{bundle.folder}")
    for r in bundle.report:
        print(f"  {_MARKS[r.ok]} {r.number:2d} {r.name:<13} {_cut(r)}")
    for name, tuning in bundle.tunings.items():
        if len(tuning.trials) > 1:
            print(f"       tuned {name}: {tuning.chosen.words}; of {tuning.words}")
    print(f"  {'verified, hash ' + bundle.hash if error is None else 'REFUSED [' + error.code + ']: ' + str(error)}\n")


def _cut(r: CheckResult, width: int = 110) -> str:
    text = f"[{r.code}] {r.detail}" if r.code else r.detail
    return text if len(text) <= width else text[: width - 1] + "…"


def _info(args: argparse.Namespace) -> int:
    folder = find_bundle(args.bundle)
    if is_remote(folder):
        print(describe(folder, as_json=args.json))
        return 0
    manifest = parse_manifest(folder / "manifest.yaml")
    if args.json:
        print(json.dumps({"folder": str(folder), "manifest": to_plain(manifest)}, indent=1))
        return 0
    p, t = manifest.provenance, manifest.timing
    lines = [
        ("bundle", f"{manifest.name} {manifest.version}, kind {manifest.kind}, created {manifest.created}"),
        ("folder", str(folder)),
        ("licence", f"{manifest.licence.weights or 'unlicensed'}{'' if manifest.licence.commercial_use else ', no commercial use'}"),
        ("trained", f"{'here' if p.trained_here else 'elsewhere'} on {p.data}; {p.steps} steps, seed {p.seed}, code {p.code or 'unknown'}"),
        ("embodiments", ", ".join(manifest.embodiments)),
        ("requires", ", ".join(f"{r.bundle} ({len(r.anchors)} anchors)" for r in manifest.requires) or "nothing"),
    ]
    if t is not None:
        lines.append(("timing", f"{t.chunk} steps of {t.dt} s, first action at +{t.first_action_offset} steps"))
    if manifest.instruction is not None:
        lines.append(("instructions", "; ".join(manifest.instruction.trained)))
    if manifest.spaces.latent is not None:
        lines.append(("latent", f"dimension {manifest.spaces.latent.dim}, residual q99 {manifest.spaces.latent.residual_q99:.4g}"))
    for name, graph in manifest.graphs.items():
        shapes = [", ".join(f"{x.name} {x.dtype}{list(x.shape)}" for x in side) for side in (graph.inputs, graph.outputs)]
        lines.append((name, f"{shapes[0]} -> {shapes[1]}, {manifest.files[graph.file].bytes} bytes"))
    lines.append(("files", f"{len(manifest.files)}, {sum(f.bytes for f in manifest.files.values())} bytes"))
    scores = folder / "scores.json"
    if "scores.json" in manifest.files and scores.is_file():
        lines.append(("scores", scores.read_text(encoding="utf-8")[:600].strip()))
    for key, value in lines:
        print(f"{key:<22} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
