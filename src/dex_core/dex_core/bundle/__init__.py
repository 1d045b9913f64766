# SPDX-License-Identifier: Apache-2.0
"""Model bundles: a manifest beside exported graphs; written whole, loaded only when every check passes."""

from dex_core.bundle.load import Bundle, CheckResult, LoadOptions, find_bundle, load_bundle, verify_bundle
from dex_core.bundle.manifest import Embodiment, Manifest, parse_manifest
from dex_core.bundle.stats import Statistic
from dex_core.bundle.write import write_bundle

__all__ = [
    "Bundle",
    "CheckResult",
    "Embodiment",
    "LoadOptions",
    "Manifest",
    "Statistic",
    "find_bundle",
    "load_bundle",
    "parse_manifest",
    "verify_bundle",
    "write_bundle",
]
