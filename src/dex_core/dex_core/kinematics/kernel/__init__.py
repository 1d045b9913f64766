# SPDX-License-Identifier: Apache-2.0
"""The compiled kernel of the kinematics: C, built once per machine, found by the hash of its sources. ``python -m`` builds it."""
from dex_core.kinematics.kernel.build import ensure_built, kernel_path
from dex_core.kinematics.kernel.load import kernel, tree_struct

__all__ = ["ensure_built", "kernel", "kernel_path", "tree_struct"]
