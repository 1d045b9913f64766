# SPDX-License-Identifier: Apache-2.0
"""Compiles the kernel with the machine's C compiler into a cache; done at set-up, never in a control loop."""
from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from dex_core.errors import DexError

FOLDER = Path(__file__).resolve().parent
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fPIC", "-shared", "-Wall", "-Wextra")
TIMEOUT_S = 120.0


def cache_folder() -> Path:
    """``$DEX_CACHE_DIR``, else ``$XDG_CACHE_HOME/dex``, else ``~/.cache/dex``."""
    chosen = os.environ.get("DEX_CACHE_DIR")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dex"


def sources() -> list[Path]:
    """The kernel's C files."""
    return sorted(FOLDER.glob("*.c"))


def kernel_path() -> Path:
    """Where the kernel of these sources for this processor lies or will lie."""
    digest = hashlib.sha256(" ".join((*FLAGS, platform.machine(), _processor())).encode())
    for path in sorted((*sources(), *FOLDER.glob("*.h"))):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return cache_folder() / f"kernel-{digest.hexdigest()[:20]}.so"


def compiler() -> str | None:
    """The C compiler: ``$CC``, cc, gcc or clang; None where there is none."""
    names = (os.environ.get("CC") or "", "cc", "gcc", "clang")
    return next((path for name in names if name and (path := shutil.which(name.split()[0]))), None)


def ensure_built() -> Path:
    """The kernel, compiled where it is not there yet; safe beside other processes that do the same.

    Raises:
        DexError: no compiler, or it refuses; with its words.
    """
    path = kernel_path()
    if path.is_file():
        return path
    command = compiler()
    if command is None:
        raise DexError("no C compiler is installed (cc, gcc or clang); the slower NumPy path is used without it", code="no_compiler")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".kernel-", suffix=".so")
        os.close(handle)
    except OSError as error:
        raise DexError(f"the kernel cannot be written to {path.parent}: {error}; DEX_CACHE_DIR names another folder", code="no_cache") from error
    try:
        done = subprocess.run(
            [command, *FLAGS, "-o", temporary, *map(str, sources()), "-lm"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        if done.returncode:
            raise DexError(f"{command} cannot compile the kernel:\n{done.stderr[-2000:]}", code="no_compiler")
        os.chmod(temporary, 0o755)
        os.replace(temporary, path)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DexError(f"the kernel cannot be compiled: {error}", code="no_compiler") from error
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def _processor() -> str:
    """What ``-march=native`` depends on: a cache that moved to another machine is built anew."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
            return next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        return sys.platform
