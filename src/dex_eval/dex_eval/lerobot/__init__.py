# SPDX-License-Identifier: Apache-2.0
"""LeRobot datasets: recordings written as one, and an episode of one read as a recording."""

from dex_eval.lerobot.export import Choices, Report, export

__all__ = ["Choices", "Report", "export"]
