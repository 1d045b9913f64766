# SPDX-License-Identifier: Apache-2.0
"""The manifest of a model bundle: the only file read before anything is verified; every key is checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dex_core.bundle import completion as completions
from dex_core.bundle.completion import CompletionSpec
from dex_core.bundle.picker import PickerSpec
from dex_core.bundle.segmentation import SegmentationSpec, check_graph_names
from dex_core.config.robot import JointLimit
from dex_core.config.strict import MAX_BYTES, bounded, build, choice, read_yaml
from dex_core.errors import BundleError, ConfigError
from dex_core.types import POSE_COLUMNS, SPACES

SCHEMA = 1
KINDS = ("latent_space", "chunk_policy", "segmentation", "picker", "completion")
DTYPES = ("float32", "uint8", "int64")
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
class Runtime:
    """What runs the graphs. Graphs may need at most ``opset`` and ``ir_version``; operator domains are an allow-list."""

    formats: tuple[str, ...] = ("onnx",)
    opset: int = bounded(1, 100, default=20)
    ir_version: int = bounded(3, 100, default=10)
    domains: tuple[str, ...] = ("",)
    providers: tuple[str, ...] = ("cpu", "cuda")
    deterministic: bool = True


@dataclass(frozen=True)
class Timing:
    """Action k of a chunk is for stamp + (first_action_offset + k) * dt [s]."""

    rate_hz: float = bounded(0.1, 1000.0)
    dt: float = bounded(1e-3, 10.0)
    chunk: int = bounded(1, 4096)
    first_action_offset: float = bounded(-1000.0, 1000.0)
    observation_history: int = bounded(1, 64, default=1)


@dataclass(frozen=True)
class Latency:
    """``budget_ms``: p99 of one warm inference must stay below it on the serving machine."""

    budget_ms: float = bounded(0.01, 60000.0)
    warmup_runs: int = bounded(2, 1000, default=10)


@dataclass(frozen=True)
class Slice:
    """Columns ``at[0]`` to ``at[1]`` (exclusive) of a tensor's last axis.

    Attributes:
        interface: what they belong to, e.g. ``left_arm``.
        space: action space.
        names: joint names WITHOUT the side's prefix (joint_position), in column order; POSE_COLUMNS or nothing (wrist_pose).
        frame: what Cartesian numbers are in; ``world`` (wrist_pose).
        anchor: graph of the required latent space that decodes them, of any hand the policy was trained on, e.g. ``left_inspire/decoder``
            (latent); another hand of the same space may be mounted.
        fingers: semantic fingers, three columns each (fingertip_position).
    """

    at: tuple[int, int]
    interface: str
    space: str = choice(*SPACES)
    names: tuple[str, ...] = ()
    unit: str = ""
    frame: str = ""
    anchor: str = ""
    fingers: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.at[1] - self.at[0]

    @property
    def side(self) -> str:
        """left or right, from the interface's name."""
        return self.interface.split("_", 1)[0]

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns as chunks carry them: joints with the side's prefix, parts of a pose, axes of fingertips; latents have none."""
        if self.space == "wrist_pose":
            return POSE_COLUMNS
        if self.space == "fingertip_position":
            return tuple(f"{finger}_{axis}" for finger in self.fingers for axis in "xyz")
        return tuple(f"{self.side}_{n}" for n in self.names)


@dataclass(frozen=True)
class Tensor:
    """One input or output of a graph.

    Attributes:
        shape: numbers, and names of dynamic axes (``B``).
        space, unit, names: for a tensor that is one slice as a whole.
        interfaces: of a (B, interfaces, steps, latent) tensor, axis 1.
        slices: columns of the last axis; they must tile it exactly.
    """

    name: str
    dtype: str = choice(*DTYPES)
    shape: tuple[Any, ...] = ()
    space: str = ""
    unit: str = ""
    names: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    kind: str = choice("absolute", default="absolute")
    slices: tuple[Slice, ...] = ()

    def __post_init__(self) -> None:
        if not self.shape:
            raise ConfigError("shape is empty; expected e.g. [B, 32]")
        for axis in self.shape:
            named = isinstance(axis, str) and axis.isidentifier()
            if not named and not (isinstance(axis, int) and not isinstance(axis, bool) and axis >= 1):
                raise ConfigError(f"shape holds {axis!r}; an axis is a positive number or a name such as B")
        if self.space and self.space not in SPACES:
            raise ConfigError(f"space is {self.space!r}; allowed: {list(SPACES)}")


