# SPDX-License-Identifier: Apache-2.0
"""The MuJoCo cell and the simulators of its devices, which speak the vendors' protocols on loopback."""
import os

os.environ.setdefault("MUJOCO_GL", "egl")  # MuJoCo reads it once, when it is first imported
