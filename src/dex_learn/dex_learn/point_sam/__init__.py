# SPDX-License-Identifier: Apache-2.0
"""Point-SAM (Zhou, Gu et al., arXiv 2406.17741): its architecture, and the importer of its released weights."""
