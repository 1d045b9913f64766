# SPDX-License-Identifier: Apache-2.0
"""``python -m dex_core.kinematics.kernel``: builds the kernel and says where it is."""
import sys

from dex_core.errors import DexError
from dex_core.kinematics.kernel.build import ensure_built

try:
    sys.stdout.write(f"{ensure_built()}\n")
except DexError as error:
    sys.exit(str(error))
