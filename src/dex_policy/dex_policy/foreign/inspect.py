# SPDX-License-Identifier: Apache-2.0
"""What `dex bundle info` and `dex bundle verify` say of a description of somebody else's server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dex_core.config import CellConfig
from dex_core.config.strict import to_plain
from dex_core.errors import DexError
from dex_policy.foreign.load import open_foreign
from dex_policy.foreign.manifest import parse_remote


def describe(folder: Path, *, as_json: bool) -> str:
    """The description as text. Raises BundleError."""
    manifest, digest = parse_remote(folder)
    if as_json:
        return json.dumps({"folder": str(folder), "hash": digest, "manifest": to_plain(manifest)}, indent=1)
    seen, action = manifest.observation, manifest.action
    lines = [
        ("bundle", f"{manifest.name} {manifest.version}, kind {manifest.kind}, protocol {manifest.protocol}, hash {digest}"),
        ("server", f"{manifest.server.url}, {manifest.server.deadline_s} s for a chunk"),
        *(("picture", f"{p.key}: camera {p.camera}, {p.width} x {p.height} {p.layout}, resize {p.resize}") for p in seen.pictures),
        *(("state", f"{s.key}: {s.width} numbers of {', '.join(part.interface or part.of for part in s.parts)}") for s in seen.states),
        ("action", f"{action.chunk} steps of {action.columns} numbers at {action.rate_hz:g} Hz, first at +{action.first_action_offset:g} steps"),
    ]
    return "\n".join(f"{key:<12} {value}" for key, value in lines)


def verify(folder: Path, cell: CellConfig | None) -> dict[str, Any]:
    """Reads the description, fits it to the cell and asks the server for a first chunk; without a cell it is only read.

    Returns:
        ``ok``, ``code`` and ``detail`` of the refusal or of what was seen, ``folder``, ``hash``.
    """
    out: dict[str, Any] = {"folder": str(folder), "ok": True, "code": "", "detail": "the description is sound; no cell, so no server was asked"}
    try:
        manifest, out["hash"] = parse_remote(folder)
        if cell is None:
            return out
        policy = open_foreign(folder, cell)
        try:
            policy.wait_ready(manifest.server.first_deadline_s)
            why = policy.health()
        finally:
            policy.close()
        out["detail"] = f"fits cell {cell.name}; {manifest.server.url} answered as described"
        if why:
            raise DexError(why, code=why.partition(":")[0])
    except DexError as error:
        out.update(ok=False, code=error.code, detail=str(error))
    return out
