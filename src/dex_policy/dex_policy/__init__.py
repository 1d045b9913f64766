# SPDX-License-Identifier: Apache-2.0
"""The policy server: exported bundles, observations, action chunks and the task action."""
