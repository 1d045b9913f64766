# SPDX-License-Identifier: Apache-2.0
"""What the operating system grants this user and this environment, as far as a robot cell cares."""
from __future__ import annotations

import os
import sys
from pathlib import Path


def may_schedule_realtime() -> bool:
    """Tries SCHED_FIFO in a child, so that this process stays as it is (containers refuse it even to root)."""
    child = os.fork()
    if child == 0:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def foreign_ros() -> str | None:
    """A sourced ROS install that mixes with this environment's own wheels; None when there is none."""
    own = Path(sys.prefix, 'lib', 'librcl.so')
    if not own.exists():
        return None
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    others = [prefix for prefix in prefixes if prefix and Path(prefix, 'lib', 'librcl.so').exists() and not Path(prefix).samefile(sys.prefix)]
    paths = [path for path in os.environ.get('PYTHONPATH', '').split(os.pathsep) if path and Path(path, 'rclpy').is_dir()]
    return ', '.join([*others, *paths]) or None
