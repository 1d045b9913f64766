# SPDX-License-Identifier: Apache-2.0
"""One latent space for many hands: kinematics, networks, training, export."""
