# SPDX-License-Identifier: Apache-2.0
"""Run by the environment's own Python: imports what the stack stands on. Names what does not import."""
from __future__ import annotations

import importlib
import sys

QUICK = ('rclpy', 'numpy', 'yaml')
ALL = (*QUICK, 'pinocchio', 'mujoco', 'onnx', 'onnxruntime', 'cv2', 'matplotlib', 'PIL', 'rich', 'psutil', 'pymodbus', 'serial',
       'xarm.version', 'rosbags', 'mcap', 'mcap_ros2', 'pytest', 'hypothesis', 'colcon_core')


def failures(names: list[str]) -> dict[str, str]:
    """{module: error text} of the modules that do not import."""
    failed = {}
    for name in names:
        try:
            importlib.import_module(name)
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            failed[name] = f'{type(error).__name__}: {error}'
    return failed


if __name__ == '__main__':
    chosen = QUICK if '--quick' in sys.argv else ALL
    wanted = [*chosen, *(word for word in sys.argv[1:] if not word.startswith('--'))]
    found = failures(wanted)
    for module, text in found.items():
        sys.stdout.write(f'{module}: {text}\n')
    sys.exit(1 if found else 0)
