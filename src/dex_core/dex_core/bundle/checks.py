# SPDX-License-Identifier: Apache-2.0
"""What a bundle must pass, in order: number and name as on the list of checks, its reason codes, and the step itself."""

from __future__ import annotations

from collections.abc import Callable

from dex_core.bundle import embodiment as embodiment_checks
from dex_core.bundle import memory, probes
from dex_core.bundle.completion import GRAPH, check_completion_probes
from dex_core.bundle.files import check_files, check_sizes, read_verified
from dex_core.bundle.flow import PREFIX, check_flow_probes
from dex_core.bundle.frames import check_frames, check_pace
from dex_core.bundle.graph import check_interface
from dex_core.bundle.hashes import bundle_hash
from dex_core.bundle.layout import check_layout
from dex_core.bundle.loaded import Bundle
from dex_core.bundle.manifest import parse_manifest
from dex_core.bundle.opening import check_formats, check_graphs, drop_large_graphs, open_sessions, run_limits, tune_sessions, words_of_settings
from dex_core.bundle.picker import GRAPH as PICKER
from dex_core.bundle.picker import check_picker_probes
from dex_core.bundle.rotations import check_rotations
from dex_core.bundle.segmentation import check_segmentation_probes
from dex_core.bundle.signature import check_signature
from dex_core.bundle.space import check_space
from dex_core.bundle.stats import check_statistic, parse_stats
from dex_core.bundle.tokens import check_tokens
from dex_core.errors import BundleError

TIMING_MARGIN_S = 0.1


def _manifest(b: Bundle) -> str:
    b.manifest = parse_manifest(b.folder / "manifest.yaml")
    return f"{b.manifest.name} {b.manifest.version}, kind {b.manifest.kind}, schema {b.manifest.schema}"


def _files(b: Bundle) -> str:
    return check_files(b.folder, b.manifest)


def _hashes(b: Bundle) -> str:
    check_sizes(b.folder, b.manifest)
    b.resident_before = memory.resident_bytes()
    memory.check_room(b.manifest, b.options.rules.memory_mb)
    b.contents, b.file_sha256 = read_verified(b.folder, b.manifest)
    b.hash = bundle_hash(b.file_sha256)
    if b.options.pinned_hash and b.hash != b.options.pinned_hash:
        raise BundleError(f"{b.folder}: bundle hash {b.hash}, pinned is {b.options.pinned_hash}", code="hash_mismatch")
    return f"bundle hash {b.hash[:16]}, {check_signature(b.folder, b.hash, b.options.rules.trusted_keys)}"


def _licence(b: Bundle) -> str:
    licence, rules = b.manifest.licence, b.options.rules
    if not licence.weights and not rules.allow_unlicensed:
        raise BundleError(f"{b.folder}: licence.weights is empty; unlicensed weights are not allowed here", code="licence_refused")
    if not licence.commercial_use and not rules.allow_noncommercial:
        raise BundleError(f"{b.folder}: licence {licence.weights!r} forbids commercial use, which is not allowed here", code="licence_refused")
    return licence.weights or "unlicensed, allowed by the caller"


def _interfaces(b: Bundle) -> str:
    code = "remote_mismatch" if b.options.open_session else "interface_mismatch"
    for session in b.sessions.values():
        check_interface(session, code)
    return "names, types and shapes as declared"


def _layout(b: Bundle) -> str:
    return check_layout(b.manifest)


def _stats(b: Bundle) -> str:
    spec = b.manifest.normalisation
    if spec is None:
        return "none declared"
    b.stats = parse_stats(b.contents[spec.file], spec.file)
    for graph in b.manifest.graphs.values():
        for tensor in (*graph.inputs, *graph.outputs):
            for s in tensor.slices:
                key = f"{tensor.name}/{s.interface}"
                if key not in b.stats:
                    raise BundleError(f"{spec.file}: record {key!r} is missing; there is {sorted(b.stats)}", code="stats_invalid")
                check_statistic(b.stats[key], s.width, f"{spec.file}: {key}")
    return f"{len(b.stats)} records"


def _embodiments(b: Bundle) -> str:
    b.embodiments = embodiment_checks.parse_embodiments(b.manifest, b.contents)
    embodiment_checks.check_graph_joints(b.manifest, b.embodiments)
    if b.options.cell is None:
        return f"{list(b.embodiments)}; no cell given to compare with"
    if b.manifest.kind not in ("latent_space", "chunk_policy"):
        return f"a {b.manifest.kind} bundle drives no robot"
    return embodiment_checks.check_cell(b.manifest, b.embodiments, b.options.cell)


def _timing(b: Bundle) -> str:
    t = b.manifest.timing
    if t is None:
        return "none declared"
    if abs(t.dt * t.rate_hz - 1.0) > 1e-6:
        raise BundleError(f"timing: dt {t.dt} s times rate_hz {t.rate_hz} is {t.dt * t.rate_hz}; expected 1", code="timing_invalid")
    needed = b.manifest.latency.budget_ms * 1e-3 + TIMING_MARGIN_S
    if t.chunk * t.dt <= needed:
        raise BundleError(f"timing: a chunk lasts {t.chunk * t.dt} s; budget and margin need {needed} s", code="timing_invalid")
    if b.options.cell is not None:
        check_pace(b.manifest, b.options.cell)
    return f"{t.chunk} steps of {t.dt} s, first action at +{t.first_action_offset} steps"


