# SPDX-License-Identifier: Apache-2.0
"""The compiled parts of the core, each with its stand-in in NumPy. ``python -m dex_core.native`` builds them."""
from pathlib import Path

from dex_core.native.library import FLAGS, Library, compiler

_CORE = Path(__file__).resolve().parents[1]

KINEMATICS = Library(
    "kernel", _CORE / "kinematics" / "kernel", "dex_abi_version", 1, "kinematics run without the compiled kernel, ten to fifty times slower",
)
CLOUDS = Library(
    "clouds", _CORE / "clouds" / "kernel", "dex_clouds_version", 1, "clouds are computed without the compiled kernel, ten to fifty times slower",
    (*FLAGS, "-ffp-contract=off"),  # the same numbers on every machine, and as NumPy
)
LIBRARIES = (KINEMATICS, CLOUDS)

__all__ = ["CLOUDS", "KINEMATICS", "LIBRARIES", "Library", "compiler"]
