# SPDX-License-Identifier: Apache-2.0
"""Demonstrations, training and export of the models; the only package that uses torch."""

import os

os.environ.setdefault("MUJOCO_GL", "egl")  # MuJoCo reads it when it is first imported: pictures are drawn off screen
