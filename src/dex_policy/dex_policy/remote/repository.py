# SPDX-License-Identifier: Apache-2.0
"""Bundles as the model repository of an existing server: MLServer's or Triton's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from dex_core.bundle import Bundle
from dex_core.errors import ConfigError
from dex_policy.remote.wire import HASH_KEY, NUMBER_BYTES, REPLY_HEAD_BYTES, declared, model_name

LAYOUTS = ("mlserver", "triton")
RUNTIME = "dex_policy.remote.mlserver_runtime.DexRuntime"
BUNDLES = "bundles"
_TRITON_TYPES = {"FP32": "TYPE_FP32", "UINT8": "TYPE_UINT8", "INT64": "TYPE_INT64"}


def write_repository(
    bundles: Sequence[Bundle], out: Path, layout: str = "mlserver", *, host: str = "127.0.0.1", http_port: int = 8080, grpc_port: int = 8081,
    provider: str = "auto", threads: int = 1,
) -> list[str]:
    """Writes a repository that serves every graph of these bundles; files of other bundles in ``out`` are left alone.

    Args:
        bundles: verified. out: folder, made where it is missing.
        layout: ``mlserver`` (bundles are copied whole and verified again by the server) or ``triton`` (ONNX files alone).
        host, http_port, grpc_port: where MLServer listens. provider, threads: of its inferences.

    Returns:
        Names of the models.

    Raises:
        ConfigError: a graph is in a format that the layout cannot serve, or ``out`` holds something else.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"layout is {layout!r}; allowed: {list(LAYOUTS)}")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is no folder")
    out.mkdir(parents=True, exist_ok=True)
    names = []
    for bundle in bundles:
        if layout == "mlserver":
            _copy(bundle, out / BUNDLES)
        for graph in bundle.manifest.graphs:
            name = model_name(bundle.manifest.name, graph)
            folder = _emptied(out / name)
            if layout == "mlserver":
                _write_mlserver(bundle, graph, name, folder, provider, threads)
            else:
                _write_triton(bundle, graph, name, folder)
            names.append(name)
    if layout == "mlserver":
        longest = max(_request_bytes(b, g) for b in bundles for g in b.manifest.graphs)
        settings = {
            "host": host, "http_port": http_port, "grpc_port": grpc_port, "metrics_endpoint": None, "parallel_workers": 0, "debug": False,
            "gzip_enabled": False, "server_name": "dex", "grpc_max_message_length": longest,
        }
        _write_json(out / "settings.json", settings)
    return names


def _copy(bundle: Bundle, place: Path) -> None:
    """The bundle and what it requires, side by side, as under ``models/``."""
    space = [bundle.space] if bundle.space is not None else []
    for one in (bundle, *space):
        target = place / one.manifest.name
        if target.resolve() != one.folder.resolve():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(one.folder, target)


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _write_mlserver(bundle: Bundle, graph: str, name: str, folder: Path, provider: str, threads: int) -> None:
    spec = bundle.manifest.graphs[graph]
    tensors = {key: [declared(t)._asdict() for t in side] for key, side in (("inputs", spec.inputs), ("outputs", spec.outputs))}
    parameters = {
        "uri": f"../{BUNDLES}/{bundle.manifest.name}",
        "version": bundle.hash,
        "extra": {"graph": graph, HASH_KEY: bundle.hash, "provider": provider, "threads": threads},
    }
    _write_json(folder / "model-settings.json", {
        "name": name, "implementation": RUNTIME, "platform": "dex", **tensors, "parameters": parameters,
    })


def _write_triton(bundle: Bundle, graph: str, name: str, folder: Path) -> None:
    spec = bundle.manifest.graphs[graph]
    if not spec.file.endswith(".onnx"):
        raise ConfigError(f"graph {graph!r} is {spec.file}; the triton layout serves .onnx files, take the mlserver layout")
    version = folder / "1"
    version.mkdir()
    source = bundle.folder / spec.file
    shutil.copyfile(source, version / "model.onnx")
    for path in bundle.manifest.files:
        data = bundle.folder / path
        if path.endswith(".data") and data.parent == source.parent:
            shutil.copyfile(data, version / data.name)
    lines = [f'name: "{name}"', 'backend: "onnxruntime"', "max_batch_size: 0"]
    for key, side in (("input", spec.inputs), ("output", spec.outputs)):
        lines += [
            f'{key} {{ name: "{t.name}" data_type: {_TRITON_TYPES[t.datatype]} dims: {list(t.shape)} }}' for t in (declared(t) for t in side)
        ]
    lines.append(f'parameters {{ key: "{HASH_KEY}" value {{ string_value: "{bundle.hash}" }} }}')
    (folder / "config.pbtxt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _request_bytes(bundle: Bundle, graph: str) -> int:
    """Of the longest message either way: protobuf's numbers are shorter than JSON's."""
    spec, total = bundle.manifest.graphs[graph], 0
    for tensor in (*spec.inputs, *spec.outputs):
        size = NUMBER_BYTES
        for axis in tensor.shape:
            size *= axis if isinstance(axis, int) else spec.dynamic[axis][1]
        total += size
    return min(REPLY_HEAD_BYTES + total, (1 << 31) - 1)


def _write_json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
