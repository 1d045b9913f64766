# SPDX-License-Identifier: Apache-2.0
"""Resolves a cell into its processes; launch files, configuration and the dex command line."""
