# SPDX-License-Identifier: Apache-2.0
"""What a bundle must prove by running: golden cases, equal bits twice, extreme inputs, speed."""

from __future__ import annotations

import io
import lzma
import math
import time
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.bundle.manifest import Embodiment, LatentSpec, Manifest
from dex_core.bundle.stats import Statistic
from dex_core.errors import BundleError, DexError
from dex_core.runtime import Session, run_rows

MAX_NPZ_BYTES, MAX_MEMBERS = 1 << 28, 10_000
PROBES = 64
_UNREADABLE = (
    ValueError, KeyError, TypeError, SyntaxError, OSError, EOFError, RuntimeError, OverflowError, MemoryError, zipfile.BadZipFile, zlib.error,
    lzma.LZMAError,
)
"""What NumPy, zipfile and the decompressors raise at damaged bytes; RuntimeError at encrypted and unknown kinds of zip entries."""
Case = tuple[dict[str, NDArray], dict[str, NDArray]]


def unpack_cases(blob: bytes, where: str) -> list[Case]:
    """Golden cases of an npz written by ``pack_cases``; never unpickles. Raises BundleError ``parity_failed``."""
    cases: dict[str, Case] = {}
    try:
        _check_members(blob, where)
        with np.load(io.BytesIO(blob), allow_pickle=False) as arrays:
            for key in arrays.files:
                number, direction, name = key.split("/", 2)
                cases.setdefault(number, ({}, {}))[("in", "out").index(direction)][name] = arrays[key]
    except _UNREADABLE as error:
        raise BundleError(f"{where}: no readable npz of golden cases: {error}", code="parity_failed") from error
    return [cases[k] for k in sorted(cases, key=str)]


def _check_members(blob: bytes, where: str) -> None:
    """Each array is as long as its header says, before room is made for it; all together are not too much."""
    with zipfile.ZipFile(io.BytesIO(blob)) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_MEMBERS or sum(e.file_size for e in entries) > MAX_NPZ_BYTES:
            text = f"{len(entries)} arrays of {sum(e.file_size for e in entries)} bytes; at most {MAX_MEMBERS} of {MAX_NPZ_BYTES} are allowed"
            raise BundleError(f"{where}: {text}", code="parity_failed")
        for entry in entries:
            with archive.open(entry) as member:
                version = np.lib.format.read_magic(member)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(member)
            if dtype.hasobject or math.prod(shape) * dtype.itemsize > entry.file_size:
                raise BundleError(f"{where}: {entry.filename} says {dtype} {shape} and has {entry.file_size} bytes", code="parity_failed")


def check_parity(session: Session, blob: bytes) -> float:
    """Every golden case within atol + rtol on the serving provider; returns the largest error.

    Raises:
        BundleError: ``parity_failed``, with output, error and tolerance.
    """
    spec = session.spec.golden
    cases = unpack_cases(blob, spec.file)
    batches = {next(iter(inputs.values())).shape[0] for inputs, _ in cases if inputs}
    if len(cases) < 2 or (session.spec.dynamic and all(h > lo for lo, h in session.spec.dynamic.values()) and len(batches) < 2):
        raise BundleError(f"{spec.file}: {len(cases)} cases with batches {sorted(batches)}; at least two of each are needed", code="parity_failed")
    worst = 0.0
    for number, (inputs, expected) in enumerate(cases):
        try:
            outputs = session.run(inputs)
        except DexError as error:
            code = "too_slow" if error.code == "too_slow" else "parity_failed"
            raise BundleError(f"{spec.file}: case {number}: {error}", code=code) from error
        if set(expected) != set(outputs) or not any(np.any(v) for v in expected.values()):
            raise BundleError(
                f"{spec.file}: case {number} holds outputs {sorted(expected)} (all zero: {not any(np.any(v) for v in expected.values())})",
                code="parity_failed",
            )
        worst = max(worst, *(_error(f"{spec.file}: case {number}: {k}", outputs[k], v, spec.atol, spec.rtol) for k, v in expected.items()))
    return worst


def _error(where: str, found: NDArray, expected: NDArray, atol: float, rtol: float) -> float:
    if found.shape != expected.shape or not np.isfinite(expected).all():
        raise BundleError(f"{where}: shape {found.shape}, expected finite {expected.shape}", code="parity_failed")
    error = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    allowed = atol + rtol * np.abs(expected.astype(np.float64))
    if (error > allowed).any():
        at = tuple(int(i) for i in np.unravel_index(int(np.argmax(error - allowed)), error.shape))
        raise BundleError(f"{where}{list(at)}: {found[at]} instead of {expected[at]}, at most {allowed[at]:.3g} off is allowed", code="parity_failed")
    return float(error.max(initial=0.0))


def check_determinism(session: Session, blob: bytes) -> None:
    """The same input twice gives equal bits. Raises BundleError ``nondeterministic``."""
    inputs, _ = unpack_cases(blob, session.spec.golden.file)[0]
    first, second = session.run(inputs), session.run(inputs)
    for name, value in first.items():
        if value.tobytes() != second[name].tobytes():
            raise BundleError(
                f"graph {session.name!r}: two runs with one input differ in {name!r} by up to {np.abs(value - second[name]).max():.3g}; "
                "the manifest says deterministic",
                code="nondeterministic",
            )


