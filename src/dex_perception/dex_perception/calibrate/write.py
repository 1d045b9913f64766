# SPDX-License-Identifier: Apache-2.0
"""Puts a camera's pose into a cell's YAML: only those values change; comments, order and layout stay."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import yaml

from dex_core.config.robot import Pose
from dex_core.errors import ConfigError

OBSOLETE = ("position_m", "look_at_m")
"""A measured pose takes their place; left in, they would say something else."""


def with_camera_pose(text: str, camera: str, pose: Pose, mounted_on: str, where: str) -> str:
    """The cell file's text with ``cameras.<camera>.pose`` and ``mounted_on`` set, ``OBSOLETE`` taken out.

    Args:
        text: the file as it is.
        where: its name, for errors.

    Raises:
        ConfigError: there is no such camera in it, or its YAML uses anchors there.
    """
    entry = _entry(yaml.compose(text), ("cameras", camera), where)
    values = {
        "pose": f"{{xyz_m: {_numbers(pose.xyz_m)}, rpy_rad: {_numbers(pose.rpy_rad)}}}",
        "mounted_on": mounted_on,
    }
    return _edited(text, entry, values, where)


def difference(old: str, new: str, where: str) -> str:
    """What would change, as a unified diff."""
    return "".join(difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), where, f"{where} (calibrated)", n=2))


def _entry(node: yaml.Node | None, keys: tuple[str, ...], where: str) -> yaml.MappingNode:
    for depth, key in enumerate(keys):
        found = {k.value: v for k, v in node.value} if isinstance(node, yaml.MappingNode) else {}
        if key not in found:
            raise ConfigError(f"{where}: there is no {'.'.join(keys[: depth + 1])}; it has {sorted(found)}")
        node = found[key]
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise ConfigError(f"{where}: {'.'.join(keys)} is no mapping")
    return node


def _edited(text: str, entry: yaml.MappingNode, values: Mapping[str, str], where: str) -> str:
    """From the end to the beginning, so that places stay true."""
    out, present = text, {k.value: (k, v) for k, v in entry.value}
    last = entry.value[-1]
    changes: list[tuple[int, int, str]] = [(v.start_mark.index, _end(text, v), values[name]) for name, (_, v) in present.items() if name in values]
    new = [f"{name}: {value}" for name, value in values.items() if name not in present]
    if entry.flow_style:
        changes += [(_end(text, last[1]), _end(text, last[1]), "".join(f", {item}" for item in new))]
        obsolete = [name for name in OBSOLETE if name in present]
        if obsolete:
            raise ConfigError(f"{where}: a camera written in braces with {obsolete}; write it as a block, one key a line")
    else:
        indent, place = " " * last[0].start_mark.column, _line_end(text, _end(text, last[1]))
        opening = "" if text[:place].endswith("\n") else "\n"
        changes.append((place, place, opening + "".join(f"{indent}{item}\n" for item in new) if new else ""))
        changes += [(_line_start(text, k), _line_end(text, _end(text, v)), "") for n, (k, v) in present.items() if n in OBSOLETE]
    for start, end, fresh in sorted(changes, key=lambda c: (c[0], c[1]), reverse=True):
        out = out[:start] + fresh + out[end:]
    return out


def _end(text: str, node: yaml.Node) -> int:
    """Where a value ends; a block's end mark lies behind the blank lines and comments that follow it."""
    return node.start_mark.index + len(text[node.start_mark.index : node.end_mark.index].rstrip())


def _line_start(text: str, node: yaml.Node) -> int:
    return node.start_mark.index - node.start_mark.column


def _line_end(text: str, index: int) -> int:
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1


def _numbers(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(repr(float(v)) for v in values) + "]"
