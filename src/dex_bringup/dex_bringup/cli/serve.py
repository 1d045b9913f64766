# SPDX-License-Identifier: Apache-2.0
"""`dex serve`: bundles for other machines, by an existing inference server."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Entry of the verb."""
    from dex_policy.remote.serve import main as serve

    return serve(argv)
