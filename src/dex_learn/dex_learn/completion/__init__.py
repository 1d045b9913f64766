# SPDX-License-Identifier: Apache-2.0
"""Training of the small completion network on tabletop things, and the importer of SnowflakeNet's checkpoints."""
