# SPDX-License-Identifier: Apache-2.0
"""`make setup`: brings `.venv` from whatever state it is in to the state src/ and the pins ask for."""
from __future__ import annotations

import argparse
import fcntl
import os
import sys
from pathlib import Path

from . import interfaces, stamp, system, wheels
from .shell import Console, SetupError, clean_environment, run

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]


class Setup:
    """One run of the set-up: each method does its step when its inputs changed or its result is damaged."""

    def __init__(self, root: Path, console: Console, keep_python: bool) -> None:
        self.root, self.venv, self.console, self.keep_python = root, root / '.venv', console, keep_python
        self.log = root / 'log' / 'setup.log'
        self.stamp = stamp.read(self.venv)
        self.worked = False
        self._provided = False

    def provide(self) -> None:
        """What the machine must have, looked at once and only when something is to be made."""
        if not self._provided:
            self._provided = True
            system.provide(self.console, self.log)

    def finish(self, step: str, value: object) -> None:
        """Note a finished step."""
        self.worked = True
        self.stamp[step] = value
        stamp.write(self.venv, self.stamp)

    def reason_to_start_over(self) -> str | None:
        """Why the environment cannot be kept; None when it can."""
        version = wheels.python_version(self.venv)
        if not self.venv.exists():
            return 'there is none yet'
        if version is None:
            return 'its Python does not run'
        major_minor = tuple(int(part) for part in version.split('.')[:2])
        if not self.keep_python and major_minor != sys.version_info[:2]:
            return f'it has Python {version} and {sys.version.split()[0]} is asked for'
        if not system.PYTHONS[0] <= major_minor <= system.PYTHONS[1]:
            return f'its Python {version} is not supported'
        if self.stamp.get('venv') not in (None, f'{self.venv} {version}'):
            return f'it was made as {self.stamp["venv"]}'
        return None

    def environment(self) -> None:
        """The bare virtual environment."""
        reason = self.reason_to_start_over()
        if reason is None and 'venv' in self.stamp:
            return
        if self.venv.exists():
            self.console.say(f'.venv is made anew: {reason or "its stamp is missing or unreadable"}')
        system.check_python()
        self.provide()
        self.stamp = {}
        wheels.make_venv(self.venv, self.console, self.log)
        self.finish('venv', f'{self.venv} {wheels.python_version(self.venv)}')

    def packages(self) -> None:
        """The wheels, as pinned and whole, and their mend."""
        files = [self.root / name for name in (*wheels.REQUIREMENTS, wheels.CLIENTS, wheels.CONSTRAINTS)]
        wanted = stamp.digest([*files, HERE / 'mend.py'])
        if self.stamp.get('wheels') != wanted:
            self.stamp.pop('wheels', None)
            installed = wheels.install(self.root, self.venv, self.console, self.log)
            self.mend()
            self.finish('distributions', installed)
            self.finish('wheels', wanted)
        expected = self.stamp.get('distributions')
        broken = wheels.damaged(wheels.site_packages(self.venv), expected if isinstance(expected, dict) else {})
        if broken:
            wheels.repair(self.root, self.venv, broken, self.console, self.log)
            self.mend()
            self.worked = True

    def extra(self, step: str, name: str) -> None:
        """What only some need: the wheels of one more requirement file."""
        wanted = stamp.digest([self.root / name, self.root / wheels.CONSTRAINTS])
        if self.stamp.get(step) != wanted:
            installed = wheels.install_extra(self.root, self.venv, name, self.console, self.log)
            self.finish('distributions', installed)
            self.finish(step, wanted)

    def mend(self) -> None:
        """The builder's directories in the wheels' CMake files."""
        self.console.say('mends the CMake files of the wheels')
        run([wheels.python_of(self.venv), HERE / 'mend.py'], self.log, clean_environment(), 120.0)

    def messages(self) -> None:
        """The interface packages of src/ whose sources changed or whose files are gone."""
        found = interfaces.packages(self.root)
        wheels_digest = str(self.stamp.get('wheels'))
        wanted = {name: interfaces.digest_of(folder, wheels_digest) for name, folder in found.items()}
        built = dict(self.stamp.get('messages') or {})
        stale = [name for name in found
                 if built.get(name) != wanted[name] or not interfaces.is_installed(self.venv, name)]
        for name in set(built) - set(found):
            interfaces.remove(self.venv, name)
        if stale:
            self.provide()
            self.finish('messages', {name: built[name] for name in found if name in built and name not in stale})
            interfaces.build(self.root, self.venv, stale, self.console, self.log)
            self.finish('messages', wanted)

    def links(self) -> None:
        """The Python packages of src/, in place."""
        files = sorted((self.root / 'src').glob('*/setup.py'))
        wanted = stamp.digest([*files, HERE / 'links.py'], *(str(path) for path in files))
        manifest = self.venv / 'dex_links.txt'
        whole = manifest.is_file() and all(Path(line).exists() for line in manifest.read_text().splitlines())
        if self.stamp.get('links') != wanted or not whole:
            self.console.say('links the Python packages of src/')
            run([wheels.python_of(self.venv), HERE / 'links.py', self.root], self.log, clean_environment(), 120.0)
            self.finish('links', wanted)

    def kernel(self) -> None:
        """The compiled parts of the core, so that no process compiles them when they are needed."""
        core = self.root / 'src' / 'dex_core' / 'dex_core'
        wanted = stamp.digest([*core.glob('*/kernel/*.[ch]'), *core.glob('native/*.py')])
        known = self.stamp.get('kernel')
        if isinstance(known, list) and known[0] == wanted and all(Path(path).is_file() for path in known[1:]):
            return
        self.console.say('compiles the kernels of the kinematics and of the clouds')
        printed: list[str] = []
        run([wheels.python_of(self.venv), '-m', 'dex_core.native'], self.log, clean_environment(), 180.0, printed.append)
        self.finish('kernel', [wanted, *(line.strip() for line in printed if line.strip().endswith('.so'))])

    def verify(self) -> None:
        """Everything imports; after a run that changed nothing, only the corner stones are tried."""
        modules = [f'{name}.{kind}' for name, folder in interfaces.packages(self.root).items()
                   for kind in ('msg', 'srv', 'action') if (folder / kind).is_dir()]
        quick = ['--quick'] if not self.worked and self.stamp.get('verified') else []
        self.stamp.pop('verified', None)
        run([wheels.python_of(self.venv), HERE / 'verify.py', *quick, *modules], self.log, clean_environment(), 180.0)
        if not quick:
            self.finish('verified', True)

    def run(self, learn: bool, peers: bool) -> None:
        """All steps, each only as far as needed."""
        self.environment()
        self.packages()
        if learn:
            self.extra('learn', wheels.LEARN)
        if peers:
            self.extra('peers', wheels.PEERS)
        self.messages()
        self.links()
        self.kernel()
        self.verify()


def main() -> int:
    """Exit code 0 when `.venv` is complete, 1 with the reason otherwise."""
    parser = argparse.ArgumentParser(prog='make setup', description=__doc__)
    parser.add_argument('--keep-python', action='store_true', help='an existing .venv keeps its Python version')
    parser.add_argument('--learn', action='store_true', help='with torch, which only dex_learn needs')
    parser.add_argument('--peers', action='store_true', help='with the libraries that dex bench measures beside ours')
    parser.add_argument('--quiet', action='store_true', help='say nothing unless something fails')
    options = parser.parse_args()
    console = Console(options.quiet)
    lock = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second set-up of the same tree waits
        setup = Setup(ROOT, console, options.keep_python)
        setup.run(options.learn, options.peers)
    except SetupError as error:
        sys.stderr.write(f'\nset-up failed: {error}\n')
        return 1
    except KeyboardInterrupt:
        sys.stderr.write('\nset-up was interrupted; run it again and it goes on from here\n')
        return 130
    finally:
        os.close(lock)
    if setup.worked:
        console.say('done: .venv/bin/dex --help, .venv/bin/dex doctor')
    return 0


if __name__ == '__main__':
    sys.exit(main())
