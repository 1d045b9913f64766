# SPDX-License-Identifier: Apache-2.0
"""Faults on purpose: what a cell may be asked to suffer, and the matrix F1 to F41 played with its expected results."""