def check_latent_probes(manifest: Manifest, sessions: dict[str, Session], embodiments: dict[str, Embodiment]) -> dict[str, float]:
    """Decoders at extreme latents stay finite and inside the joint limits; the round trip keeps its residual.

    Returns:
        Median of ||E(D(z)) - z|| over z = E(q), q uniform in the limits, per embodiment.

    Raises:
        BundleError: ``probe_failed``.
    """
    spec = manifest.spaces.latent
    assert spec is not None
    rng = np.random.default_rng(0)
    medians = {}
    for name, e in embodiments.items():
        low, high = np.array(e.lower_rad), np.array(e.upper_rad)
        q = _postures(rng, spec, low, high)
        z = _run_chunks(sessions[f"{name}/encoder"], q)
        spread = float(z.std()) or 1.0
        extreme = np.concatenate([s * spread * np.sign(rng.standard_normal((4, spec.dim))) for s in (1.0, 5.0)]).astype(np.float32)
        poses = _run_chunks(sessions[f"{name}/decoder"], np.concatenate([z, extreme]))
        over = np.maximum(low - poses, poses - high)
        if over.max() > 1e-4:
            at = np.unravel_index(int(np.argmax(over)), over.shape)
            joint = int(at[-1])
            raise BundleError(f"{name}/decoder: {e.joints[joint]} = {poses[at]:.4f} rad leaves {low[joint]} to {high[joint]}", code="probe_failed")
        residual = np.linalg.norm(_run_chunks(sessions[f"{name}/encoder"], poses[:PROBES]) - z, axis=1)
        medians[name] = float(np.median(residual))
        if medians[name] > spec.residual_q99:
            raise BundleError(
                f"{name}: median round-trip residual {medians[name]:.3g}, above the declared 99 % quantile {spec.residual_q99}", code="probe_failed"
            )
    return medians


def _postures(rng: np.random.Generator, spec: LatentSpec, low: NDArray, high: NDArray) -> NDArray:
    """Uniform postures (N, n), or chunks (N, frames, n) that go straight from one uniform posture to another."""
    q = rng.uniform(low, high, (PROBES, len(low)))
    if spec.unit == "chunk":
        end, along = rng.uniform(low, high, q.shape), np.linspace(0.0, 1.0, spec.frames)[:, None]
        q = q[:, None] + along * (end - q)[:, None]
    return q.astype(np.float32)


def _run_chunks(session: Session, rows: NDArray) -> NDArray:
    try:
        return run_rows(session, rows)
    except DexError as error:
        raise BundleError(f"graph {session.name!r}: extreme input: {error}", code="probe_failed") from error


def policy_inputs(manifest: Manifest, stats: dict[str, Statistic], fill: float, seed: int = 0) -> dict[str, NDArray]:
    """One batch of made-up but well-formed policy inputs; ``fill`` in [0, 1] runs joints from min to max and the picture from dark to bright."""
    rng = np.random.default_rng(seed)
    out: dict[str, NDArray] = {}
    for tensor in manifest.seeing_graph.inputs:
        shape = tuple(1 if isinstance(a, str) else int(a) for a in tensor.shape)
        if tensor.dtype == "uint8":
            out[tensor.name] = (rng.integers(0, 56, shape) + fill * 199.0).astype(np.uint8)
        elif tensor.dtype == "int64":
            out[tensor.name] = rng.integers(0, manifest.instruction.buckets, shape)  # type: ignore[union-attr]
        elif tensor.slices and manifest.normalisation.inside_graph:  # type: ignore[union-attr]
            records = [stats[f"{tensor.name}/{s.interface}"] for s in tensor.slices]
            low, high = (np.concatenate([getattr(r, k) for r in records]) for k in ("min", "max"))
            out[tensor.name] = (low + fill * (high - low)).astype(np.float32) + np.zeros(shape, np.float32)  # of a history, all alike
        else:
            out[tensor.name] = (5.0 * (2.0 * fill - 1.0) * np.sign(rng.standard_normal(shape))).astype(np.float32)
    return out


def check_policy_probes(manifest: Manifest, session: Session, stats: dict[str, Statistic]) -> None:
    """Dark, grey and bright pictures at the ends of the joint ranges give finite chunks. Raises BundleError ``probe_failed``."""
    for fill in (0.0, 0.5, 1.0):
        try:
            session.run(policy_inputs(manifest, stats, fill))
        except DexError as error:
            raise BundleError(f"graph {session.name!r}: probe at {fill}: {error}", code="probe_failed") from error


@dataclass(frozen=True)
class Speed:
    """Warm inference time of the slowest graph, with the threads that will serve [ms]."""

    graph: str
    p50_ms: float
    p99_ms: float
    budget_ms: float

    @property
    def ok(self) -> bool:
        """Within the manifest's budget."""
        return self.p99_ms <= self.budget_ms


def measure_speed(session: Session, blob: bytes, runs: int, budget_ms: float) -> Speed:
    """Times ``runs`` inferences of the first golden case after two warm-up runs, batch as in the case."""
    inputs, _ = unpack_cases(blob, session.spec.golden.file)[0]
    for _ in range(2):
        session.run(inputs)
    times = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        session.run(inputs)
        times.append((time.perf_counter_ns() - start) * 1e-6)
    return Speed(session.name, float(np.median(times)), float(np.quantile(times, 0.99)), budget_ms)


def check_remote(session: Session, inputs: dict[str, NDArray]) -> str:
    """One timed request. Raises BundleError ``remote_mismatch`` where it fails, or came back before it was sent."""
    start = time.perf_counter_ns()
    try:
        session.run(inputs)
    except DexError as error:
        raise BundleError(f"graph {session.name!r}: {error}", code="remote_mismatch") from error
    took_ms, stamps = (time.perf_counter_ns() - start) * 1e-6, dict(session.stamps_ns())
    if stamps.get("received", 0) < stamps.get("sent", 0):
        text = f"received at {stamps['received']} ns, sent at {stamps['sent']} ns"
        raise BundleError(f"graph {session.name!r}: {text}", code="remote_mismatch")
    return f"{session.name}: {took_ms:.1f} ms there and back by {session.provider}"
