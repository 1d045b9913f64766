# SPDX-License-Identifier: Apache-2.0
"""Run by the environment's own Python: replaces the directories of the machine that built the ROS wheels.

Their CMake files name that machine's Python and numpy headers; until they are rewritten, no interface
package that depends on them configures. Running it again changes nothing.
"""
from __future__ import annotations

import os
import re
import sys
import sysconfig
from pathlib import Path

BUILDER = r'/opt/python/cp3\d+-cp3\d+'
NUMPY_HEADERS = re.compile(BUILDER + r'/lib/python3\.\d+/site-packages/numpy/(?:_core|core)/include')
PYTHON_HEADERS = re.compile(BUILDER + r'/include/python3\.\d+')
PREFIX = re.compile(BUILDER + r'(?![\w-])')


def mended(text: str, python_headers: str, numpy_headers: str, prefix: str) -> str:
    """The text of one file with this machine's directories in the place of the builder's."""
    text = NUMPY_HEADERS.sub(lambda _: numpy_headers, text)
    text = PYTHON_HEADERS.sub(lambda _: python_headers, text)
    return PREFIX.sub(lambda _: prefix, text)


def mend(share: Path, python_headers: str, numpy_headers: str, prefix: str) -> int:
    """Mend every text file below share/ of an install prefix; gives the number of files changed."""
    changed = 0
    for folder, _, names in os.walk(share):
        for path in (Path(folder, name) for name in names):
            raw = path.read_bytes()
            if b'/opt/python/cp3' not in raw:
                continue
            text = raw.decode('utf-8')
            new = mended(text, python_headers, numpy_headers, prefix)
            if new != text:
                path.write_text(new, encoding='utf-8')
                changed += 1
    return changed


if __name__ == '__main__':
    import numpy

    count = mend(Path(sys.prefix, 'share'), sysconfig.get_path('include'), numpy.get_include(), sys.prefix)
    sys.stdout.write(f'{count} files mended\n')
