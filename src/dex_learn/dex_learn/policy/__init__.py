# SPDX-License-Identifier: Apache-2.0
"""One policy for every hand: demonstrations, eyes, trunk, bundle, scores and the comparison with its baselines."""
