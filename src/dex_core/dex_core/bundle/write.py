# SPDX-License-Identifier: Apache-2.0
"""Writes a bundle folder: every file, its size and sha256, and the manifest last; the folder appears whole or not at all."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from dex_core.bundle.hashes import bundle_hash, sha256_bytes, sha256_file
from dex_core.bundle.manifest import SCHEMA, Embodiment, parse_manifest
from dex_core.config.strict import to_plain
from dex_core.errors import BundleError

Case = tuple[Mapping[str, NDArray], Mapping[str, NDArray]]


def write_bundle(
    folder: Path | str,
    manifest: Mapping[str, Any],
    *,
    graphs: Mapping[str, bytes | Path],
    golden: Mapping[str, Sequence[Case]],
    embodiments: Mapping[str, Embodiment],
    stats: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
    licence_text: str = "",
    external: Mapping[str, Path] | None = None,
) -> str:
    """Writes (or replaces) the bundle ``folder`` and returns its hash.

    Args:
        folder: e.g. ``models/xl_vla_tabletop``; its last part should be the manifest's name.
        manifest: the manifest as plain data WITHOUT ``schema``, ``files`` and, per graph, without ``file`` and ``golden.file``
            (``golden`` may hold ``atol`` and ``rtol``): those are filled in here.
        graphs: graph name -> bytes or path of its file: ONNX, or torch.export where the manifest's ``runtime.formats`` is ``[pt2]``.
        golden: graph name -> cases, each (inputs by name, outputs by name) as the trainer computed them, at least two batch sizes.
        embodiments: ``<side>_<robot>`` -> its joints and training limits.
        stats: statistics per named slice, see ``dex_core.bundle.stats``.
        scores: what was measured, on what, with definitions.
        licence_text: text of the file LICENSE.
        external: graph name -> file of the weights its ONNX file keeps outside, under the location ``<graph>.onnx.data``.

    Raises:
        BundleError: ``manifest_invalid``; nothing is left behind then.
    """
    target = Path(folder)
    data = to_plain(dict(manifest))
    contents = {name: _read(source) for name, source in graphs.items()}
    files: dict[str, bytes] = {}
    suffix = "pt2" if list(data.get("runtime", {}).get("formats", ())) == ["pt2"] else "onnx"
    for name, graph in data.get("graphs", {}).items():
        stem = name.replace("/", "_")
        if name not in contents or not golden.get(name):
            raise BundleError(f"graph {name!r}: no file or no golden case was given", code="manifest_invalid")
        graph["file"] = f"graphs/{stem}.{suffix}"
        graph["golden"] = {**graph.get("golden", {}), "file": f"golden/{stem}.npz"}
        files[graph["file"]] = contents[name]
        files[graph["golden"]["file"]] = pack_cases(golden[name])
    beside = {f"graphs/{name.replace('/', '_')}.onnx.data": Path(place) for name, place in (external or {}).items()}
    for name, embodiment in embodiments.items():
        files[f"embodiments/{name}.yaml"] = yaml.safe_dump(to_plain(embodiment), sort_keys=False).encode("utf-8")
    if stats is not None:
        data.setdefault("normalisation", {"file": "stats.json", "inside_graph": True})
        files[data["normalisation"].get("file", "stats.json")] = _json(stats)
    if scores is not None:
        files["scores.json"] = _json(scores)
    if licence_text:
        files["LICENSE"] = licence_text.encode("utf-8")
    data["schema"] = SCHEMA
    entries = {path: (len(blob), sha256_bytes(blob)) for path, blob in files.items()}
    entries |= {path: (place.stat().st_size, sha256_file(place)) for path, place in beside.items()}
    data["files"] = {path: {"bytes": size, "sha256": digest} for path, (size, digest) in sorted(entries.items())}
    manifest_yaml = yaml.safe_dump(data, sort_keys=False, width=140).encode("utf-8")
    _publish(target, {**files, "manifest.yaml": manifest_yaml}, beside)
    return bundle_hash({"manifest.yaml": sha256_bytes(manifest_yaml), **{path: digest for path, (_, digest) in entries.items()}})


def pack_cases(cases: Sequence[Case]) -> bytes:
    """Golden cases as npz bytes; keys ``<case>/in/<name>`` and ``<case>/out/<name>``."""
    arrays = {}
    for i, (inputs, outputs) in enumerate(cases):
        arrays.update({f"{i}/in/{k}": np.asarray(v) for k, v in inputs.items()})
        arrays.update({f"{i}/out/{k}": np.asarray(v) for k, v in outputs.items()})
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _read(source: bytes | Path) -> bytes:
    return source if isinstance(source, bytes) else Path(source).read_bytes()


def _json(value: Mapping[str, Any]) -> bytes:
    def plain(item: Any) -> Any:
        if isinstance(item, (np.ndarray, np.generic)):
            return item.tolist()
        raise TypeError(f"{type(item).__name__} cannot be written as JSON")

    return (json.dumps(to_plain(dict(value)), indent=1, default=plain, allow_nan=False) + "\n").encode("utf-8")


def _publish(target: Path, files: Mapping[str, bytes], beside: Mapping[str, Path]) -> None:
    staging = target.with_name(f".{target.name}.new")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        for path, blob in files.items():
            place = staging / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(blob)
        for path, source in beside.items():
            shutil.copyfile(source, staging / path)
        parse_manifest(staging / "manifest.yaml")
        if target.exists():
            shutil.rmtree(target)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
