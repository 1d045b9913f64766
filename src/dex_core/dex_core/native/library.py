# SPDX-License-Identifier: Apache-2.0
"""A library of C files: compiled with the machine's compiler into a cache at set-up, found again by the hash of its sources."""
from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dex_core.errors import ConfigError, DexError

FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fPIC", "-shared", "-Wall", "-Wextra")
TIMEOUT_S = 120.0
LOGGER = logging.getLogger(__name__)
Loaded = TypeVar("Loaded", bound=ctypes.CDLL)


def cache_folder() -> Path:
    """``$DEX_CACHE_DIR``, else ``$XDG_CACHE_HOME/dex``, else ``~/.cache/dex``."""
    chosen = os.environ.get("DEX_CACHE_DIR")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dex"


def compiler() -> str | None:
    """The C compiler: ``$CC``, cc, gcc or clang; None where there is none."""
    names = (os.environ.get("CC") or "", "cc", "gcc", "clang")
    return next((path for name in names if name and (path := shutil.which(name.split()[0]))), None)


@dataclass(frozen=True)
class Library:
    """The C files of one folder.

    Attributes:
        name: of the file in the cache. folder: where the sources lie. version_function: tells the version of what Python and C pass each other.
        version: the one Python expects. without: what runs how without it, for the log. flags: of the compiler.
    """

    name: str
    folder: Path
    version_function: str
    version: int
    without: str
    flags: tuple[str, ...] = FLAGS

    def sources(self) -> list[Path]:
        """The C files."""
        return sorted(self.folder.glob("*.c"))

    def path(self) -> Path:
        """Where the library of these sources for this processor lies or will lie."""
        digest = hashlib.sha256(" ".join((*self.flags, platform.machine(), _processor())).encode())
        for path in sorted((*self.sources(), *self.folder.glob("*.h"))):
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
        return cache_folder() / f"{self.name}-{digest.hexdigest()[:20]}.so"

    def ensure_built(self) -> Path:
        """The library, compiled where it is not there yet; safe beside other processes that do the same.

        Raises:
            DexError: no compiler, or it refuses; with its words.
        """
        path = self.path()
        if path.is_file():
            return path
        command = compiler()
        if command is None:
            raise DexError("no C compiler is installed (cc, gcc or clang); the slower NumPy path is used without it", code="no_compiler")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{self.name}-", suffix=".so")
            os.close(handle)
        except OSError as error:
            words = f"the {self.name} cannot be written to {path.parent}: {error}; DEX_CACHE_DIR names another folder"
            raise DexError(words, code="no_cache") from error
        try:
            self._compile(command, temporary)
            os.replace(temporary, path)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DexError(f"the {self.name} cannot be compiled: {error}", code="no_compiler") from error
        finally:
            Path(temporary).unlink(missing_ok=True)
        return path

    def load(self, loader: type[Loaded]) -> Loaded | None:
        """The library, built where needed; None where it cannot be, said in the log, or where ``DEX_KERNEL=numpy`` asks for none.

        Args:
            loader: ctypes.PyDLL for functions that last microseconds and keep the interpreter's lock, ctypes.CDLL for longer ones.

        Raises:
            ConfigError: it speaks another version.
        """
        if os.environ.get("DEX_KERNEL", "") == "numpy":
            return None
        try:
            library = loader(str(self.ensure_built()))
        except (DexError, OSError) as error:
            LOGGER.warning("%s: %s", self.without, error)
            return None
        found = library[self.version_function]()
        if found != self.version:
            raise ConfigError(f"the {self.name} has version {found}, expected {self.version}")
        return library

    def _compile(self, command: str, to: str) -> None:
        done = subprocess.run(
            [command, *self.flags, "-o", to, *map(str, self.sources()), "-lm"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        if done.returncode:
            raise DexError(f"{command} cannot compile the {self.name}:\n{done.stderr[-2000:]}", code="no_compiler")
        os.chmod(to, 0o755)


def _processor() -> str:
    """What ``-march=native`` depends on: a cache that moved to another machine is built anew."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
            return next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        return sys.platform
