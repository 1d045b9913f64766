# SPDX-License-Identifier: Apache-2.0
"""Compiled parts: built once, found again, refused with reasons; every one of the core's compiles."""
from __future__ import annotations

import ctypes
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dex_core.errors import ConfigError, DexError
from dex_core.native import LIBRARIES, Library, compiler


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if compiler() is None:
        pytest.skip("needs a C compiler")
    monkeypatch.delenv("DEX_KERNEL", raising=False)
    monkeypatch.setenv("DEX_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def library(tmp_path: Path) -> Library:
    (tmp_path / "three.c").write_text('#include "three.h"\nint three(void) { return THREE; }\n')
    (tmp_path / "three.h").write_text("#define THREE 3\n")
    return Library("threes", tmp_path, "three", 3, "there is no three")


def test_is_compiled_once_and_found_again(library: Library, cache: Path) -> None:
    path = library.ensure_built()
    made = path.stat().st_mtime_ns
    assert library.ensure_built() == path and path.stat().st_mtime_ns == made
    assert [p.name for p in cache.iterdir()] == [path.name] and path.name.startswith("threes-")
    assert library.load(ctypes.CDLL).three() == 3


def test_other_sources_headers_and_flags_are_another_library(library: Library, cache: Path) -> None:
    paths = [library.path(), dataclasses.replace(library, flags=(*library.flags, "-O1")).path()]
    for name in ("three.c", "three.h"):
        (library.folder / name).write_text((library.folder / name).read_text() + "\n")
        paths.append(library.path())
    assert len(set(paths)) == 4


def test_what_the_compiler_says_is_told_and_nothing_is_left(library: Library, cache: Path) -> None:
    with pytest.raises(DexError, match="cannot compile the threes:(.|\n)*no-such-flag"):
        dataclasses.replace(library, flags=(*library.flags, "-no-such-flag")).ensure_built()
    assert not list(cache.iterdir())


def test_without_compiler_cache_or_wish_there_is_none(
    library: Library, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("DEX_KERNEL", "numpy")
    assert library.load(ctypes.CDLL) is None and not caplog.records
    monkeypatch.delenv("DEX_KERNEL")
    monkeypatch.setenv("DEX_CACHE_DIR", str(tmp_path / "three.c" / "below"))
    assert library.load(ctypes.CDLL) is None and "there is no three: the threes cannot be written" in caplog.text
    monkeypatch.setenv("DEX_CACHE_DIR", str(cache))
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("CC", "")
    assert library.load(ctypes.CDLL) is None and "no C compiler" in caplog.text


def test_another_version_is_refused(library: Library, cache: Path) -> None:
    with pytest.raises(ConfigError, match="the threes has version 3, expected 4"):
        dataclasses.replace(library, version=4).load(ctypes.CDLL)


def test_two_processes_build_side_by_side(library: Library, cache: Path) -> None:
    code = f"""import ctypes; from pathlib import Path; from dex_core.native import Library
print(Library("threes", Path({str(library.folder)!r}), "three", 3, "").load(ctypes.CDLL).three())"""
    environment = {**os.environ, "DEX_CACHE_DIR": str(cache)}
    both = [subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=120)[0].strip() for process in both] == ["3", "3"]
    assert len(list(cache.iterdir())) == 1


def test_every_compiled_part_has_sources_and_its_own_name() -> None:
    assert len({one.name for one in LIBRARIES}) == len(LIBRARIES) and all(one.sources() for one in LIBRARIES)


def test_set_up_builds_all_and_prints_one_path_a_line() -> None:
    if compiler() is None:
        pytest.skip("needs a C compiler")
    done = subprocess.run([sys.executable, "-m", "dex_core.native"], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == [str(one.path()) for one in LIBRARIES] and all(Path(line).is_file() for line in done.stdout.split())
