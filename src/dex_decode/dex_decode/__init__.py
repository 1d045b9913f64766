# SPDX-License-Identifier: Apache-2.0
"""Decoders: latent and fingertip chunks to the named joints of one hand."""
