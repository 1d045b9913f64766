# SPDX-License-Identifier: Apache-2.0
"""The compiled kernel: built once, found again, done without where there is no compiler."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dex_core.errors import DexError
from dex_core.kinematics.kernel import build

USE = "from dex_core.kinematics.kernel import kernel; print(kernel() is not None)"


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if build.compiler() is None:
        pytest.skip("needs a C compiler")
    monkeypatch.setenv("DEX_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_is_compiled_once_and_found_again(cache: Path) -> None:
    path = build.ensure_built()
    made = path.stat().st_mtime_ns
    assert build.ensure_built() == path and path.stat().st_mtime_ns == made
    assert [p.name for p in cache.iterdir()] == [path.name]


def test_other_sources_are_another_kernel(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = build.kernel_path()
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-O1"))
    assert build.kernel_path() != before


def test_what_the_compiler_says_is_told_and_nothing_is_left(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-no-such-flag"))
    with pytest.raises(DexError, match="no-such-flag"):
        build.ensure_built()
    assert not list(cache.iterdir())


def test_without_compiler_or_cache_numpy_serves(tmp_path: Path) -> None:
    done = python(USE, DEX_CACHE_DIR=str(tmp_path), CC="", PATH="/nonexistent")
    assert done.stdout.strip() == "False" and "no C compiler" in done.stderr
    (tmp_path / "file").write_text("")
    done = python(USE, DEX_CACHE_DIR=str(tmp_path / "file" / "below"))
    assert done.stdout.strip() == "False" and "DEX_CACHE_DIR" in done.stderr


def test_numpy_can_be_asked_for() -> None:
    assert python(USE, DEX_KERNEL="numpy").stdout.strip() == "False"


def test_two_processes_build_side_by_side(cache: Path) -> None:
    import os

    environment = {**os.environ, "DEX_CACHE_DIR": str(cache)}
    both = [subprocess.Popen([sys.executable, "-c", USE], env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=120)[0].strip() for process in both] == ["True", "True"]
    assert len(list(cache.iterdir())) == 1
