# SPDX-License-Identifier: Apache-2.0
"""Policies that other people's servers run: openpi's and LeRobot's, described in one file and never trusted."""

from dex_policy.foreign.load import open_foreign
from dex_policy.foreign.manifest import RemoteManifest, is_remote, parse_remote
from dex_policy.foreign.policy import ForeignPolicy

__all__ = ["ForeignPolicy", "RemoteManifest", "is_remote", "open_foreign", "parse_remote"]
