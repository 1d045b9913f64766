# SPDX-License-Identifier: Apache-2.0
"""The small promptable segmenter of clouds: training on rendered tables, export as a bundle, scores."""
