# SPDX-License-Identifier: Apache-2.0
"""The state of the cell for people: robot description, TF, merged joint states, markers."""
