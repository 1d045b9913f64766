# SPDX-License-Identifier: Apache-2.0
"""The text-conditioned picker: sentences about rendered tabletop scenes, a small network, its bundle and its scores."""
