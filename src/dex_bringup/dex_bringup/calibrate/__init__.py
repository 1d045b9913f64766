# SPDX-License-Identifier: Apache-2.0
"""What `dex calibrate` does with a cell: where its flange is, pictures from topics, recordings and folders, its file."""
