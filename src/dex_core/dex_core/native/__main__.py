# SPDX-License-Identifier: Apache-2.0
"""``python -m dex_core.native``: builds every compiled part and says where each is, one a line."""
import sys

from dex_core.errors import DexError
from dex_core.native import LIBRARIES

try:
    sys.stdout.write("".join(f"{library.ensure_built()}\n" for library in LIBRARIES))
except DexError as error:
    sys.exit(str(error))
