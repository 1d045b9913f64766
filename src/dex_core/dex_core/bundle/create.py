# SPDX-License-Identifier: Apache-2.0
"""A bundle from a folder of exported graphs and a description of what cannot be read out of them."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dex_core.bundle.cases import make_cases
from dex_core.bundle.interface import FileInterface, read_interface
from dex_core.bundle.manifest import Embodiment, Manifest, parse_manifest
from dex_core.bundle.manifest.kinds import NEEDED
from dex_core.bundle.probes import unpack_cases
from dex_core.bundle.stats import Statistic, parse_stats
from dex_core.bundle.write import Case, write_bundle
from dex_core.config.cell import CellConfig
from dex_core.config.strict import build, plain_yaml
from dex_core.errors import BundleError, ConfigError, DexError

DESCRIPTION = "bundle.yaml"
FILLED = ("schema", "files", "created", "runtime", "embodiments", "graphs")
"""Keys of a manifest that need not be described."""


@dataclass
class Draft:
    """What was found in a folder, and everything that is missing or wrong with it.

    Attributes:
        manifest: plain data as ``write_bundle`` takes it. graphs: name -> file. external: name -> file of its weights.
        golden: name -> cases. embodiments, stats: as parsed. made: graphs whose golden cases were made here.
        missing: one line each; empty: it can be written.
    """

    manifest: dict[str, Any]
    graphs: dict[str, Path] = field(default_factory=dict)
    external: dict[str, Path] = field(default_factory=dict)
    golden: dict[str, list[Case]] = field(default_factory=dict)
    embodiments: dict[str, Embodiment] = field(default_factory=dict)
    stats: dict[str, Statistic] | None = None
    made: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def draft_bundle(folder: Path, name: str, spaces: Path, cell: CellConfig | None = None) -> Draft:
    """Reads ``folder``: ``bundle.yaml``, ``<graph>.onnx`` or ``.pt2`` (``/`` as ``_``), and where they are there ``golden/<graph>.npz``,
    ``embodiments/<side>_<robot>.yaml``, ``stats.json``, ``scores.json`` and ``LICENSE``.

    Args:
        name: of the bundle, where the description does not say it.
        spaces: where bundles lie that this one requires, to pin their graphs. cell: embodiments without a file are those of its robots.

    Raises:
        ConfigError: there is no readable description.
    """
    path = folder / DESCRIPTION
    data = plain_yaml(path, str(path))
    if not isinstance(data, dict) or not isinstance(data.get("graphs"), dict):
        raise ConfigError(f"{path}: expected a mapping with at least 'graphs', each by its name")
    draft = Draft({"name": name, "created": datetime.datetime.now(datetime.timezone.utc).date().isoformat(), **data})
    found = [_take_graph(draft, folder, graph) for graph in draft.manifest["graphs"]]
    _fill_runtime(draft, [f for f in found if f is not None])
    _take_embodiments(draft, folder, cell)
    _take_stats(draft, folder)
    _pin_spaces(draft, spaces)
    _name_missing_keys(draft)
    if not draft.missing:
        _take_golden(draft, folder)
    return draft


def write_draft(draft: Draft, folder: Path, target: Path) -> str:
    """Writes the bundle and returns its hash. Raises BundleError: something is missing, or the whole is not consistent."""
    if draft.missing:
        raise BundleError(f"{folder}: {len(draft.missing)} thing(s) missing: {draft.missing[0]}", code="manifest_invalid")
    scores, licence = folder / "scores.json", folder / "LICENSE"
    return write_bundle(
        target,
        draft.manifest,
        graphs=draft.graphs,
        golden=draft.golden,
        embodiments=draft.embodiments,
        stats=draft.stats,
        scores=json.loads(scores.read_text(encoding="utf-8")) if scores.is_file() else None,
        licence_text=licence.read_text(encoding="utf-8") if licence.is_file() else "",
        external=draft.external,
    )


def _take_graph(draft: Draft, folder: Path, name: str) -> FileInterface | None:
    """The file of one graph; its entry gets what the file says of itself."""
    entry, stem = dict(draft.manifest["graphs"][name] or {}), name.replace("/", "_")
    draft.manifest["graphs"][name] = entry
    if (folder / f"{stem}.pt2").is_file():
        draft.graphs[name] = folder / f"{stem}.pt2"
        for key in ("inputs", "outputs"):
            if key not in entry:
                draft.missing.append(f"graphs.{name}.{key}: a .pt2 file is not opened to make a bundle of it; describe its tensors")
        return None
    path = folder / f"{stem}.onnx"
    if not path.is_file():
        draft.missing.append(f"graphs.{name}: there is no {path} (nor .pt2)")
        return None
    try:
        found = read_interface(path)
    except ValueError as error:
        draft.missing.append(str(error))
        return None
    draft.graphs[name] = path
    draft.missing += found.problems
    for key, tensors in (("inputs", found.inputs), ("outputs", found.outputs)):
        entry[key] = _merge(draft, f"graphs.{name}.{key}", tensors, entry.get(key) or [])
    _fill_axes(draft, name, entry)
    for outside in found.outside:
        if outside != f"{stem}.onnx.data" or not (folder / outside).is_file():
            draft.missing.append(f"graphs.{name}: weights lie in {outside!r}; they must be in one file {stem}.onnx.data beside it")
        else:
            draft.external[name] = folder / outside
    return found


def _merge(draft: Draft, where: str, found: tuple[dict[str, Any], ...], described: list[Any]) -> list[dict[str, Any]]:
    """Tensors of the file in its order, with what the description adds to each by name."""
    words = {t["name"]: t for t in described if isinstance(t, dict) and "name" in t}
    names = [t["name"] for t in found]
    draft.missing += [f"{where}: {name!r} is described, the file has {names}" for name in words if name not in names]
    return [{**t, **words.get(t["name"], {})} for t in found]


def _fill_axes(draft: Draft, name: str, entry: dict[str, Any]) -> None:
    used = sorted({a for t in (*entry["inputs"], *entry["outputs"]) for a in t["shape"] if isinstance(a, str)})
    given = entry.setdefault("dynamic", {})
    draft.missing += [f"graphs.{name}.dynamic.{axis}: say the smallest and largest length, e.g. [1, 16]" for axis in used if axis not in given]


def _fill_runtime(draft: Draft, found: list[FileInterface]) -> None:
    runtime = dict(draft.manifest.get("runtime") or {})
    runtime.setdefault("formats", sorted({p.suffix.lstrip(".") for p in draft.graphs.values()}) or ["onnx"])
    if found:
        runtime.setdefault("opset", max(f.opset for f in found))
        runtime.setdefault("ir_version", max(f.ir_version for f in found))
        domains = sorted({d for f in found for d in f.domains})
        if "domains" not in runtime and domains != [""]:
            draft.missing.append(f"runtime.domains: the files use {domains}; list those you allow, the loader takes no other")
    draft.manifest["runtime"] = runtime


def _take_embodiments(draft: Draft, folder: Path, cell: CellConfig | None) -> None:
    robots = {f"{i.side}_{i.robot.name}": i for i in cell.interfaces.values()} if cell else {}
    for name in draft.manifest.setdefault("embodiments", []):
        path = folder / f"embodiments/{name}.yaml"
        if path.is_file():
            try:
                draft.embodiments[name] = build(Embodiment, plain_yaml(path, str(path)), str(path))
            except ConfigError as error:
                draft.missing.append(str(error))
        elif name in robots:
            i = robots[name]
            draft.embodiments[name] = Embodiment.of(i.robot.name, i.side, i.robot.actuated, i.limits)
        else:
            draft.missing.append(f"embodiments: {name!r} has no file {path}, and the cell has {sorted(robots) or 'not been named (--cell)'}")


def _take_stats(draft: Draft, folder: Path) -> None:
    path = folder / "stats.json"
    if path.is_file():
        try:
            draft.stats = parse_stats(path.read_bytes(), str(path))
        except BundleError as error:
            draft.missing.append(str(error))
    elif draft.manifest.get("kind") == "chunk_policy":
        slices = [f"{t['name']}/{s['interface']}" for g in _entries(draft) for t in g for s in t.get("slices") or ()]
        draft.missing.append(f"stats.json: a policy needs the statistics of its training data, one record for each of {slices or 'its slices'}")


def _entries(draft: Draft) -> list[list[dict[str, Any]]]:
    return [g.get(key) or [] for g in draft.manifest["graphs"].values() for key in ("inputs", "outputs")]


def _pin_spaces(draft: Draft, spaces: Path) -> None:
    """Hashes of the graphs a policy was trained with: those its latent slices name, and their encoders."""
    named = {s["anchor"] for tensors in _entries(draft) for t in tensors for s in t.get("slices") or () if s.get("anchor")}
    for required in draft.manifest.get("requires") or ():
        if isinstance(required.get("anchors"), Mapping):
            continue
        wanted = required.get("anchors") or sorted(named | {a.replace("/decoder", "/encoder") for a in named})
        try:
            space = parse_manifest(spaces / required["bundle"] / "manifest.yaml")
            required["anchors"] = {graph: space.files[space.graphs[graph].file].sha256 for graph in wanted}
        except (BundleError, KeyError) as error:
            draft.missing.append(f"requires: graphs {wanted} of {spaces / str(required.get('bundle'))} cannot be pinned: {error}")


def _name_missing_keys(draft: Draft) -> None:
    for f in dataclasses.fields(Manifest):
        needed = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if needed and f.name not in FILLED and f.name not in draft.manifest:
            draft.missing.append(f"{f.name}: not described in {DESCRIPTION}")
    kind = str(draft.manifest.get("kind", ""))
    for name in NEEDED.get(kind, ()):
        if name not in draft.manifest and name != "normalisation":  # which comes with stats.json
            draft.missing.append(f"{name}: not described in {DESCRIPTION}, and a {kind} bundle needs it")


def _take_golden(draft: Draft, folder: Path) -> None:
    """The trainer's cases where there are any, else cases made by running the graph."""
    words = draft.manifest.get("instruction") or {}
    for name, path in draft.graphs.items():
        stem = path.stem
        npz, entry = folder / f"golden/{stem}.npz", draft.manifest["graphs"][name]
        try:
            if npz.is_file():
                draft.golden[name] = list(unpack_cases(npz.read_bytes(), str(npz)))
            elif path.suffix == ".pt2":
                draft.missing.append(f"graphs.{name}: {npz} is needed, a .pt2 file is not opened to make a bundle of it")
            else:
                spec = {k: v for k, v in entry.items() if k != "golden"}
                ids, stats = int(words.get("buckets", 2)), draft.stats or {}
                outside = not (draft.manifest.get("normalisation") or {}).get("inside_graph", True)
                draft.golden[name] = make_cases(
                    name, spec, str(path), stats=stats, embodiments=draft.embodiments, ids=ids, normalised=outside and bool(stats)
                )
                draft.made.append(name)
        except DexError as error:
            draft.missing.append(f"graphs.{name}: {error}")
    size = sum(math.prod(a.shape) for cases in draft.golden.values() for pair in cases for side in pair for a in side.values())
    if size > 1 << 26:
        draft.missing.append(f"golden cases hold {size} numbers; at most {1 << 26} are allowed, give fewer or smaller ones")
