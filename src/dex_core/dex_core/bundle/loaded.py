# SPDX-License-Identifier: Apache-2.0
"""What is asked of a bundle, and what a loaded one is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dex_core.bundle import probes
from dex_core.bundle.flow import speed_of_chunk
from dex_core.bundle.manifest import Embodiment, Manifest
from dex_core.bundle.stats import Statistic
from dex_core.config.bundles import BundleRules
from dex_core.config.cell import CellConfig
from dex_core.errors import BundleError
from dex_core.runtime import OpenSession, Session, Tuning

if TYPE_CHECKING:  # the decode package imports this one
    from dex_core.decode.mounted import MountedHand


@dataclass(frozen=True)
class LoadOptions:
    """What the user of a bundle asks of it.

    Attributes:
        cell: the cell that will use it; None checks the bundle alone.
        provider: auto, cpu, cuda or tensorrt. threads: of one inference, at most.
        rules: trust, memory and speed, as the cell's configuration has them.
        pinned_hash: the bundle hash the user insists on; empty: none.
        space: bundle (or its name or path) to use for a policy's latent space; None: the one the policy requires.
        mounted: side -> hand whose decoder runs and has told which graph it decodes with; compared with the policy's space.
        enforce_speed: refuse (``too_slow``) instead of only reporting a p99 above the budget.
        open_session: what runs the graphs in place of the local runtimes, e.g. on another machine; every check goes through it.
    """

    cell: CellConfig | None = None
    provider: str = "auto"
    threads: int = 1
    rules: BundleRules = BundleRules()
    pinned_hash: str = ""
    space: Bundle | str | Path | None = None
    mounted: Mapping[str, MountedHand] = field(default_factory=dict)
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
        contents: path -> bytes; of large graphs only until they are open. file_sha256: path -> sha256.
        sessions: graph name -> ready session.
        tunings: graph name -> which settings of onnxruntime were tried and taken.
        embodiments, stats: as parsed.
        space: the latent space a policy emits into, or None.
        speed: warm latency of the slowest graph.
        resident_before: what the process held before [bytes].
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
    tunings: dict[str, Tuning] = field(default_factory=dict, repr=False)
    embodiments: dict[str, Embodiment] = field(default_factory=dict, repr=False)
    stats: dict[str, Statistic] = field(default_factory=dict, repr=False)
    space: Bundle | None = field(default=None, repr=False)
    speed: probes.Speed | None = None
    resident_before: int = 0
    report: list[CheckResult] = field(default_factory=list, repr=False)

    def graph_sha256(self, graph: str) -> str:
        """sha256 of a graph's file: what a policy's anchors pin. Raises BundleError when there is no such graph."""
        if graph not in self.manifest.graphs:
            raise BundleError(f"bundle {self.manifest.name!r} has no graph {graph!r}; it has {list(self.manifest.graphs)}", code="space_mismatch")
        return self.file_sha256[self.manifest.graphs[graph].file]

    def golden(self, graph: str) -> bytes:
        """The file of a graph's golden cases."""
        return self.contents[self.manifest.graphs[graph].golden.file]

    def measure_speed(self) -> probes.Speed:
        """Times every graph anew and keeps the slowest in ``speed``, or what a chunk of all its graphs takes where it is a flow."""
        latency = self.manifest.latency
        speeds = {name: probes.measure_speed(s, self.golden(name), latency.warmup_runs, latency.budget_ms) for name, s in self.sessions.items()}
        self.speed = speed_of_chunk(self.manifest, speeds) if self.manifest.flow else max(speeds.values(), key=lambda s: s.p99_ms)
        return self.speed

    def close(self) -> None:
        """Closes every session; those of ``space`` stay open, others may use them."""
        for session in self.sessions.values():
            session.close()
