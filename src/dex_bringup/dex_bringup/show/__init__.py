# SPDX-License-Identifier: Apache-2.0
"""Looking at a hand, an arm or a cell: in a browser with a slider per joint, or as a picture."""
