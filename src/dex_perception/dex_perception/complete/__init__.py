# SPDX-License-Identifier: Apache-2.0
"""Completion: the whole object from the side that was seen, every point observed or invented. Knows no ROS."""

from dex_perception.complete.complete import Completed, Completer
from dex_perception.complete.frame import Frame, frame_of

__all__ = ["Completed", "Completer", "Frame", "frame_of"]
