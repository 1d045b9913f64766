# SPDX-License-Identifier: Apache-2.0
"""The compiled kernel of the kinematics: done without where there is no compiler."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

USE = "from dex_core.kinematics.kernel import kernel; print(kernel() is not None)"


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False)


def test_without_compiler_or_cache_numpy_serves(tmp_path: Path) -> None:
    done = python(USE, DEX_CACHE_DIR=str(tmp_path), CC="", PATH="/nonexistent")
    assert done.stdout.strip() == "False" and "no C compiler" in done.stderr and "kinematics" in done.stderr
    (tmp_path / "file").write_text("")
    done = python(USE, DEX_CACHE_DIR=str(tmp_path / "file" / "below"))
    assert done.stdout.strip() == "False" and "DEX_CACHE_DIR" in done.stderr


def test_numpy_can_be_asked_for() -> None:
    assert python(USE, DEX_KERNEL="numpy").stdout.strip() == "False"
