# SPDX-License-Identifier: Apache-2.0
"""The virtual environment and the pinned wheels in it: made, filled, checked file by file, repaired."""
from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from .shell import Console, SetupError, clean_environment, run

REQUIREMENTS = ('requirements.txt', 'requirements-test.txt')
CLIENTS = 'requirements-clients.txt'  # without their dependencies
LEARN = 'requirements-learn.txt'
PEERS = 'requirements-bench.txt'
CONSTRAINTS = 'constraints.txt'
ATTEMPTS = 3
PIP_TIMEOUT_S = 1800.0


def python_of(venv: Path) -> Path:
    """The environment's interpreter."""
    return venv / 'bin' / 'python'


def python_version(venv: Path) -> str | None:
    """`3.11.7` of a working interpreter; None when there is none or it does not run."""
    question = 'import platform; print(platform.python_version())'
    try:
        done = subprocess.run([python_of(venv), '-S', '-c', question], capture_output=True, text=True,
                              timeout=30, env=clean_environment())
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def site_packages(venv: Path) -> Path:
    """Where the environment keeps its packages; raises SetupError when there is not exactly one such folder."""
    found = sorted((venv / 'lib').glob('python3.*/site-packages'))
    if len(found) != 1:
        raise SetupError(f'{venv}/lib holds {len(found)} site-packages folders, not one: remove {venv} and start again')
    return found[0]


def make_venv(venv: Path, console: Console, log: Path) -> None:
    """A new, empty environment from the running Python; an old one is removed."""
    if venv.exists():
        shutil.rmtree(venv)
    console.say(f'makes {venv.name} with Python {sys.version.split()[0]}')
    base = Path(sys.executable).resolve()  # also when the old environment itself runs this
    run([base, '-m', 'venv', venv], log, clean_environment(), 120.0)
    # colcon must not look for packages in here
    (venv / 'COLCON_IGNORE').touch()


def pip_install(root: Path, venv: Path, arguments: list[str], console: Console, log: Path, what: str) -> None:
    """One pip install under the constraints, tried again when the network fails."""
    constraints = str(root / CONSTRAINTS)
    environment = clean_environment({'PIP_CONSTRAINT': constraints, 'PIP_BUILD_CONSTRAINT': constraints,
                                     'PIP_DISABLE_PIP_VERSION_CHECK': '1', 'PIP_NO_INPUT': '1',
                                     '_ROS_WHEELS_BOOTSTRAP_COMPLETE': '1'})
    command = [python_of(venv), '-m', 'pip', 'install', '--progress-bar', 'off', '-c', constraints, *arguments]
    collected: set[str] = set()

    def follow(line: str) -> None:
        match = re.match(r'Collecting (\S+?)(?:[=<>!~\[;]|$)', line)
        if match:
            collected.add(match[1])
            console.progress(f'{what}: {len(collected)} packages found, now {match[1]}')
        elif line.startswith('Installing collected packages'):
            console.progress(f'{what}: writes {line.count(",") + 1} packages into {venv.name}')

    for attempt in range(1, ATTEMPTS + 1):
        try:
            return run(command, log, environment, PIP_TIMEOUT_S, follow)
        except SetupError:
            if attempt == ATTEMPTS:
                raise
            console.say(f'{what}: pip failed, attempt {attempt + 1} of {ATTEMPTS}')
            time.sleep(2.0 * attempt)


def install(root: Path, venv: Path, console: Console, log: Path) -> dict[str, str]:
    """Install everything the requirement files name; gives {distribution: version} of what is there then."""
    remove_unfinished(site_packages(venv))
    console.say('installs the pinned wheels of ROS 2 Jazzy, MuJoCo, Pinocchio, onnxruntime and the rest')
    arguments = [word for name in REQUIREMENTS for word in ('-r', str(root / name))]
    pip_install(root, venv, arguments, console, log, 'wheels')
    pip_install(root, venv, ['--no-deps', '-r', str(root / CLIENTS)], console, log, 'clients')
    return distributions(site_packages(venv))


def install_extra(root: Path, venv: Path, name: str, console: Console, log: Path) -> dict[str, str]:
    """Install one more requirement file, `LEARN` or `PEERS`; gives {distribution: version} of what is there then."""
    what, words = {LEARN: ('torch', 'torch for dex_learn'), PEERS: ('peers', 'the libraries that dex bench measures beside ours')}[name]
    console.say(f'installs {words}')
    pip_install(root, venv, ['-r', str(root / name)], console, log, what)
    return distributions(site_packages(venv))


def remove_unfinished(site: Path) -> None:
    """Remove what an interrupted pip left behind: metadata without a file list, and its `~` folders."""
    for info in site.glob('*.dist-info'):
        if not (info / 'RECORD').is_file():
            shutil.rmtree(info)
    for left in site.glob('~*'):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def distributions(site: Path) -> dict[str, str]:
    """{folder name: version} of every wheel pip installed (not of the packages linked from src/)."""
    found = {}
    for info in sorted(site.glob('*.dist-info')):
        if not (info / 'direct_url.json').exists():
            name, version = info.name[:-len('.dist-info')].split('-', 1)
            found[name] = version
    return found


def recorded_files(site: Path, name: str, version: str) -> Iterator[tuple[str, int | None]]:
    """Absolute path and size [bytes] of each file of one wheel; no size where set-up may have changed it."""
    share = os.path.join('..', '..', '..', 'share')
    with (site / f'{name}-{version}.dist-info' / 'RECORD').open(newline='', encoding='utf-8') as text:
        for row in csv.reader(text):
            if not row or row[0].endswith('.pyc'):
                continue
            sized = len(row) > 2 and row[2].isdigit() and not row[0].startswith(share)
            yield os.path.normpath(os.path.join(site, row[0])), int(row[2]) if sized else None


def damaged(site: Path, expected: dict[str, str]) -> list[str]:
    """The wheels of which a file is gone or has another size, as `name==version`."""
    allowed: dict[str, set[int | None]] = {}  # two wheels may bring the same file, in two sizes
    owners: dict[str, set[str]] = {}
    broken = set()
    for name, version in expected.items():
        try:
            for path, size in recorded_files(site, name, version):
                allowed.setdefault(path, set()).add(size)
                owners.setdefault(path, set()).add(f'{name}=={version}')
        except (OSError, UnicodeDecodeError, csv.Error):
            broken.add(f'{name}=={version}')
    for path, sizes in allowed.items():
        try:
            actual = os.stat(path).st_size
        except OSError:
            broken |= owners[path]
            continue
        if None not in sizes and actual not in sizes:
            broken |= owners[path]
    return sorted(broken)


def repair(root: Path, venv: Path, broken: list[str], console: Console, log: Path) -> None:
    """Install damaged wheels again, alone."""
    site = site_packages(venv)
    for pin in broken:
        name, version = pin.split('==')
        info = site / f'{name}-{version}.dist-info'
        if info.is_dir() and not (info / 'RECORD').is_file():
            shutil.rmtree(info)
    shown = ', '.join(broken[:6]) + (f' and {len(broken) - 6} more' if len(broken) > 6 else '')
    console.say(f'installs again, as files of them are missing or changed: {shown}')
    remove_unfinished(site)
    pip_install(root, venv, ['--force-reinstall', '--no-deps', *broken], console, log, 'repair')
    still = damaged(site, distributions(site))
    if still:
        raise SetupError(f'still damaged after a repair: {", ".join(still)}; remove {venv} and start again')
