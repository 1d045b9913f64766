# SPDX-License-Identifier: Apache-2.0
"""Run by the environment's own Python: makes the Python packages of src/ installed ones, in place.

Edits take effect at once. Names, versions, entry points and executables are read from each setup.py, so
the environment has what `colcon build --symlink-install` gives: metadata, `lib/<package>/<executable>`,
`share/<package>` and the ament index. `bin/dex` comes on top.
"""
from __future__ import annotations

import json
import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path

import setuptools  # noqa: F401  (provides distutils where Python has none)

from distutils.core import run_setup  # isort: skip

PATH_FILE = 'dex_stack.pth'
ENVIRONMENT_LINE = "import os, sys; os.environ.setdefault('AMENT_PREFIX_PATH', sys.prefix)"
MARK = 'dex set-up'
MANIFEST = 'dex_links.txt'


def metadata_of(folder: Path) -> tuple[str, str, str, dict[str, list[str]]]:
    """Name, version, summary and entry points that one setup.py declares."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        found = run_setup('setup.py', stop_after='init')
    finally:
        os.chdir(before)
    groups = {group: list(lines) for group, lines in (found.entry_points or {}).items()}
    return found.get_name(), found.get_version(), found.get_description(), groups


def write_metadata(site: Path, folder: Path, name: str, version: str, summary: str, groups: dict[str, list[str]]) -> None:
    """The dist-info folder that importlib.metadata and pip read."""
    info = site / f'{name}-{version}.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: {summary}\n')
    (info / 'INSTALLER').write_text(MARK + '\n')
    (info / 'direct_url.json').write_text(json.dumps({'url': folder.as_uri(), 'dir_info': {'editable': True}}))
    sections = [f'[{group}]\n' + '\n'.join(lines) + '\n' for group, lines in sorted(groups.items())]
    (info / 'entry_points.txt').write_text('\n'.join(sections))
    (info / 'RECORD').write_text(''.join(f'{info.name}/{entry.name},,\n' for entry in sorted(info.iterdir())))


def write_script(path: Path, target: str) -> None:
    """An executable that calls `module:function` with the environment's Python, wherever that lies."""
    module, function = target.split(':')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text('#!/bin/sh\n'
                    f"'''exec' \"{sys.executable}\" \"$0\" \"$@\"\n"
                    "' '''\n"
                    f'import sys\n\nfrom {module} import {function}\n\nsys.exit({function}())\n')
    path.chmod(0o755)


def write_share(prefix: Path, folder: Path, name: str) -> None:
    """`share/<package>` as a link to the sources, and the package's mark in the ament index."""
    share = prefix / 'share' / name
    if share.is_symlink():
        share.unlink()
    elif share.is_dir():
        shutil.rmtree(share)
    share.symlink_to(folder)
    index = prefix / 'share/ament_index/resource_index/packages'
    index.mkdir(parents=True, exist_ok=True)
    (index / name).write_text('')


def remove_old(site: Path) -> None:
    """Forget the packages of an earlier run, also those that src/ no longer has."""
    for info in site.glob('*.dist-info'):
        installer = info / 'INSTALLER'
        if installer.is_file() and installer.read_text().strip() == MARK:
            shutil.rmtree(info)


def link(root: Path, prefix: Path, site: Path) -> list[str]:
    """Link every ament_python package of src/ into the environment; gives their names."""
    remove_old(site)
    folders = sorted(path.parent for path in (root / 'src').glob('*/setup.py'))
    names, made = [], [site / PATH_FILE]
    for folder in folders:
        name, version, summary, groups = metadata_of(folder)
        write_metadata(site, folder, name, version, summary, groups)
        write_share(prefix, folder, name)
        for line in groups.get('console_scripts', []):
            script, target = re.split(r'\s*=\s*', line.strip())
            places = [prefix / 'lib' / name / script, *([prefix / 'bin' / script] if script == 'dex' else [])]
            for place in places:
                write_script(place, target)
            made += places
        made += [prefix / 'share' / name, site / f'{name}-{version}.dist-info' / 'entry_points.txt']
        names.append(name)
    lines = [*(str(folder) for folder in folders), ENVIRONMENT_LINE]
    (site / PATH_FILE).write_text('\n'.join(lines) + '\n')
    (prefix / MANIFEST).write_text('\n'.join(str(path) for path in made) + '\n')
    return names


if __name__ == '__main__':
    linked = link(Path(sys.argv[1]), Path(sys.prefix), Path(sysconfig.get_path('purelib')))
    sys.stdout.write(f'{len(linked)} packages linked\n')
