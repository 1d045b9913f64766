# SPDX-License-Identifier: Apache-2.0
"""Driver node of a hand; everything it does is common to all devices."""

from __future__ import annotations

from dex_ros import device_node


def main() -> int:
    """Runs until SIGINT or SIGTERM."""
    return device_node.main("hand")


if __name__ == "__main__":
    raise SystemExit(main())
