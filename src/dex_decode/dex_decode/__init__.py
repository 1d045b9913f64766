# SPDX-License-Identifier: Apache-2.0
"""Decoders: latents, fingertips and wrist poses of chunks to the named joints of one side."""
