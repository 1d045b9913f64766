# SPDX-License-Identifier: Apache-2.0
"""Flow policies: a small one to train, and the export of any one as graphs that need no torch to run, guidance included."""
