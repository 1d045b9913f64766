# SPDX-License-Identifier: Apache-2.0
"""Where a bundle comes from, what it may be used for, what it is made of."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from dex_core.config.strict import bounded, choice
from dex_core.errors import ConfigError

KINDS = ("latent_space", "chunk_policy", "segmentation", "picker", "completion")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Licence:
    """Licence of the weights (not of the code that made them); ``weights`` is an SPDX name, empty = unlicensed."""

    weights: str
    commercial_use: bool
    upstream: str = ""


@dataclass(frozen=True)
class Provenance:
    """What the weights were made from; ``code`` is the revision of the training code."""

    trained_here: bool
    data: str
    steps: int = bounded(0, 10**12, default=0)
    seed: int = bounded(0, 2**63, default=0)
    code: str = ""
    notes: str = ""


@dataclass(frozen=True)
class Requirement:
    """Another bundle this one needs, pinned by anchors: graph name -> sha256 of the graph file it was trained with."""

    bundle: str
    kind: str = choice(*KINDS)
    anchors: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.anchors:
            raise ConfigError("anchors: at least one graph must be pinned by its sha256")
        for graph, digest in self.anchors.items():
            if not _SHA256.fullmatch(digest):
                raise ConfigError(f"anchors.{graph} is {digest!r}; expected 64 hexadecimal digits")


@dataclass(frozen=True)
class FileEntry:
    """Size and sha256 of one file of the bundle."""

    bytes: int = bounded(0, 2**40)
    sha256: str = ""

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            raise ConfigError(f"sha256 is {self.sha256!r}; expected 64 hexadecimal digits")
