# SPDX-License-Identifier: Apache-2.0
"""A torch.export archive (.pt2) looked at before torch touches it: plain members of honest size, no pickled weights, no compiled code.

This narrows what can happen; it makes no stranger's file safe. torch reads sizes as Python expressions (sympy) and keeps guards as code, which is
why a file is only read when its sha256 is named by whoever runs it.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any

from dex_core.errors import BundleError

MAX_MEMBERS = 100_000
MAX_JSON_BYTES = 64 << 20
MAX_RATIO = 1.01
"""torch stores members uncompressed: what unpacks to more than the file is a bomb."""
SAMPLE_INPUTS = "data/sample_inputs/model.pt"
_MEMBER = re.compile(
    r"(archive_format|archive_version|byteorder|\.data/(version|serialization_id|\w+)|models/model\.json|data/sample_inputs/model\.pt"
    r"|data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json))"
)
_OPERATOR = re.compile(r"torch\.ops\.(aten|prims|higher_order)\.\w+(\.\w+)?|torch\.(sym_\w+|_check\w*)|_operator\.\w+|math\.\w+")


def check_archive(blob: bytes, where: str) -> str:
    """Members, sizes and operators of a .pt2 file. Raises BundleError ``graph_refused``; returns what it holds in words."""
    try:
        if not blob.startswith(b"PK\x03\x04"):
            raise ValueError("it does not begin as a zip file does")  # some other file with an archive behind it
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            members = _members(archive, len(blob), where)
            operators = _check_model(_json(archive, members, "models/model.json", where), where)
            for name in ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json"):
                _check_payload(_json(archive, members, name, where), f"{where}: {name}")
    except (zipfile.BadZipFile, ValueError, RecursionError, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        raise BundleError(f"{where}: no torch.export archive: {error}", code="graph_refused") from error
    return f"{len(members)} members, {operators} operators"


def sample_inputs(blob: bytes) -> bytes:
    """The one pickled member of an archive that was checked; empty where it has none."""
    with zipfile.ZipFile(io.BytesIO(blob)) as archive:
        names = [name for name in archive.namelist() if name.split("/", 1)[-1] == SAMPLE_INPUTS]
        return archive.read(names[0]) if names else b""


def _members(archive: zipfile.ZipFile, size: int, where: str) -> dict[str, str]:
    """Path without the archive's name -> path."""
    entries = archive.infolist()
    if len(entries) > MAX_MEMBERS:
        raise _fail(where, f"{len(entries)} members; at most {MAX_MEMBERS} are allowed")
    total, out = sum(e.file_size for e in entries), {}
    if total > MAX_RATIO * size:
        raise _fail(where, f"unpacks to {total} bytes, the file has {size}; torch stores its members as they are")
    for entry in entries:
        inner = entry.filename.split("/", 1)[-1]
        if entry.compress_type != zipfile.ZIP_STORED or entry.is_dir() or not _MEMBER.fullmatch(inner) or inner in out:
            text = "weights and constants as plain tensors, one model, its sample inputs; no pickled objects, no compiled code"
            raise _fail(where, f"member {entry.filename!r} is not allowed here; allowed: {text}")
        out[inner] = entry.filename
    return out


def _json(archive: zipfile.ZipFile, members: dict[str, str], name: str, where: str) -> Any:
    if name not in members:
        raise _fail(where, f"has no member {name!r}")
    if archive.getinfo(members[name]).file_size > MAX_JSON_BYTES:
        raise _fail(where, f"{name} has {archive.getinfo(members[name]).file_size} bytes; at most {MAX_JSON_BYTES} are allowed")
    return json.loads(archive.read(members[name]))


def _check_payload(data: Any, where: str) -> None:
    for name, entry in data["config"].items() if isinstance(data, dict) and isinstance(data.get("config"), dict) else ():
        if not isinstance(entry, dict) or entry.get("use_pickle") is not False:
            raise BundleError(f"{where}: {name!r} is pickled; export it with plain, contiguous tensors", code="graph_refused")


def _check_model(model: Any, where: str) -> int:
    """Every operator is one of torch's own mathematics. Returns how many nodes there are."""
    count, stack = 0, [model]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            target = item.get("target")
            if isinstance(target, str) and "inputs" in item:
                count += 1
                if not _OPERATOR.fullmatch(target):
                    raise _fail(where, f"operator {target!r}; allowed: torch.ops.aten, prims, higher_order, and arithmetic on sizes")
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return count


def _fail(where: str, message: str) -> BundleError:
    return BundleError(f"{where}: {message}", code="graph_refused")
