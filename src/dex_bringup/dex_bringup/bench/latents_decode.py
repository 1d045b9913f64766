# SPDX-License-Identifier: Apache-2.0
"""How long the hands of a chunk take to decode, as the cell does it and as onnxruntime alone does."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnxruntime

from dex_core.bundle import Bundle
from dex_core.decode import LatentDecoder

STEPS = 64


def measure_decode(bundle: Bundle, hands: tuple[str, ...], rounds: int) -> dict[str, float]:
    """Median milliseconds for 64 steps of a left and a right hand on one core, the slowest of ``hands``.

    ``decode`` is LatentDecoder: limits, and every fourth pose encoded again for the guard against latents off the space. ``onnxruntime`` runs
    the two decoder graphs and nothing else.
    """
    figures: dict[str, float] = {}
    for hand in hands:
        sides = [f"{side}_{hand}" for side in ("left", "right") if f"{side}_{hand}" in bundle.embodiments]
        if len(sides) != 2:
            continue
        decoders = [LatentDecoder(bundle, name) for name in sides]
        rng = np.random.default_rng(5)
        latents = [d.encode(rng.uniform(d.lower_rad, d.upper_rad, (STEPS, len(d.joints)))) for d in decoders]
        sessions = [_session(bundle, f"{name}/decoder") for name in sides]
        inputs = [{"z": z.astype(np.float32)} for z in latents]
        ours = _median_ms(lambda d=decoders, z=latents: [a.decode(b) for a, b in zip(d, z, strict=True)], rounds)
        bare = _median_ms(lambda s=sessions, x=inputs: [a.run(None, b) for a, b in zip(s, x, strict=True)], rounds)
        figures |= {f"{hand}_decode_two_hands_ms": ours, f"{hand}_onnxruntime_two_hands_ms": bare}
    if figures:
        for name in ("decode", "onnxruntime"):
            figures[f"{name}_two_hands_ms"] = max(v for k, v in figures.items() if k.endswith(f"_{name}_two_hands_ms"))
    return figures


def _session(bundle: Bundle, graph: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(bundle.contents[bundle.manifest.graphs[graph].file], options, providers=["CPUExecutionProvider"])


def _median_ms(run: Callable[[], object], rounds: int) -> float:
    took = []
    for _ in range(rounds + 3):
        started = time.perf_counter()
        run()
        took.append(1e3 * (time.perf_counter() - started))
    return float(np.median(took[3:]))
