# SPDX-License-Identifier: Apache-2.0
"""Where a camera is: hand-eye calibration with a ChArUco board, for a camera on an arm or beside one. Knows no ROS."""

from dex_perception.calibrate.board import Board, Detection
from dex_perception.calibrate.collect import Collector, Verdict
from dex_perception.calibrate.solve import Calibration, Setup, calibrate
from dex_perception.calibrate.views import View

__all__ = ["Board", "Calibration", "Collector", "Detection", "Setup", "Verdict", "View", "calibrate"]
