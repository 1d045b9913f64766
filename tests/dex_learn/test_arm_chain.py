# SPDX-License-Identifier: Apache-2.0
"""The arms' kinematics in torch against Pinocchio on the same description."""
from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")
import pinocchio  # noqa: E402

from dex_core.config import load_cell  # noqa: E402
from dex_description import compose_cell_urdf  # noqa: E402
from dex_learn.arm_chain import ArmChain, check_mirror  # noqa: E402

CELL = load_cell("xarm_bimanual")


@pytest.mark.parametrize("side", ["left", "right"])
def test_hand_root_as_pinocchio_says(side: str) -> None:
    model = pinocchio.buildModelFromXML(compose_cell_urdf(CELL))
    data, rng = model.createData(), np.random.default_rng(1)
    frame = model.getFrameId(f"{side}_{CELL.interface(f'{side}_hand').robot.root_link}")
    chain = ArmChain(CELL, side)
    for _ in range(10):
        q = pinocchio.neutral(model)
        joints = rng.uniform(-1.0, 1.0, 7)
        for name, value in zip(CELL.interface(f"{side}_arm").names, joints, strict=True):
            place = model.joints[model.getJointId(name)]
            if place.nq == 1:
                q[place.idx_q] = value
            else:
                q[place.idx_q : place.idx_q + 2] = np.cos(value), np.sin(value)
        pinocchio.framesForwardKinematics(model, data, q)
        got = chain(torch.tensor(joints[None], dtype=torch.float32))[0].numpy()
        assert np.abs(got - data.oMf[frame].homogeneous).max() < 1e-5


def test_the_cell_is_its_own_mirror_image() -> None:
    check_mirror(CELL)
