# SPDX-License-Identifier: Apache-2.0
"""Cameras: devices behind one protocol and the node that publishes their pictures."""
