# SPDX-License-Identifier: Apache-2.0
"""The joints a bundle was trained on against the joints of the cell, by name, limits included."""

from __future__ import annotations

from collections.abc import Sequence

from dex_core.bundle.hashes import sha256_bytes
from dex_core.bundle.manifest import Embodiment, Manifest, Slice
from dex_core.config import read_description
from dex_core.config.cell import CellConfig, Interface
from dex_core.config.strict import build, plain_yaml
from dex_core.errors import BundleError, ConfigError

LIMIT_TOLERANCE_RAD = 0.02


def _fail(message: str) -> BundleError:
    return BundleError(message, code="embodiment_mismatch")


def parse_embodiments(manifest: Manifest, contents: dict[str, bytes]) -> dict[str, Embodiment]:
    """Reads ``embodiments/*.yaml``. Raises BundleError ``embodiment_mismatch``."""
    out = {}
    for name in manifest.embodiments:
        path = f"embodiments/{name}.yaml"
        try:
            embodiment = build(Embodiment, plain_yaml(contents[path], path), path)
        except ConfigError as error:
            raise _fail(f"{path}: {error}") from error
        if embodiment.name != name:
            raise _fail(f"{path} describes {embodiment.name!r}, its name says {name!r}")
        _check_alone(path, embodiment)
        out[name] = embodiment
    return out


def _check_alone(path: str, e: Embodiment) -> None:
    n = len(e.joints)
    if n == 0 or len(set(e.joints)) != n or len(e.lower_rad) != n or len(e.upper_rad) != n:
        raise _fail(f"{path}: {len(set(e.joints))} different joints, {len(e.lower_rad)} lower and {len(e.upper_rad)} upper limits")
    for joint, low, high in zip(e.joints, e.lower_rad, e.upper_rad, strict=False):
        if not low < high:
            raise _fail(f"{path}: {joint}: lower {low} must be below upper {high} rad")


def check_graph_joints(manifest: Manifest, embodiments: dict[str, Embodiment]) -> None:
    """Joint columns of every graph are the embodiment's joints, in its order."""
    if manifest.kind == "latent_space":
        for name, graph in manifest.graphs.items():
            tensor = (graph.inputs if name.endswith("/encoder") else graph.outputs)[0]
            joints = embodiments[name.rsplit("/", 1)[0]].joints
            if tensor.names != joints:
                raise _fail(f"graph {name!r}: {tensor.name!r} has joints {list(tensor.names)}, the embodiment has {list(joints)}")
        return
    for graph in manifest.graphs.values():
        for tensor in (*graph.inputs, *graph.outputs):
            for s in tensor.slices:
                if s.space == "joint_position" and not any(e.side == s.side and set(s.names) == set(e.joints) for e in embodiments.values()):
                    raise _fail(f"{tensor.name!r} {s.interface}: joints {list(s.names)} belong to none of the embodiments {list(embodiments)}")


def check_cell(manifest: Manifest, embodiments: dict[str, Embodiment], cell: CellConfig) -> str:
    """Embodiment against the cell that will use it: every mounted robot it drives is known, with the same joints and limits."""
    if manifest.kind == "latent_space":
        mounted = [i for i in cell.interfaces.values() if i.robot.kind == "hand"]
        for interface in mounted:
            _match(embodiments, interface)
        return f"hands {[f'{i.side}_{i.robot.name}' for i in mounted]} of cell {cell.name!r}{_other_urdfs(embodiments, mounted)}"
    output = manifest.chunk_tensor
    covered = [s.interface for s in output.slices]
    if set(covered) != set(cell.interfaces):
        raise _fail(f"the policy moves {sorted(covered)}, cell {cell.name!r} has {sorted(cell.interfaces)}")
    slices: list[Slice] = [s for t in (*manifest.seeing_graph.inputs, output) for s in t.slices]
    for s in slices:
        interface = cell.interfaces.get(s.interface)
        if interface is None:
            raise _fail(f"slice of {s.interface!r}: cell {cell.name!r} has only {list(cell.interfaces)}")
        if s.space != "joint_position":
            continue
        _match(embodiments, interface)
        if set(s.names) != set(interface.robot.actuated):
            raise _fail(f"{s.interface}: the policy's joints are {list(s.names)}, the cell's are {list(interface.robot.actuated)}")
    joints = sorted({s.interface for s in slices if s.space == "joint_position"})
    if not joints:
        return f"names no joint: any arm and hand of cell {cell.name!r} will do"
    driven = [i for name, i in cell.interfaces.items() if name in joints]
    return f"joints of {joints} as in cell {cell.name!r}{_other_urdfs(embodiments, driven)}"


def _other_urdfs(embodiments: dict[str, Embodiment], interfaces: Sequence[Interface]) -> str:
    """A warning where a robot's description is not the one of the training: joints and limits agree, masses or shapes may not."""
    changed = []
    for i in interfaces:
        e = embodiments[f"{i.side}_{i.robot.name}"]
        if e.urdf_sha256 and e.urdf_sha256 != sha256_bytes(read_description(i.robot.urdf, i.side).encode("utf-8")):
            changed.append(e.name)
    return f"; WARNING: the URDF of {changed} is not the one of the training" if changed else ""


def _match(embodiments: dict[str, Embodiment], interface: Interface) -> None:
    name = f"{interface.side}_{interface.robot.name}"
    if name not in embodiments:
        raise _fail(f"{name!r} is mounted, the bundle knows {list(embodiments)}")
    e = embodiments[name]
    if set(e.joints) != set(interface.robot.actuated):
        raise _fail(f"{name}: trained on joints {list(e.joints)}, the cell's are {list(interface.robot.actuated)}")
    for joint, low, high in zip(e.joints, e.lower_rad, e.upper_rad, strict=False):
        limit = interface.robot.limits[joint]
        if joint not in e.limits_differ and max(abs(low - limit.lower_rad), abs(high - limit.upper_rad)) > LIMIT_TOLERANCE_RAD:
            raise _fail(
                f"{name}: {joint} trained with {low} to {high} rad, the cell has {limit.lower_rad} to {limit.upper_rad} rad "
                f"(more than {LIMIT_TOLERANCE_RAD} rad apart and not in limits_differ)"
            )
