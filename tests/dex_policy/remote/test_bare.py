# SPDX-License-Identifier: Apache-2.0
"""An inference server's environment has NumPy, ONNX, onnxruntime and YAML of ours, nothing else: bundles must load there."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MODELS = Path(__file__).resolve().parents[3] / 'models'
BARE = """
import sys

class NotThere:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('cv2', 'PIL', 'rclpy', 'rosidl_parser', 'pinocchio', 'mujoco', 'torch', 'rich', 'serial', 'matplotlib', 'scipy', 'psutil'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)

sys.meta_path.insert(0, NotThere())
from dex_core.bundle import LoadOptions, load_bundle
from dex_core.config.paths import find_share
import dex_core.runtime, dex_policy.remote.wire
bundle = load_bundle(sys.argv[1])
print(bundle.hash, len(bundle.report))
"""


@pytest.mark.parametrize('name', ['xl_vla_tabletop', 'hand_latents'])
def test_a_bundle_passes_its_checks_without_the_rest_of_the_stack(name: str) -> None:
    run = subprocess.run([sys.executable, '-c', BARE, str(MODELS / name)], capture_output=True, text=True, timeout=110)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.split()[1] == '21'