def _tokens(b: Bundle) -> str:
    return check_tokens(b.manifest)


def _frames(b: Bundle) -> str:
    return check_frames(b.manifest, b.options.cell)


def _golden(b: Bundle) -> str:
    tune_sessions(b)
    drop_large_graphs(b)
    with run_limits(b):
        worst = max(probes.check_parity(s, b.golden(name)) for name, s in b.sessions.items())
    outside = b.stats if b.manifest.normalisation and not b.manifest.normalisation.inside_graph else {}
    shown = {name: g for name, g in b.manifest.graphs.items() if any(s.space == "wrist_pose" for t in g.inputs for s in t.slices)}
    poses = sum(check_rotations(g, probes.unpack_cases(b.golden(name), g.golden.file), outside) for name, g in shown.items())
    return f"largest error {worst:.2g}" + (f", rotations in {poses} slices tell rows from columns" if poses else "")


def _determinism(b: Bundle) -> str:
    if not b.manifest.runtime.deterministic:
        return "declared not deterministic"
    with run_limits(b):
        for name, session in b.sessions.items():
            probes.check_determinism(session, b.golden(name))
    return "equal bits twice"


def _probes(b: Bundle) -> str:
    with run_limits(b):
        return _run_probes(b)


def _run_probes(b: Bundle) -> str:
    if b.manifest.kind == "latent_space":
        medians = probes.check_latent_probes(b.manifest, b.sessions, b.embodiments)
        return "round trip " + ", ".join(f"{k} {v:.3g}" for k, v in medians.items())
    if b.manifest.kind == "segmentation":
        check_segmentation_probes(b.manifest, b.sessions)
        return "finite for flat and noisy clouds and clicks far outside"
    if b.manifest.kind == "completion":
        check_completion_probes(b.manifest, b.sessions[GRAPH])
        return "finite and bounded for a point, a line, and points far away"
    if b.manifest.kind == "picker":
        check_picker_probes(b.sessions[PICKER])
        return "finite without words and for features far outside"
    if b.manifest.flow:
        check_flow_probes(b.manifest, b.sessions, probes.policy_inputs(b.manifest, b.stats, 0.5))
    probes.check_policy_probes(b.manifest, b.sessions[PREFIX if b.manifest.flow else "policy"], b.stats)
    return "finite at extreme inputs"


def _speed(b: Bundle) -> str:
    speed = b.measure_speed()
    text = f"{speed.graph}: p50 {speed.p50_ms:.2f} ms, p99 {speed.p99_ms:.2f} ms, budget {speed.budget_ms:g} ms{words_of_settings(b)}"
    if not speed.ok:
        raise BundleError(text, code="too_slow")
    return text


def _memory(b: Bundle) -> str:
    return memory.check_taken(b.manifest.name, b.resident_before, b.options.rules.memory_mb)


def _remote(b: Bundle) -> str:
    if b.options.open_session is None:
        return "runs here"
    words = []
    for name, session in b.sessions.items():
        inputs, _ = probes.unpack_cases(b.golden(name), session.spec.golden.file)[0]
        words.append(probes.check_remote(session, inputs))
    return "; ".join(words)


CHECKS: tuple[tuple[int, str, tuple[str, ...], Callable[[Bundle], str]], ...] = (
    (1, "manifest", ("manifest_invalid",), _manifest),
    (2, "files", ("path_escape", "file_missing", "file_unlisted"), _files),
    (3, "hashes", ("hash_mismatch", "signature_refused", "no_memory"), _hashes),
    (4, "licence", ("licence_refused",), _licence),
    (5, "format", ("format_refused",), check_formats),
    (6, "graphs", ("graph_refused",), check_graphs),
    (7, "provider", ("provider_missing", "graph_refused"), open_sessions),
    (8, "interfaces", ("interface_mismatch", "remote_mismatch"), _interfaces),
    (9, "layout", ("layout_invalid",), _layout),
    (10, "statistics", ("stats_invalid",), _stats),
    (11, "embodiments", ("embodiment_mismatch",), _embodiments),
    (12, "timing", ("timing_invalid",), _timing),
    (13, "tokens", ("tokens_invalid",), _tokens),
    (14, "frames", ("frame_unknown", "camera_mismatch"), _frames),
    (15, "latent space", ("space_mismatch",), check_space),
    (16, "golden cases", ("parity_failed", "too_slow"), _golden),
    (17, "determinism", ("nondeterministic",), _determinism),
    (18, "probes", ("probe_failed",), _probes),
    (19, "speed", ("too_slow",), _speed),
    (20, "memory", ("no_memory",), _memory),
    (21, "remote", ("remote_mismatch",), _remote),
)
