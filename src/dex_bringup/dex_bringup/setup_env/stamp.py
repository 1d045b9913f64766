# SPDX-License-Identifier: Apache-2.0
"""What the set-up has finished, kept in `.venv`, so that only the steps whose inputs changed run again."""
from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

NAME = 'dex_setup.json'
Stamp = dict[str, object]


def digest(paths: Iterable[Path], *words: str) -> str:
    """One hash over file names and contents, and over some words; a missing file counts as such."""
    sum_ = hashlib.sha256('\0'.join(words).encode())
    for path in sorted(paths):
        sum_.update(str(path.name).encode() + b'\0')
        sum_.update(path.read_bytes() if path.is_file() else b'(missing)')
    return sum_.hexdigest()


def read(venv: Path) -> Stamp:
    """The stamp of an environment; empty when there is none or it cannot be read."""
    try:
        stamp = json.loads((venv / NAME).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write(venv: Path, stamp: Stamp) -> None:
    """Replace the stamp whole, or not at all."""
    draft = venv / (NAME + '.new')
    draft.write_text(json.dumps(stamp, indent=1, sort_keys=True), encoding='utf-8')
    os.replace(draft, venv / NAME)
