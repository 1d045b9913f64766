# SPDX-License-Identifier: Apache-2.0
"""What is asked of a bundle, and what a loaded one is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dex_core.bundle import probes
from dex_core.bundle.manifest import Embodiment, Manifest
from dex_core.bundle.stats import Statistic
from dex_core.config.cell import CellConfig
from dex_core.errors import BundleError
from dex_core.runtime import OpenSession, Session


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
