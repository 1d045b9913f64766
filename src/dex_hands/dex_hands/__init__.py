# SPDX-License-Identifier: Apache-2.0
"""Hand drivers, one file each."""
