# SPDX-License-Identifier: Apache-2.0
"""Robot keypoints in recorded and live pictures: where samples come from, and the files that are made of them."""