@dataclass(frozen=True)
class Golden:
    """Inputs and the outputs the trainer computed for them (npz), with the allowed error."""

    file: str
    atol: float = bounded(0.0, 1.0, default=1e-5)
    rtol: float = bounded(0.0, 1.0, default=1e-4)


@dataclass(frozen=True)
class Graph:
    """One exported network. ``dynamic``: axis name -> smallest and largest length it may have."""

    file: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    golden: Golden
    dynamic: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        used = {a for t in (*self.inputs, *self.outputs) for a in t.shape if isinstance(a, str)}
        if used != set(self.dynamic):
            raise ConfigError(f"dynamic names axes {sorted(self.dynamic)}, the shapes use {sorted(used)}")
        for axis, (low, high) in self.dynamic.items():
            if not 1 <= low <= high:
                raise ConfigError(f"dynamic.{axis} is [{low}, {high}]; expected 1 <= low <= high")

    def input(self, name: str) -> Tensor | None:
        """The input of that name, or None."""
        return next((t for t in self.inputs if t.name == name), None)

    def output(self, name: str) -> Tensor | None:
        """The output of that name, or None."""
        return next((t for t in self.outputs if t.name == name), None)


@dataclass(frozen=True)
class LatentSpec:
    """What a latent is.

    Attributes:
        dim: numbers of a latent.
        residual_q99: 99 % quantile of ||E(D(z)) - z|| over latents of training poses.
        unit: ``frame``: a latent is one posture; ``chunk``: a latent is ``frames`` postures, dt of the chunk apart.
        frames: postures of a latent.
    """

    dim: int = bounded(1, 4096)
    residual_q99: float = bounded(0.0, 1e6)
    unit: str = choice("frame", "chunk", default="frame")
    frames: int = bounded(1, 4096, default=1)

    def __post_init__(self) -> None:
        if (self.unit == "frame") != (self.frames == 1):
            raise ConfigError(f"unit {self.unit!r} with frames {self.frames}: a frame is one posture, a chunk at least 2")


@dataclass(frozen=True)
class Spaces:
    """The spaces a bundle defines."""

    latent: LatentSpec | None = None


@dataclass(frozen=True)
class ImageSpec:
    """The picture a policy takes: (B, height, width, 3) uint8 RGB at graph input ``input``, from ``source`` pictures of the camera."""

    input: str
    height: int = bounded(8, 4096)
    width: int = bounded(8, 4096)
    source_height: int = bounded(8, 8192, default=240)
    source_width: int = bounded(8, 8192, default=320)
    camera: str = "front"
    layout: str = choice("HWC", default="HWC")
    channel_order: str = choice("rgb", default="rgb")
    resize: str = choice("area", default="area")


@dataclass(frozen=True)
class InstructionSpec:
    """How words become ids. ``trained``: the sentences the policy knows; ``min_similarity``: below it an instruction is refused."""

    input: str
    trained: tuple[str, ...]
    length: int = bounded(1, 4096, default=24)
    buckets: int = bounded(2, 2**24, default=4096)
    max_chars: int = bounded(1, 65536, default=256)
    method: str = choice("fnv1a_words_and_pairs", default="fnv1a_words_and_pairs")
    min_similarity: float = bounded(0.0, 1.0, default=0.3)


@dataclass(frozen=True)
class Normalisation:
    """``inside_graph`` true: graphs take and give SI numbers; the statistics then serve the range checks."""

    file: str = "stats.json"
    inside_graph: bool = True


@dataclass(frozen=True)
class FileEntry:
    """Size and sha256 of one file of the bundle."""

    bytes: int = bounded(0, 2**40)
    sha256: str = ""

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            raise ConfigError(f"sha256 is {self.sha256!r}; expected 64 hexadecimal digits")


@dataclass(frozen=True)
class Embodiment:
    """``embodiments/<side>_<robot>.yaml``: the joints and limits a graph was trained with; names without the side's prefix."""

    robot: str
    side: str = choice("left", "right")
    joints: tuple[str, ...] = ()
    lower_rad: tuple[float, ...] = ()
    upper_rad: tuple[float, ...] = ()
    limits_differ: tuple[str, ...] = ()
    urdf: str = ""
    urdf_sha256: str = ""

    @property
    def name(self) -> str:
        """``<side>_<robot>``."""
        return f"{self.side}_{self.robot}"

    @staticmethod
    def of(robot: str, side: str, joints: tuple[str, ...], limits: tuple[JointLimit, ...]) -> Embodiment:
        """From a cell's interface: ``Embodiment.of(i.robot.name, i.side, i.robot.actuated, i.limits)``."""
        return Embodiment(robot, side, joints, tuple(m.lower_rad for m in limits), tuple(m.upper_rad for m in limits))


