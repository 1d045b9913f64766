# SPDX-License-Identifier: Apache-2.0
"""SnowflakeNet's released checkpoints as a bundle: ``dex bundle import snowflake FILE``.

The file is read with ``weights_only``: nothing in it is executed. Every key and shape must be as released.
"""

from __future__ import annotations

import argparse
import datetime
import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dex_core.bundle.completion import GRAPH, PARTIAL, CompletionSpec
from dex_core.bundle.write import write_bundle
from dex_core.errors import BundleError
from dex_learn.completion.bundle import graph_spec
from dex_learn.completion.snowflake import VARIANTS, SnowflakeNet, Variant
from dex_learn.export import Case, check_parity, run_torch
from dex_learn.points import IR_VERSION, OPSET, to_onnx

NAME = "snowflake"
STATE, PREFIX = "model", "module."
PARITY = 1e-4
BUDGET_MS = 3000.0
GOLDEN_BATCHES = (1, 3)
UPSTREAM = "github.com/AllenXiangX/SnowflakeNet"


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Weights by name, without the prefix that training on several cards leaves.

    Raises:
        BundleError: ``checkpoint_refused``: no file, not readable without running code, or no weights in it.
    """
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise _refused(f"{path} cannot be read: {error.strerror or error}") from error
    except (EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:  # torch's own text advises to run the code
        raise _refused(f"{path}: {type(error).__name__}: found no checkpoint that can be read without running code, expected tensors only") from error
    if not isinstance(payload, Mapping) or not isinstance(payload.get(STATE), Mapping):
        found = sorted(map(str, payload)) if isinstance(payload, Mapping) else type(payload).__name__
        raise _refused(f"{path}: found {found}, expected a mapping with the weights under {STATE!r}")
    return {str(key).removeprefix(PREFIX): value for key, value in payload[STATE].items()}


def load_net(weights: Mapping[str, Tensor], variant: Variant, where: str) -> SnowflakeNet:
    """The network with these weights, in eval mode.

    Raises:
        BundleError: ``checkpoint_refused``: a key is missing or unknown, or a weight has another shape, type, or a number that is not finite;
            names it, what was found and what was expected.
    """
    net = SnowflakeNet(variant)
    for key, expected in net.state_dict().items():
        found = weights.get(key)
        if not isinstance(found, Tensor) or found.shape != expected.shape or found.dtype != expected.dtype:
            text = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else "missing" if found is None else type(found).__name__
            raise _refused(f"{where}: key {key!r} is {text}, expected {expected.dtype} {tuple(expected.shape)}; is it another --variant?")
        if not bool(torch.isfinite(found).all()):
            raise _refused(f"{where}: key {key!r} holds numbers that are not finite")
    unknown = sorted(set(weights) - set(net.state_dict()))
    if unknown:
        raise _refused(f"{where}: key {unknown[0]!r} is unknown; found {len(weights)} keys, expected {len(net.state_dict())}")
    net.load_state_dict(dict(weights), strict=True)
    return net.eval().requires_grad_(False)


def variant_of(weights: Mapping[str, Tensor], where: str) -> str:
    """The released variant whose levels split as these weights do. Raises BundleError ``checkpoint_refused`` where none does."""
    splits = []
    while isinstance(weights.get(f"decoder.uppers.{len(splits)}.ps.weight"), Tensor):
        splits.append(int(weights[f"decoder.uppers.{len(splits)}.ps.weight"].shape[-1]))
    for name, variant in VARIANTS.items():
        if variant.up_factors == tuple(splits):
            return name
    raise _refused(f"{where}: levels split by {splits}; known: { {n: list(v.up_factors) for n, v in VARIANTS.items()} }")


def import_snowflake(file: Path, out: Path, licence: Path | None = None) -> str:
    """Writes the bundle and returns its hash. Raises BundleError."""
    weights = read_checkpoint(file)
    name = variant_of(weights, str(file))
    variant = VARIANTS[name]
    net = load_net(weights, variant, str(file))
    outputs = [f"cloud_{count}" for count in variant.counts]
    cases = _cases(net, variant, outputs)
    axes = {key: {0: "B"} for key in (PARTIAL, *outputs)}
    graph = to_onnx(net, {PARTIAL: torch.from_numpy(cases[1][0][PARTIAL])}, outputs, axes, {"B": (1, 64)})
    check_parity(graph, cases, PARITY, GRAPH)
    spec = CompletionSpec(frame="centred", up="y", points=variant.points)
    manifest = _manifest(name, spec, dict(zip(outputs, variant.counts, strict=True)), file)
    text = (licence or file.with_name("LICENSE"))
    words = text.read_text(encoding="utf-8") if text.is_file() else f"MIT; see {UPSTREAM}\n"
    return write_bundle(out, manifest, graphs={GRAPH: graph}, golden={GRAPH: cases}, embodiments={}, licence_text=words)


def _cases(net: SnowflakeNet, variant: Variant, outputs: Sequence[str]) -> list[Case]:
    """A shell of half a ball, thick enough that no two neighbours are equally far."""
    rng, cases = np.random.default_rng(11), []
    for batch in GOLDEN_BATCHES:
        v = rng.normal(size=(batch, variant.points, 3))
        v[..., 0] = np.abs(v[..., 0])
        given = {PARTIAL: (0.45 * v / np.linalg.norm(v, axis=-1, keepdims=True) + rng.normal(0.0, 0.02, v.shape)).astype(np.float32)}
        cases.append((given, run_torch(net, given, outputs)))
    return cases


def _manifest(name: str, spec: CompletionSpec, counts: dict[str, int], file: Path) -> dict[str, Any]:
    return {
        "name": f"{NAME}_{name}", "version": "1.0.0", "kind": "completion", "created": datetime.date.today().isoformat(),
        "licence": {"weights": "MIT", "commercial_use": True, "upstream": UPSTREAM},
        "provenance": {
            "trained_here": False, "data": f"{name}: ShapeNet objects in their canonical frame, by the authors of SnowflakeNet",
            "notes": f"from {file.name}; completes objects that stand as ShapeNet's do: y up, unturned, about 1 unit large",
        },
        "runtime": {"opset": OPSET, "ir_version": IR_VERSION}, "latency": {"budget_ms": BUDGET_MS, "warmup_runs": 3}, "embodiments": [],
        "graphs": {GRAPH: graph_spec(spec, counts, (PARITY, 1e-3))},
        "completion": {"frame": spec.frame, "up": spec.up, "radius": spec.radius, "points": spec.points, "observed_m": spec.observed_m},
    }


def _refused(message: str) -> BundleError:
    return BundleError(message, code="checkpoint_refused")


def main(argv: Sequence[str]) -> int:
    """``dex bundle import snowflake``; returns the exit status. Raises BundleError where the file is refused."""
    parser = argparse.ArgumentParser(
        prog="dex bundle import snowflake", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="a released checkpoint, e.g. ckpt-best-pcn_cd_l1.pth; its variant is read off its weights")
    parser.add_argument("--out", type=Path, default=Path(NAME), help="folder of the bundle, replaced if it is there (default: ./%(default)s)")
    parser.add_argument("--license", type=Path, help="the weights' licence text (default: LICENSE beside FILE)")
    options = parser.parse_args(list(argv))
    digest = import_snowflake(options.file, options.out, options.license)
    sys.stdout.write(f"{options.out}\n  hash {digest}\n  check it:  dex bundle verify {options.out} --cell none\n")
    return 0
