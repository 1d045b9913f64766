# SPDX-License-Identifier: Apache-2.0
"""Driver node of an arm; everything it does is common to all devices."""

from __future__ import annotations

from dex_ros import device_node


def main() -> int:
    """Runs until SIGINT or SIGTERM."""
    return device_node.main("arm")


if __name__ == "__main__":
    raise SystemExit(main())
