# SPDX-License-Identifier: Apache-2.0
"""Where the files of this package are, in a source tree and in an install."""
from __future__ import annotations

import os
from pathlib import Path

PACKAGE = "dex_description"


def description_path(relative: str) -> Path:
    """Absolute path of a file of this package, such as ``urdf/arms/xarm7.urdf``.

    The source tree is searched first, then the share folder of every prefix in AMENT_PREFIX_PATH.

    Raises:
        FileNotFoundError: no searched folder has the file; the message lists them.
    """
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    roots = [Path(__file__).resolve().parents[1]]
    roots += [Path(prefix) / "share" / PACKAGE for prefix in prefixes]
    for root in roots:
        if (root / relative).is_file():
            return root / relative
    searched = ", ".join(str(root) for root in roots)
    raise FileNotFoundError(f"{PACKAGE} has no file {relative!r}; searched in {searched}")


def resolve(uri: str) -> Path:
    """Path of ``package://dex_description/...``, of a path inside this package, or of an absolute path."""
    if os.path.isabs(uri):
        return Path(uri)
    return description_path(uri.removeprefix(f"package://{PACKAGE}/"))


def read_urdf(uri: str) -> str:
    """Text of a URDF named as in :func:`resolve`."""
    return resolve(uri).read_text(encoding="utf-8")
