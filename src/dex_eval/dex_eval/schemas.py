# SPDX-License-Identifier: Apache-2.0
"""Message definitions as MCAP wants them: the .msg text of a type followed by those of everything it uses."""

from __future__ import annotations

import json
import os
import re
import sys
from functools import cache
from pathlib import Path

from dex_core.errors import DexError

_SEPARATOR = "=" * 80
_FIELD = re.compile(r"^\s*([A-Za-z][\w/]*)(?:<=\d+)?(?:\[[^\]]*\])?\s+[A-Za-z]\w*")
_BASIC = {"bool", "byte", "char", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "string", "wstring"}


class SchemaError(DexError):
    """A message type has no definition here."""

    code = "type_unknown"


def interface_file(type_name: str, suffix: str) -> Path:
    """The installed file of ``pkg/msg/Name``; ``suffix`` is ``.msg`` or ``.json``. Raises SchemaError with the places searched."""
    package, kind, name = type_name.split("/")
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    if os.environ.get("VIRTUAL_ENV"):
        prefixes.append(Path(os.environ["VIRTUAL_ENV"]))
    prefixes.append(Path(sys.prefix))
    for prefix in prefixes:
        path = prefix / "share" / package / kind / (name + suffix)
        if path.is_file():
            return path
    raise SchemaError(f"type {type_name!r} has no {suffix} file under share/ of {[str(p) for p in prefixes]}")


@cache
def ros2msg(type_name: str) -> str:
    """The whole definition of ``pkg/msg/Name`` in ros2msg form, dependencies once each, breadth first."""
    parts: list[str] = []
    waiting, seen = [type_name], {type_name}
    while waiting:
        current = waiting.pop(0)
        text = interface_file(current, ".msg").read_text(encoding="utf-8").strip("\n")
        package, _, name = current.split("/")
        parts.append(text if not parts else f"{_SEPARATOR}\nMSG: {package}/{name}\n{text}")
        for used in _types_in(text, package):
            if used not in seen:
                seen.add(used)
                waiting.append(used)
    return "\n".join(parts) + "\n"


def _types_in(text: str, package: str) -> list[str]:
    found = []
    for line in text.splitlines():
        match = _FIELD.match(line.split("#", 1)[0])
        if match is None or match.group(1) in _BASIC:
            continue
        words = match.group(1).split("/")
        found.append(f"{words[0]}/msg/{words[-1]}" if len(words) > 1 else f"{package}/msg/{words[0]}")
    return found


@cache
def type_hash(type_name: str) -> str:
    """RIHS01 hash of a type; equal hashes mean equal bytes on the wire. Empty where no hash was installed."""
    try:
        data = json.loads(interface_file(type_name, ".json").read_text(encoding="utf-8"))
    except SchemaError:
        return ""
    return next((entry["hash_string"] for entry in data["type_hashes"] if entry["type_name"] == type_name), "")
