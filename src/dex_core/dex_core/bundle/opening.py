# SPDX-License-Identifier: Apache-2.0
"""Formats of graphs, the sessions that run them, and the settings those are run with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dex_core.bundle.graph import check_model, uses_external_data
from dex_core.bundle.loaded import Bundle
from dex_core.bundle.manifest import FORMATS, Graph
from dex_core.bundle.probes import unpack_cases
from dex_core.errors import BundleError, DexError
from dex_core.runtime import LARGEST_BYTES, OnnxSession, Session, Settings, choose_provider, tune
from dex_core.runtime.archive import check_archive
from dex_core.runtime.torch_export import SUFFIX, TorchExportSession, choose_torch_device

RUN_LIMIT_S = 120.0
"""All runs of one graph in one check; a graph may hold a loop that never ends."""


def check_formats(b: Bundle) -> str:
    """Files are of the formats declared, and what could unpickle is named by its hash. Raises BundleError ``format_refused``."""
    declared, used = b.manifest.runtime.formats, {Path(g.file).suffix.lstrip(".") for g in b.manifest.graphs.values()}
    if not set(declared) <= set(FORMATS) or set(declared) != used:
        text = f"runtime.formats is {list(declared)}, the graphs are {sorted(used)}; allowed: {list(FORMATS)}, as the files are"
        raise BundleError(f"{b.folder}: {text}", code="format_refused")
    for graph in b.manifest.graphs.values():
        digest = b.file_sha256[graph.file]
        if graph.file.endswith(SUFFIX) and digest not in b.options.rules.allow_pickle:
            raise BundleError(
                f"{b.folder / graph.file}: a {SUFFIX} file can carry pickled parts and is read only when the cell's configuration names it: "
                f"policy: {{bundles: {{allow_pickle: [{digest}]}}}}",
                code="format_refused",
            )
    return ", ".join(sorted(used))


def check_graphs(b: Bundle) -> str:
    """Every graph's file looked at before anything runs it. Raises BundleError ``graph_refused``."""
    for name, graph in b.manifest.graphs.items():
        if graph.file.endswith(SUFFIX):
            check_archive(b.contents[graph.file], f"{graph.file} ({name})")
        else:
            check_model(name, graph, b.contents[graph.file], b.folder, b.manifest)
    return f"{len(b.manifest.graphs)} graphs, opset <= {b.manifest.runtime.opset}, domains {list(b.manifest.runtime.domains)}"


def open_sessions(b: Bundle) -> str:
    """A session for each graph. Raises BundleError ``provider_missing`` or ``graph_refused``, or what a handed-in opener raises."""
    for name, graph in b.manifest.graphs.items():
        b.sessions[name] = _open(b, name, graph)
    b.provider = next(iter(b.sessions.values())).provider
    return f"{b.provider}, {'its own' if b.options.open_session else f'at most {b.options.threads}'} thread(s)"


def _model(b: Bundle, graph: Graph) -> bytes | str:
    blob = b.contents[graph.file]
    return str(b.folder / graph.file) if graph.file.endswith(".onnx") and uses_external_data(blob) else blob


def _open(b: Bundle, name: str, graph: Graph) -> Session:
    options, allowed = b.options, b.manifest.runtime.providers
    model = _model(b, graph)
    if options.open_session is not None:
        return options.open_session(name, graph, b.manifest, model)
    if graph.file.endswith(SUFFIX):
        device = choose_torch_device(options.provider, allowed, f"graph {name!r}")
        return TorchExportSession(name, graph, b.contents[graph.file], device, options.threads)
    return OnnxSession(name, graph, model, settings_for(b, graph, choose_provider(options.provider, allowed)))


def settings_for(b: Bundle, graph: Graph, provider: str) -> Settings:
    """The plain way: where settings are measured, one thread is what others must beat."""
    rules = b.options.rules
    threads = 1 if rules.tune and _size(b, graph) <= LARGEST_BYTES else b.options.threads
    cache = ""
    if provider == "tensorrt" and rules.engine_cache:
        place = Path(rules.engine_cache).expanduser() / b.hash[:16]  # an engine is machine code: no bundle finds another's
        place.mkdir(parents=True, exist_ok=True)
        cache = str(place)
    return Settings(provider, threads, engine_cache=cache, fp16=rules.fp16 and provider == "tensorrt")


def tune_sessions(b: Bundle) -> None:
    """Each onnxruntime session in the way that measures fastest. Raises BundleError ``parity_failed`` or ``too_slow``.

    A graph that cannot run its own case stays as it is: the golden cases say what is wrong with it.
    """
    for name, session in b.sessions.items():
        if not isinstance(session, OnnxSession) or not b.options.rules.tune:
            continue
        graph = session.spec
        cases = unpack_cases(b.golden(name), graph.golden.file)
        if not cases:
            continue
        inputs, _ = cases[0]
        exact, size = b.manifest.runtime.deterministic, _size(b, graph)
        with session.limited(RUN_LIMIT_S):
            try:
                b.sessions[name], b.tunings[name] = tune(session, _model(b, graph), inputs, b.options.threads, size=size, exact=exact)
            except DexError as error:
                if error.code == "too_slow":
                    raise


@contextmanager
def run_limits(b: Bundle) -> Iterator[None]:
    """Inside, runs of an onnxruntime session that take too long together are stopped and raise BundleError ``too_slow``."""
    with ExitStack() as stack:
        for session in b.sessions.values():
            if isinstance(session, OnnxSession):
                stack.enter_context(session.limited(RUN_LIMIT_S))
        yield


def drop_large_graphs(b: Bundle) -> None:
    """Bytes of large graphs are let go once their sessions are open."""
    for graph in b.manifest.graphs.values():
        if len(b.contents.get(graph.file, b"")) > LARGEST_BYTES:
            del b.contents[graph.file]


def _size(b: Bundle, graph: Graph) -> int:
    return sum(entry.bytes for path, entry in b.manifest.files.items() if path.startswith(graph.file))


def words_of_settings(b: Bundle) -> str:
    """What was chosen for the slowest graph, for the report; ``tunings`` has what was tried."""
    tuning = b.tunings.get(b.speed.graph) if b.speed else None
    return f"; {tuning.chosen.words}" if tuning else ""

