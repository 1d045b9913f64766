# SPDX-License-Identifier: Apache-2.0
"""Loads a bundle: every check in a fixed order, the first failure refuses it; nothing is repaired, nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dex_core.bundle import embodiment as embodiment_checks
from dex_core.bundle import probes
from dex_core.bundle.completion import GRAPH, check_completion_probes
from dex_core.bundle.files import check_files, read_verified
from dex_core.bundle.graph import check_interface, check_model, uses_external_data
from dex_core.bundle.hashes import bundle_hash
from dex_core.bundle.layout import check_layout
from dex_core.bundle.manifest import Embodiment, Manifest, parse_manifest
from dex_core.bundle.picker import GRAPH as PICKER
from dex_core.bundle.picker import check_picker_probes
from dex_core.bundle.segmentation import check_segmentation_probes
from dex_core.bundle.stats import Statistic, check_statistic, parse_stats
from dex_core.config.cell import CellConfig
from dex_core.config.paths import find_share
from dex_core.errors import BundleError, ConfigError
from dex_core.runtime import OnnxSession, OpenSession, Session, choose_provider

TIMING_MARGIN_S = 0.1


@dataclass(frozen=True)
class LoadOptions:
    """What the user of a bundle asks of it.

    Attributes:
        cell: the cell that will use it; None checks the bundle alone.
        provider: auto, cpu or cuda. threads: of one inference.
        allow_noncommercial, allow_unlicensed: licences the user accepts.
        pinned_hash: the bundle hash the user insists on; empty: none.
        space: bundle (or its name or path) to use for a policy's latent space; None: the one the policy requires.
        enforce_speed: refuse (``too_slow``) instead of only reporting a p99 above the budget.
        open_session: what runs the graphs in place of the local runtimes, e.g. on another machine; every check goes through it.
    """

    cell: CellConfig | None = None
    provider: str = "auto"
    threads: int = 1
    allow_noncommercial: bool = True
    allow_unlicensed: bool = False
    pinned_hash: str = ""
    space: Bundle | str | Path | None = None
    enforce_speed: bool = False
    open_session: OpenSession | None = None


@dataclass(frozen=True)
class CheckResult:
    """One check: its number and name as on the list, whether it passed, and what it found."""

    number: int
    name: str
    codes: tuple[str, ...]
    ok: bool | None
    detail: str
    code: str = ""


@dataclass
class Bundle:
    """A loaded bundle; complete only when it comes from ``load_bundle``.

    Attributes:
        folder, manifest, hash: where, what, and sha256 over all files.
        file_sha256: path -> sha256.
        sessions: graph name -> ready session.
        embodiments, stats: as parsed.
        space: the latent space a policy emits into, or None.
        speed: warm latency of the slowest graph.
        report: every check in order.
    """

    folder: Path
    options: LoadOptions
    manifest: Manifest = None  # type: ignore[assignment]
    hash: str = ""
    provider: str = ""
    contents: dict[str, bytes] = field(default_factory=dict, repr=False)
    file_sha256: dict[str, str] = field(default_factory=dict, repr=False)
    sessions: dict[str, Session] = field(default_factory=dict, repr=False)
    embodiments: dict[str, Embodiment] = field(default_factory=dict, repr=False)
    stats: dict[str, Statistic] = field(default_factory=dict, repr=False)
    space: Bundle | None = field(default=None, repr=False)
    speed: probes.Speed | None = None
    report: list[CheckResult] = field(default_factory=list, repr=False)

    def graph_sha256(self, graph: str) -> str:
        """sha256 of a graph's ONNX file: what a policy's anchors pin. Raises BundleError when there is no such graph."""
        if graph not in self.manifest.graphs:
            raise BundleError(f"bundle {self.manifest.name!r} has no graph {graph!r}; it has {list(self.manifest.graphs)}", code="space_mismatch")
        return self.file_sha256[self.manifest.graphs[graph].file]

    def measure_speed(self) -> probes.Speed:
        """Times every graph anew and keeps the slowest in ``speed``."""
        latency = self.manifest.latency
        speeds = [probes.measure_speed(s, self.contents[s.spec.golden.file], latency.warmup_runs, latency.budget_ms) for s in self.sessions.values()]
        self.speed = max(speeds, key=lambda s: s.p99_ms)
        return self.speed


def _manifest(b: Bundle) -> str:
    b.manifest = parse_manifest(b.folder / "manifest.yaml")
    return f"{b.manifest.name} {b.manifest.version}, kind {b.manifest.kind}, schema {b.manifest.schema}"


def _files(b: Bundle) -> str:
    return check_files(b.folder, b.manifest)


def _hashes(b: Bundle) -> str:
    b.contents, b.file_sha256 = read_verified(b.folder, b.manifest)
    b.hash = bundle_hash(b.file_sha256)
    if b.options.pinned_hash and b.hash != b.options.pinned_hash:
        raise BundleError(f"{b.folder}: bundle hash {b.hash}, pinned is {b.options.pinned_hash}", code="hash_mismatch")
    return f"bundle hash {b.hash[:16]}"


def _licence(b: Bundle) -> str:
    licence = b.manifest.licence
    if not licence.weights and not b.options.allow_unlicensed:
        raise BundleError(f"{b.folder}: licence.weights is empty; unlicensed weights are not allowed here", code="licence_refused")
    if not licence.commercial_use and not b.options.allow_noncommercial:
        raise BundleError(f"{b.folder}: licence {licence.weights!r} forbids commercial use, which is not allowed here", code="licence_refused")
    return licence.weights or "unlicensed, allowed by the caller"


def _formats(b: Bundle) -> str:
    if b.manifest.runtime.formats != ("onnx",):
        raise BundleError(f"{b.folder}: runtime.formats is {list(b.manifest.runtime.formats)}; allowed: ['onnx']", code="format_refused")
    for name, graph in b.manifest.graphs.items():
        if not graph.file.endswith(".onnx"):
            raise BundleError(f"graph {name!r}: {graph.file} is no .onnx file; formats that unpickle are not loaded", code="format_refused")
    return "onnx"


def _graphs(b: Bundle) -> str:
    for name, graph in b.manifest.graphs.items():
        check_model(name, graph, b.contents[graph.file], b.folder, b.manifest)
    return f"{len(b.manifest.graphs)} graphs, opset <= {b.manifest.runtime.opset}, domains {list(b.manifest.runtime.domains)}"


def _sessions(b: Bundle) -> str:
    if b.options.open_session is None:
        b.provider = choose_provider(b.options.provider, b.manifest.runtime.providers)
    for name, graph in b.manifest.graphs.items():
        blob = b.contents[graph.file]
        model = str(b.folder / graph.file) if uses_external_data(blob) else blob
        if b.options.open_session is not None:
            b.sessions[name] = b.options.open_session(name, graph, b.manifest, model)
            b.provider = b.sessions[name].provider
        else:
            b.sessions[name] = OnnxSession(name, graph, model, b.provider, b.options.threads)
    return f"{b.provider}, {b.options.threads} thread(s)"


def _interfaces(b: Bundle) -> str:
    for session in b.sessions.values():
        check_interface(session)
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
    return f"{t.chunk} steps of {t.dt} s, first action at +{t.first_action_offset} steps"


def _space(b: Bundle) -> str:
    required = [r for r in b.manifest.requires if r.kind == "latent_space"]
    latent = [s for t in b.manifest.graphs["policy"].outputs for s in t.slices if s.space == "latent"] if b.manifest.kind == "chunk_policy" else []
    if not latent:
        return "nothing required"
    if len(required) != 1:
        raise BundleError(f"{b.folder}: latent slices need exactly one required latent_space, got {len(required)}", code="space_mismatch")
    b.space = _resolve_space(b, required[0].bundle)
    space = b.space.manifest
    if space.kind != "latent_space":
        raise BundleError(f"{b.space.folder}: kind {space.kind!r}, the policy requires 'latent_space'", code="space_mismatch")
    for graph, digest in required[0].anchors.items():
        found = b.space.graph_sha256(graph)
        if found != digest:
            raise BundleError(f"{b.space.folder}: graph {graph!r} has sha256 {found}, the policy was trained with {digest}", code="space_mismatch")
    for s in latent:
        if s.anchor not in required[0].anchors:
            raise BundleError(
                f"slice {s.interface!r}: anchor {s.anchor!r} is not among the pinned {sorted(required[0].anchors)}", code="space_mismatch"
            )
        if s.width != space.spaces.latent.dim:  # type: ignore[union-attr]
            raise BundleError(f"slice {s.interface!r}: {s.width} columns, the space has {space.spaces.latent.dim}", code="space_mismatch")  # type: ignore[union-attr]
        interface = b.options.cell.interfaces.get(s.interface) if b.options.cell else None
        if interface is not None and f"{interface.side}_{interface.robot.name}" not in space.embodiments:
            raise BundleError(
                f"{interface.side}_{interface.robot.name} is mounted, space {space.name!r} has {list(space.embodiments)}", code="space_mismatch"
            )
    return f"{space.name} {space.version}, {len(required[0].anchors)} anchor(s) equal"


def _resolve_space(b: Bundle, name: str) -> Bundle:
    chosen = b.options.space
    if isinstance(chosen, Bundle):
        return chosen
    if chosen is None:
        sibling = b.folder.parent / name
        chosen = sibling if sibling.is_dir() else name
    options = LoadOptions(cell=b.options.cell, provider=b.options.provider, threads=b.options.threads)
    try:
        return load_bundle(chosen, options)
    except ConfigError as error:
        raise BundleError(f"the latent space {name!r} that {b.manifest.name!r} requires: {error}", code="space_mismatch") from error


def _golden(b: Bundle) -> str:
    worst = max(probes.check_parity(s, b.contents[s.spec.golden.file]) for s in b.sessions.values())
    return f"largest error {worst:.2g}"


def _determinism(b: Bundle) -> str:
    if not b.manifest.runtime.deterministic:
        return "declared not deterministic"
    for session in b.sessions.values():
        probes.check_determinism(session, b.contents[session.spec.golden.file])
    return "equal bits twice"


def _probes(b: Bundle) -> str:
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
    probes.check_policy_probes(b.manifest, b.sessions["policy"], b.stats)
    return "finite at extreme inputs"


def _speed(b: Bundle) -> str:
    speed = b.measure_speed()
    text = f"{speed.graph}: p50 {speed.p50_ms:.2f} ms, p99 {speed.p99_ms:.2f} ms, budget {speed.budget_ms:g} ms"
    if not speed.ok:
        raise BundleError(text, code="too_slow")
    return text


CHECKS: tuple[tuple[int, str, tuple[str, ...], Callable[[Bundle], str]], ...] = (
    (1, "manifest", ("manifest_invalid",), _manifest),
    (2, "files", ("path_escape", "file_missing", "file_unlisted"), _files),
    (3, "hashes", ("hash_mismatch",), _hashes),
    (4, "licence", ("licence_refused",), _licence),
    (5, "format", ("format_refused",), _formats),
    (6, "graphs", ("graph_refused",), _graphs),
    (7, "provider", ("provider_missing",), _sessions),
    (8, "interfaces", ("interface_mismatch",), _interfaces),
    (9, "layout", ("layout_invalid",), _layout),
    (10, "statistics", ("stats_invalid",), _stats),
    (11, "embodiments", ("embodiment_mismatch",), _embodiments),
    (12, "timing", ("timing_invalid",), _timing),
    (15, "latent space", ("space_mismatch",), _space),
    (16, "golden cases", ("parity_failed",), _golden),
    (17, "determinism", ("nondeterministic",), _determinism),
    (18, "probes", ("probe_failed",), _probes),
    (19, "speed", ("too_slow",), _speed),
)


def find_bundle(path_or_name: str | Path) -> Path:
    """The folder of a bundle: a path, or a name under ``models/``. Raises ConfigError with what there is."""
    path = Path(path_or_name)
    if path.is_dir():
        return path.resolve()
    if path.name == "manifest.yaml" and path.is_file():
        return path.parent.resolve()
    if len(path.parts) == 1:
        return find_share("models", path.name).resolve()
    raise ConfigError(f"bundle {str(path_or_name)!r}: no such folder")


def verify_bundle(path_or_name: str | Path, options: LoadOptions = LoadOptions()) -> tuple[Bundle, BundleError | None]:
    """Runs the checks in order up to the first failure; ``bundle.report`` holds every one, later ones with ``ok`` None.

    Returns:
        The bundle (complete only without an error) and the error, or None. A p99 above the budget is reported as a failed
        check but refuses only when ``options.enforce_speed``.
    """
    bundle = Bundle(find_bundle(path_or_name), options)
    refusal: BundleError | None = None
    for number, name, codes, check in CHECKS:
        if refusal is not None:
            bundle.report.append(CheckResult(number, name, codes, None, "not reached"))
            continue
        try:
            bundle.report.append(CheckResult(number, name, codes, True, check(bundle)))
        except BundleError as error:
            bundle.report.append(CheckResult(number, name, codes, False, str(error), error.code))
            if error.code != "too_slow" or options.enforce_speed:
                refusal = error
    return bundle, refusal


def load_bundle(path_or_name: str | Path, options: LoadOptions = LoadOptions()) -> Bundle:
    """A verified bundle, ready to run.

    Raises:
        BundleError: the first failed check; ``code`` is its reason.
        ConfigError: there is no such bundle.
    """
    bundle, refusal = verify_bundle(path_or_name, options)
    if refusal is not None:
        raise refusal
    return bundle