@dataclass(frozen=True)
class Manifest:
    """The whole manifest; fields as in the module's dataclasses."""

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
    instruction: InstructionSpec | None = None
    normalisation: Normalisation | None = None
    segmentation: SegmentationSpec | None = None
    picker: PickerSpec | None = None
    completion: CompletionSpec | None = None

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ConfigError(f"schema is {self.schema}; this version reads {SCHEMA}")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", self.name):
            raise ConfigError(f"name is {self.name!r}; expected lower-case letters, digits and _")
        _NEEDS[self.kind](self)


def _need(manifest: Manifest, *fields: str) -> None:
    for name in fields:
        if getattr(manifest, name) is None:
            raise ConfigError(f"key {name!r} is missing; a {manifest.kind} bundle needs it")


def _refuse(manifest: Manifest, *fields: str) -> None:
    for name in fields:
        if getattr(manifest, name) is not None:
            raise ConfigError(f"key {name!r} has no place in a {manifest.kind} bundle")


def _check_latent_space(manifest: Manifest) -> None:
    _refuse(manifest, "image", "instruction", "segmentation", "picker", "completion")
    if manifest.spaces.latent is None:
        raise ConfigError("spaces.latent is missing; a latent_space bundle needs it")
    if not manifest.embodiments:
        raise ConfigError("embodiments is empty; a latent_space bundle names at least one <side>_<hand>")
    wanted = {f"{e}/{part}" for e in manifest.embodiments for part in ("encoder", "decoder")}
    if set(manifest.graphs) != wanted:
        raise ConfigError(f"graphs must be {sorted(wanted)}, got {sorted(manifest.graphs)}")


def _check_chunk_policy(manifest: Manifest) -> None:
    _refuse(manifest, "segmentation", "picker", "completion")
    _need(manifest, "timing", "image", "instruction", "normalisation")
    if set(manifest.graphs) != {"policy"}:
        raise ConfigError(f"graphs must be ['policy'], got {sorted(manifest.graphs)}")


def _check_segmentation(manifest: Manifest) -> None:
    _refuse(manifest, "timing", "image", "instruction", "normalisation", "picker", "completion")
    _need(manifest, "segmentation")
    check_graph_names(manifest.graphs)


def _check_picker(manifest: Manifest) -> None:
    _refuse(manifest, "timing", "image", "instruction", "normalisation", "segmentation", "completion")
    _need(manifest, "picker")
    if set(manifest.graphs) != {"picker"}:
        raise ConfigError(f"graphs must be ['picker'], got {sorted(manifest.graphs)}")


def _check_completion(manifest: Manifest) -> None:
    _refuse(manifest, "timing", "image", "instruction", "normalisation", "segmentation", "picker")
    _need(manifest, "completion")
    completions.check_graph_names(manifest.graphs)


_NEEDS = {
    "latent_space": _check_latent_space, "chunk_policy": _check_chunk_policy, "segmentation": _check_segmentation, "picker": _check_picker,
    "completion": _check_completion,
}


def parse_manifest(path: Path) -> Manifest:
    """Reads ``manifest.yaml``: at most 256 KiB of safe YAML without aliases, no unknown or missing key.

    Raises:
        BundleError: ``manifest_invalid`` (or ``file_missing``), naming the file, the field, what it is and what is allowed.
    """
    if not path.is_file():
        raise BundleError(f"{path} does not exist; a bundle is a folder with a manifest.yaml", code="file_missing")
    try:
        data = read_yaml(path)
        if b"*" in path.read_bytes() and any(isinstance(e, yaml.AliasEvent) for e in yaml.parse(path.read_text("utf-8"))):
            raise ConfigError(f"{path}: YAML aliases are not allowed in a manifest")
        return build(Manifest, data, str(path))
    except (ConfigError, RecursionError) as error:
        raise BundleError(str(error), code="manifest_invalid") from error


__all__ = [
    "DTYPES",
    "KINDS",
    "MAX_BYTES",
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
    "parse_manifest",
]
