# SPDX-License-Identifier: Apache-2.0
"""One native picture by the trainer's path and by the live one, message and all: the network sees the same bits."""
from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")
pytest.importorskip("dex_msgs", reason="the live path needs the messages: make setup")

from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from dex_core.bundle import load_bundle  # noqa: E402
from dex_core.config import CellConfig, load_cell  # noqa: E402
from dex_core.images import crop_and_resize  # noqa: E402
from dex_core.policy import ChunkPolicy, ObservationBuilder  # noqa: E402
from dex_core.policy.runtime import mounted_hands  # noqa: E402
from dex_core.types import JointState  # noqa: E402
from dex_learn.policy.draw import taught_picture  # noqa: E402
from dex_ros.convert import image_from_msg, image_to_msg  # noqa: E402

STAMP = 1_700_000_000_000_000_000
CELL = load_cell("xarm_bimanual")
FRONT = CELL.cameras["front"]
SHIPPED = Path(__file__).parents[3] / "models" / "xl_vla_tabletop"


@pytest.fixture(scope="module")
def policy() -> ChunkPolicy:
    from dex_core.policy import load_policy

    return load_policy(CELL)[0]


def native(kind: str) -> np.ndarray:
    rng = np.random.default_rng(7)
    if kind == "noise":
        return rng.integers(0, 256, (540, 960, 3), dtype=np.uint8)
    y, x = np.mgrid[:540, :960]
    return np.stack([x % 256, y % 256, (x * y // 700) % 256], axis=-1).astype(np.uint8)


def live(policy: ChunkPolicy, cell: CellConfig, published: np.ndarray) -> np.ndarray:
    """What the network is given of a picture that a camera published."""
    shown: dict[str, np.ndarray] = {}
    session = policy._head._session
    policy._head._session = type("Spy", (), {"run": lambda self, inputs: shown.update(inputs) or session.run(inputs)})()
    try:
        message = deserialize_message(serialize_message(image_to_msg(published, STAMP, "camera_color_optical_frame")), Image)
        builder = ObservationBuilder(cell, policy.spec)
        builder.mounted = mounted_hands(CELL, load_bundle(SHIPPED))
        builder.add_picture("front", STAMP, lambda: image_from_msg(message))
        for name in policy.spec.joint_interfaces:
            i = cell.interface(name)
            n = len(i.names)
            builder.add_state(name, STAMP, lambda i=i, n=n: JointState(i.names, np.array(i.home), np.zeros(n), np.zeros(n), STAMP))
        policy.reset()
        policy.infer(builder.build(STAMP, "Return to the rest pose"))
    finally:
        policy._head._session = session
    return shown["image"][0]


@pytest.mark.parametrize("kind", ["noise", "waves"])
def test_training_and_the_live_cell_show_the_same_bits(policy: ChunkPolicy, kind: str) -> None:
    picture = native(kind)
    taught = taught_picture(picture, FRONT)
    by_our_camera = live(policy, CELL, crop_and_resize(picture, FRONT.crop_xywh, FRONT.output_wh))
    assert by_our_camera.tobytes() == taught.tobytes() and by_our_camera.shape == taught.shape == (224, 224, 3)
    external = dataclasses.replace(CELL, cameras={"front": dataclasses.replace(FRONT, driver="external")})
    assert live(policy, external, picture).tobytes() == taught.tobytes(), "a foreign driver's whole picture is cut as the cell says"
