# SPDX-License-Identifier: Apache-2.0
"""The manifest of a model bundle, part by part."""

from dex_core.bundle.completion import CompletionSpec
from dex_core.bundle.manifest.origin import KINDS, FileEntry, Licence, Provenance, Requirement
from dex_core.bundle.manifest.robots import Embodiment
from dex_core.bundle.manifest.serving import (
    FORMATS,
    ImageSpec,
    InstructionSpec,
    Latency,
    LatentSpec,
    Normalisation,
    Runtime,
    Spaces,
    Timing,
)
from dex_core.bundle.manifest.tensors import DTYPES, Golden, Graph, Slice, Tensor
from dex_core.bundle.manifest.tokens import TokenSpec
from dex_core.bundle.manifest.whole import SCHEMA, Manifest, parse_manifest
from dex_core.bundle.segmentation import SegmentationSpec

__all__ = [
    "DTYPES",
    "FORMATS",
    "KINDS",
    "SCHEMA",
    "CompletionSpec",
    "Embodiment",
    "FileEntry",
    "Golden",
    "Graph",
    "ImageSpec",
    "InstructionSpec",
    "Latency",
    "LatentSpec",
    "Licence",
    "Manifest",
    "Normalisation",
    "Provenance",
    "Requirement",
    "Runtime",
    "SegmentationSpec",
    "Slice",
    "Spaces",
    "Tensor",
    "Timing",
    "TokenSpec",
    "parse_manifest",
]
