# SPDX-License-Identifier: Apache-2.0
"""What the machine itself must have: compilers, Python headers, EGL. Installed with apt where that is allowed."""
from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from .shell import Console, SetupError, clean_environment, run

PYTHONS = ((3, 10), (3, 13))  # oldest and newest with wheels
GLIBC = (2, 34)  # of pylibfranka's wheel, the newest that is asked for
DRIVER_FOLDERS = ('/usr/lib/x86_64-linux-gnu/dri', '/usr/lib64/dri', '/usr/lib/dri')


def check_python() -> None:
    """The wheels exist for CPython 3.10 to 3.13 on x86-64 Linux with glibc, and for nothing else."""
    oldest, newest = PYTHONS
    if not oldest <= sys.version_info[:2] <= newest:
        names = [f'python3.{minor}' for minor in range(newest[1], oldest[1] - 1, -1)]
        here = [name for name in names if shutil.which(name)]
        hint = f'make setup PYTHON={here[0]}' if here else 'none is installed here'
        raise SetupError(f'Python {platform.python_version()} ({sys.executable}) will not do, 3.10 to 3.13 is needed: {hint}')
    if sys.platform != 'linux' or platform.machine() != 'x86_64':
        raise SetupError(f'the ROS wheels are for x86-64 Linux, this is {platform.machine()} {sys.platform}: use docker/')
    library, version = platform.libc_ver()
    numbers = tuple(int(part) for part in version.split('.') if part.isdigit())
    if library == 'glibc' and numbers[:2] < GLIBC:
        raise SetupError(f'glibc {version} will not do, {GLIBC[0]}.{GLIBC[1]} is needed (Ubuntu 22.04, Debian 12 or newer): use docker/')


def library_loads(name: str) -> bool:
    """Whether the dynamic linker finds a shared library."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def has_headers() -> bool:
    """Whether Python.h of this interpreter is installed."""
    return Path(sysconfig.get_path('include'), 'Python.h').is_file()


def has_renderer() -> bool:
    """Whether Mesa's drivers, or those of a graphics card, are there for EGL without a screen."""
    vendors = [Path(folder) for folder in ('/usr/share/glvnd/egl_vendor.d', '/etc/glvnd/egl_vendor.d')]
    nvidia = any('nvidia' in entry.name for folder in vendors if folder.is_dir() for entry in folder.iterdir())
    return nvidia or any(Path(folder).is_dir() for folder in DRIVER_FOLDERS)


def missing_packages() -> dict[str, str]:
    """Debian packages that are needed and absent, each with what it is for."""
    python = f'python{sys.version_info[0]}.{sys.version_info[1]}'
    needs = {
        'g++': (shutil.which('c++') is not None, 'compiles the message packages'),
        'gcc': (shutil.which('cc') is not None, 'compiles the message packages'),
        'make': (shutil.which('make') is not None, 'builds the message packages'),
        'cmake': (shutil.which('cmake') is not None, 'builds the message packages'),
        f'{python}-dev': (has_headers(), 'Python.h for the message packages'),
        f'{python}-venv': (importlib.util.find_spec('ensurepip') is not None, 'makes .venv'),
        'libegl1': (library_loads('libEGL.so.1'), 'renders the camera without a screen'),
        'libgl1': (library_loads('libGL.so.1'), 'renders the camera without a screen'),
        'libgl1-mesa-dri': (has_renderer(), 'renders the camera on the CPU'),
    }
    return {name: purpose for name, (there, purpose) in needs.items() if not there}


def apt_prefix() -> list[str] | None:
    """How apt-get may be called here: as root, by sudo without a password, or not at all."""
    if shutil.which('apt-get') is None:
        return None
    if os.geteuid() == 0:
        return ['apt-get']
    if shutil.which('sudo') and subprocess.run(['sudo', '-n', 'true'], capture_output=True).returncode == 0:
        return ['sudo', '-n', 'DEBIAN_FRONTEND=noninteractive', 'apt-get']
    return None


def provide(console: Console, log: Path) -> None:
    """Install what is missing, or say in one line what to install. Only what set-up itself needs stops it."""
    missing = missing_packages()
    if not missing:
        return
    names = sorted(missing)
    prefix = apt_prefix()
    if prefix:
        console.say(f'installs with apt: {" ".join(names)}')
        environment = clean_environment({'DEBIAN_FRONTEND': 'noninteractive'})
        try:
            run([*prefix, 'update', '-qq'], log, environment, 300.0)
            run([*prefix, 'install', '-y', '-qq', '--no-install-recommends', *names], log, environment, 600.0)
        except SetupError as error:
            console.say(f'apt did not manage: {str(error).splitlines()[0]}')
        importlib.invalidate_caches()
        missing = missing_packages()
    if missing:
        line = f'missing: sudo apt-get install {" ".join(sorted(missing))}'
        if set(missing) - {'libegl1', 'libgl1', 'libgl1-mesa-dri'}:
            raise SetupError(line)
        console.say(f'{line}  (without them the simulated camera has no picture)')
