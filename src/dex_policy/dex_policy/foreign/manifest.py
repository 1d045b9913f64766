# SPDX-License-Identifier: Apache-2.0
"""The description of a policy that somebody else's server runs: what it sees, what its numbers mean, where it is. Nothing is guessed."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dex_core.bundle.hashes import bundle_hash, sha256_file
from dex_core.config.strict import bounded, build, choice, read_yaml
from dex_core.errors import BundleError, ConfigError
from dex_policy.foreign.part import Part

KIND = "remote_policy"
SCHEMA = 1
SCHEMES = {"openpi": ("ws", "wss"), "lerobot": ("grpc",)}


@dataclass(frozen=True)
class Server:
    """Where the server is and how long it may take. All times in seconds.

    Attributes:
        url: ``ws://host:port`` or ``wss://host:port`` (openpi), ``grpc://host:port`` (lerobot).
        deadline_s: longest wait for a chunk; first_deadline_s: for the first one after connecting, which may compile the network.
        connect_timeout_s: longest wait for a connection; the next try comes after a pause that grows from 0.2 to 5 s.
        heartbeat_s: an idle connection is asked for a sign of life this often.
        max_reply_mib: a longer answer is refused before it is stored [MiB].
        token_file: file whose one line goes into the header ``Authorization: Api-Key ...``; never written to a log.
        ca_file: certificates that a ``wss`` server's must be signed by; empty: those of the system.
        metadata: what the server's first frame must say, key by key, no more and no less (openpi).
    """

    url: str
    deadline_s: float = bounded(0.01, 60.0)
    first_deadline_s: float = bounded(0.01, 1800.0, default=60.0)
    connect_timeout_s: float = bounded(0.1, 60.0, default=5.0)
    heartbeat_s: float = bounded(0.1, 60.0, default=1.0)
    max_reply_mib: float = bounded(0.001, 1024.0, default=8.0)
    token_file: str = ""
    ca_file: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """Name or address in the URL."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """Port in the URL, 0 where it gives none. Raises ConfigError for one that is none."""
        try:
            return urlsplit(self.url).port or 0
        except ValueError as error:
            raise ConfigError(f"url is {self.url!r}: {error}") from error


@dataclass(frozen=True)
class LeRobot:
    """What a LeRobot server is asked to load, and that its answers may be pickles.

    Attributes:
        allow_pickle: the word ``lerobot``, written by whoever trusts that server. Answers are read by an interpreter that calls nothing.
        host: the server's IP address once more: the permission is for this machine alone.
        policy_type, checkpoint, device: what the server is asked to load; it is asked for nothing else.
        rename_map: the server's own keys -> the checkpoint's, as its rename step takes them.
    """

    policy_type: str
    checkpoint: str
    host: str
    allow_pickle: str = choice("lerobot")
    device: str = "cpu"
    rename_map: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            ipaddress.ip_address(self.host)
        except ValueError as error:
            raise ConfigError(f"host is {self.host!r}; pickles are allowed for one IP address, not for a name") from error
        if not self.policy_type or not self.checkpoint:
            raise ConfigError("policy_type and checkpoint must be given: the server loads what it is told")


@dataclass(frozen=True)
class Picture:
    """A picture the server is sent, uint8 RGB.

    Attributes:
        key: the server's name for it. camera: the cell's.
        source_height, source_width: of the camera's picture; another one is refused [px].
        height, width: as sent [px]. layout: HWC or CHW.
        resize: none; area (stretched by area averaging); pad (scaled as a whole, bilinear, black bars: openpi's ``resize_with_pad``).
    """

    key: str
    camera: str
    source_height: int = bounded(8, 8192)
    source_width: int = bounded(8, 8192)
    height: int = bounded(8, 4096)
    width: int = bounded(8, 4096)
    layout: str = choice("HWC", "CHW")
    resize: str = choice("none", "area", "pad")

    def __post_init__(self) -> None:
        if self.resize == "none" and (self.height, self.width) != (self.source_height, self.source_width):
            raise ConfigError(f"resize is 'none', but {self.source_width} x {self.source_height} becomes {self.width} x {self.height}")


@dataclass(frozen=True)
class State:
    """A vector of measured numbers the server is sent. ``key``: the server's name for it; the parts tile it in order."""

    key: str
    parts: tuple[Part, ...]
    dtype: str = choice("float32", "float64")

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConfigError(f"state {self.key!r} has no parts")
        for part in self.parts:
            if part.of == "unused" or part.reference or part.limits or part.binary:
                raise ConfigError(f"state {self.key!r}: unused numbers, reference, limits and binary are of actions")

    @property
    def width(self) -> int:
        """How many numbers it is."""
        return sum(part.width for part in self.parts)


@dataclass(frozen=True)
class Instruction:
    """The user's words. ``trained``: the sentences the policy knows, empty: any; ``min_similarity``: below it an instruction is refused."""

    key: str
    trained: tuple[str, ...] = ()
    min_similarity: float = bounded(0.0, 1.0, default=0.3)


@dataclass(frozen=True)
class ObservationMap:
    """All that the server is sent."""

    pictures: tuple[Picture, ...]
    states: tuple[State, ...]
    instruction: Instruction

    def __post_init__(self) -> None:
        if not self.pictures:
            raise ConfigError("pictures is empty; an observation has the stamp of its first picture")
        keys = [p.key for p in self.pictures] + [s.key for s in self.states] + [self.instruction.key]
        if len(set(keys)) != len(keys):
            raise ConfigError(f"keys {keys}: one is given twice")


@dataclass(frozen=True)
class ActionMap:
    """What the server answers: (chunk, columns) numbers. Action k is for stamp + (first_action_offset + k) / rate_hz.

    Attributes:
        key: the server's name for them (openpi).
        parts: tile the columns in order; several may be of one interface, whose joints they must name exactly once each.
        hold: interfaces that the server does not move: they stay where they were measured first in the goal.
    """

    parts: tuple[Part, ...]
    columns: int = bounded(1, 4096)
    chunk: int = bounded(2, 4096)
    rate_hz: float = bounded(0.1, 1000.0)
    first_action_offset: float = bounded(-1000.0, 1000.0)
    key: str = ""
    hold: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        width = sum(part.width for part in self.parts)
        if width != self.columns:
            raise ConfigError(f"columns is {self.columns}, but the parts are {[part.width for part in self.parts]}, {width} in all")
        for part in self.parts:
            if part.of == "constant":
                raise ConfigError("a part of 'constant' has no place in an action; numbers that move nothing are 'unused'")
            if part.of != "unused" and not (part.reference and part.limits):
                raise ConfigError(f"part {part.of!r} of {part.interface}: reference and limits must be given")
        moved = {part.interface for part in self.parts if part.of != "unused"}
        if not moved or moved & set(self.hold):
            raise ConfigError(f"the parts move {sorted(moved)}, hold names {list(self.hold)}; at least one is moved, and none is both")


@dataclass(frozen=True)
class RemoteManifest:
    """The whole description; fields as in the module's dataclasses."""

    schema: int
    name: str
    version: str
    server: Server
    observation: ObservationMap
    action: ActionMap
    kind: str = choice(KIND)
    protocol: str = choice(*SCHEMES)
    lerobot: LeRobot | None = None
    notes: str = ""

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ConfigError(f"schema is {self.schema}; this version reads {SCHEMA}")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", self.name):
            raise ConfigError(f"name is {self.name!r}; expected lower-case letters, digits and _")
        scheme = urlsplit(self.server.url).scheme
        if scheme not in SCHEMES[self.protocol] or not self.server.host or not self.server.port:
            wanted = " or ".join(f"{s}://HOST:PORT" for s in SCHEMES[self.protocol])
            raise ConfigError(f"server.url is {self.server.url!r}; protocol {self.protocol!r} needs {wanted}")
        _PROTOCOL_CHECKS[self.protocol](self)


def _check_openpi(manifest: RemoteManifest) -> None:
    if manifest.lerobot is not None:
        raise ConfigError("key 'lerobot' has no place with protocol 'openpi'")
    if not manifest.action.key:
        raise ConfigError("action.key is missing; protocol 'openpi' needs the name of the actions, usually 'actions'")


def _check_lerobot(manifest: RemoteManifest) -> None:
    server, action = manifest.server, manifest.action
    if manifest.lerobot is None:
        raise ConfigError("key 'lerobot' is missing: that server answers in pickles, which must be allowed by name (lerobot.allow_pickle)")
    if manifest.lerobot.host != server.host:
        raise ConfigError(f"pickles are allowed for host {manifest.lerobot.host}, server.url names {server.host}")
    if server.metadata or server.token_file or server.ca_file or action.key:
        raise ConfigError("server.metadata, server.token_file, server.ca_file and action.key have no place with protocol 'lerobot'")
    if [s.key for s in manifest.observation.states] != ["observation.state"]:
        raise ConfigError("protocol 'lerobot' sends exactly one state, with key 'observation.state'")
    if manifest.observation.instruction.key != "task":
        raise ConfigError(f"instruction.key is {manifest.observation.instruction.key!r}; protocol 'lerobot' calls it 'task'")
    for picture in manifest.observation.pictures:
        if not re.fullmatch(r"observation\.images\.\w+", picture.key) or picture.layout != "HWC":
            raise ConfigError(f"picture {picture.key!r}: protocol 'lerobot' needs a key observation.images.NAME and layout HWC")


_PROTOCOL_CHECKS = {"openpi": _check_openpi, "lerobot": _check_lerobot}


def is_remote(folder: Path) -> bool:
    """Whether ``manifest.yaml`` of a folder says it is a description of this kind; False for what cannot be read."""
    try:
        data = read_yaml(folder / "manifest.yaml")
    except ConfigError:
        return False
    return isinstance(data, dict) and data.get("kind") == KIND


def parse_remote(folder: Path) -> tuple[RemoteManifest, str]:
    """The description in a folder that holds nothing else, and its hash as of any bundle.

    Raises:
        BundleError: ``manifest_invalid`` or ``file_unlisted``, naming the file, the key, the value and what is allowed.
    """
    path = folder / "manifest.yaml"
    others = sorted(p.name for p in folder.iterdir() if p.name != path.name)
    if others:
        raise BundleError(f"{folder} holds {others[0]!r}; a {KIND} bundle holds manifest.yaml alone", code="file_unlisted")
    try:
        manifest = build(RemoteManifest, read_yaml(path), str(path))
    except (ConfigError, RecursionError) as error:
        raise BundleError(str(error), code="manifest_invalid") from error
    return manifest, bundle_hash({path.name: sha256_file(path)})
