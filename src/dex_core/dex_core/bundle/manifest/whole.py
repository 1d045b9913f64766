# SPDX-License-Identifier: Apache-2.0
"""The manifest of a model bundle: the only file read before anything is verified; every key is checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dex_core.bundle.completion import CompletionSpec
from dex_core.bundle.flow import PREFIX, STEP, FlowSpec, X
from dex_core.bundle.manifest import kinds
from dex_core.bundle.manifest.origin import KINDS, FileEntry, Licence, Provenance, Requirement
from dex_core.bundle.manifest.serving import ImageSpec, InstructionSpec, Latency, Normalisation, Runtime, Spaces, Timing
from dex_core.bundle.manifest.tensors import Graph, Tensor
from dex_core.bundle.manifest.tokens import TokenSpec
from dex_core.bundle.picker import PickerSpec
from dex_core.bundle.segmentation import SegmentationSpec
from dex_core.config.strict import build, choice, plain_yaml
from dex_core.errors import BundleError, ConfigError

SCHEMA = 1


@dataclass(frozen=True)
class Manifest:
    """The whole manifest; fields as in the module's dataclasses. ``image``: of the camera whose exposure is the observation's stamp; ``images``:
    of further cameras."""

    schema: int
    name: str
    version: str
    created: str
    licence: Licence
    provenance: Provenance
    runtime: Runtime
    latency: Latency
    embodiments: tuple[str, ...]
    graphs: dict[str, Graph]
    files: dict[str, FileEntry]
    kind: str = choice(*KINDS)
    requires: tuple[Requirement, ...] = ()
    timing: Timing | None = None
    spaces: Spaces = Spaces()
    image: ImageSpec | None = None
    images: tuple[ImageSpec, ...] = ()
    instruction: InstructionSpec | None = None
    normalisation: Normalisation | None = None
    tokens: TokenSpec | None = None
    flow: FlowSpec | None = None
    segmentation: SegmentationSpec | None = None
    picker: PickerSpec | None = None
    completion: CompletionSpec | None = None

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ConfigError(f"schema is {self.schema}; this version reads {SCHEMA}")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", self.name):
            raise ConfigError(f"name is {self.name!r}; expected lower-case letters, digits and _")
        kinds.CHECKS[self.kind](self)
        if self.images and self.image is None:
            raise ConfigError("images: further pictures need a first one, key 'image'")
        cameras, inputs = [i.camera for i in self.pictures], [i.input for i in self.pictures]
        if len(set(cameras)) != len(cameras) or len(set(inputs)) != len(inputs):
            raise ConfigError(f"images: cameras {cameras} at inputs {inputs}; each camera and each input once")

    @property
    def pictures(self) -> tuple[ImageSpec, ...]:
        """``image`` and ``images``."""
        return (self.image, *self.images) if self.image else ()

    @property
    def seeing_graph(self) -> Graph:
        """Of a policy: the graph that takes the observation."""
        return self.graphs[PREFIX if self.flow else "policy"]

    @property
    def chunk_tensor(self) -> Tensor:
        """Of a policy: the tensor with the slices of its chunk, an output of its one graph or what a flow's steps move."""
        if self.flow is None:
            return self.graphs["policy"].outputs[0]
        return next(t for t in self.graphs[STEP].inputs if t.name == X)


def parse_manifest(path: Path) -> Manifest:
    """Reads ``manifest.yaml``: at most 256 KiB of safe YAML without aliases, no unknown or missing key.

    Raises:
        BundleError: ``manifest_invalid`` (or ``file_missing``), naming the file, the field, what it is and what is allowed.
    """
    if not path.is_file():
        raise BundleError(f"{path} does not exist; a bundle is a folder with a manifest.yaml", code="file_missing")
    try:
        return build(Manifest, plain_yaml(path, str(path)), str(path))
    except (ConfigError, RecursionError) as error:
        raise BundleError(str(error), code="manifest_invalid") from error
