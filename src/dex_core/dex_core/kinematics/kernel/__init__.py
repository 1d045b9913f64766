# SPDX-License-Identifier: Apache-2.0
"""The compiled kernel of the kinematics; ``dex_core.native`` builds it."""
from dex_core.kinematics.kernel.load import kernel, tree_struct

__all__ = ["kernel", "tree_struct"]
