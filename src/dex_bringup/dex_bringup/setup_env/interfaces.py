# SPDX-License-Identifier: Apache-2.0
"""Builds the message packages of src/ with colcon, into the environment itself, so that nothing is sourced."""
from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree

from . import stamp, wheels
from .shell import Console, SetupError, clean_environment, run

GROUP = 'rosidl_interface_packages'
SOURCES = ('*.msg', '*.srv', '*.action', '*.idl', 'CMakeLists.txt', 'package.xml')
FASTER = Path(__file__).resolve().with_name('unity.cmake')
BUILD_TIMEOUT_S = 1200.0


def packages(root: Path) -> dict[str, Path]:
    """{name: folder} of the interface packages of src/."""
    found = {}
    for file in sorted((root / 'src').glob('**/package.xml')):
        tree = ElementTree.parse(file).getroot()
        if GROUP in [member.text for member in tree.iter('member_of_group')]:
            found[tree.findtext('name', '')] = file.parent
    return found


def digest_of(folder: Path, wheels_digest: str) -> str:
    """Hash of everything that one package is built from."""
    files = sorted(path for pattern in SOURCES for path in folder.rglob(pattern))
    return stamp.digest(files, wheels_digest, *(str(path.relative_to(folder)) for path in files))


def is_installed(venv: Path, name: str) -> bool:
    """Whether every file of the package's last build is still there."""
    manifest = venv / '.build' / name / 'install_manifest.txt'
    return manifest.is_file() and all(Path(line).exists() for line in manifest.read_text().splitlines())


def remove(venv: Path, name: str) -> None:
    """Take the last build of one package out of the environment, so that no renamed message stays."""
    build = venv / '.build' / name
    manifest = build / 'install_manifest.txt'
    if manifest.is_file():
        for line in manifest.read_text().splitlines():
            Path(line).unlink(missing_ok=True)
    for folder in (build, venv / 'share' / name, venv / 'include' / name, wheels.site_packages(venv) / name):
        shutil.rmtree(folder, ignore_errors=True)


def build(root: Path, venv: Path, names: list[str], console: Console, log: Path) -> None:
    """Build some interface packages from nothing and install them into the environment."""
    for name in names:
        remove(venv, name)
    console.say(f'builds the message packages {", ".join(names)} with colcon')
    prefix, python = str(venv), wheels.python_of(venv)
    environment = clean_environment({'AMENT_PREFIX_PATH': prefix, 'CMAKE_PREFIX_PATH': prefix})
    environment['PATH'] = f'{venv}/bin:{environment.get("PATH", "/usr/bin:/bin")}'
    counts = {'Finished <<<': 0, 'Building C': 0}

    def follow(line: str) -> None:
        for word in counts:
            counts[word] += word in line
        packages_done, files = counts.values()
        console.progress(f'messages: {files} files compiled, {packages_done} of {len(names)} packages done')

    command = [python, '-m', 'colcon', '--log-base', venv / '.log', 'build', '--merge-install',
               '--install-base', venv, '--build-base', venv / '.build', '--base-paths', root / 'src',
               '--packages-select', *names, '--event-handlers', 'console_direct+', '--cmake-args',
               '-DBUILD_TESTING=OFF', f'-DPython3_EXECUTABLE={python}', f'-DPYTHON_EXECUTABLE={python}']
    try:
        run([*command, f'-DCMAKE_PROJECT_INCLUDE={FASTER}'], log, environment, BUILD_TIMEOUT_S, follow, cwd=root)
    except SetupError:
        console.say('the quick build failed, builds file by file')
        for name in names:
            remove(venv, name)
        run(command, log, environment, BUILD_TIMEOUT_S, follow, cwd=root)
