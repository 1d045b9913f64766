# SPDX-License-Identifier: Apache-2.0
"""Prompts to objects: a picture with depth, a click, a box or words, and out comes one object's mask and cloud."""
