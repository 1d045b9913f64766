# SPDX-License-Identifier: Apache-2.0
"""The eyes: shapes, what absent objects teach, presence by group, pictures on disk, a net that learns."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from tests.dex_learn.policy.made import made_pictures  # noqa: E402

from dex_core.errors import DexError  # noqa: E402
from dex_learn.policy.draw import Pictures  # noqa: E402
from dex_learn.policy.layout import OBJECTS  # noqa: E402
from dex_learn.policy.train_vision import VisionTraining, object_loss, point_loss, refit_heads, seen_errors, train_vision  # noqa: E402
from dex_learn.policy.vision import GRID, KEYPOINTS, POINT_OF, TAUGHT, VisionNet  # noqa: E402


def test_shapes_and_presence_of_groups() -> None:
    torch.manual_seed(0)
    net = VisionNet().eval()
    with torch.no_grad():
        net.tell[-1].weight.zero_()
        net.tell[-1].bias.copy_(torch.tensor([3.0, -1.0, -3.0, 1.0, 1.0]))
        places, there = net(torch.zeros((2, 224, 224, 3), dtype=torch.uint8), torch.zeros(2, 2, 5))
    assert places.shape == (2, len(OBJECTS), 3)
    assert there.tolist() == [[1.0, 1.0, 0.0, 0.0, 0.0]] * 2


def test_a_sharp_peak_is_a_point() -> None:
    logits = torch.zeros((1, KEYPOINTS, GRID, GRID))
    logits[0, 3, 10, 40] = 50.0
    points, peaks = VisionNet().keypoints(logits)
    line = np.linspace(-1.0, 1.0, GRID)
    assert points[0, 3].tolist() == pytest.approx([line[40], line[10]], abs=1e-4)
    assert float(peaks[0, 3]) == pytest.approx(1.0, abs=1e-4) and float(peaks[0, 0]) < 0.1


def test_absent_objects_and_points_teach_nothing() -> None:
    places = torch.randn((2, 5, 3), requires_grad=True)
    there = torch.tensor([[True, True, False, False, False]] * 2)
    object_loss(places, torch.zeros(2, 5), torch.zeros(2, 5, 3), there).backward()
    assert places.grad is not None and places.grad[:, 2:].abs().max() == 0.0 and places.grad[:, :2].abs().min() > 0.0
    logits = torch.randn((1, KEYPOINTS, GRID, GRID), requires_grad=True)
    visible = torch.zeros((1, len(TAUGHT)), dtype=torch.bool)
    visible[0, 4] = True
    net = VisionNet()
    point_loss(logits, net.keypoints(logits)[0], torch.zeros((1, len(TAUGHT), 2)), visible).backward()
    touched = [k for k in range(KEYPOINTS) if logits.grad[0, k].abs().max() > 0.0]
    assert touched == [4]


def test_taught_points_of_objects_come_first() -> None:
    assert len(POINT_OF) < len(TAUGHT) < KEYPOINTS
    assert [TAUGHT[i].rsplit("_", 1)[0] if i < 4 else TAUGHT[i] for i in range(len(POINT_OF))] == [OBJECTS[k] for k in POINT_OF]


def test_pictures_there_and_back(tmp_path: Path) -> None:
    made = made_pictures(4)
    made.save(tmp_path / "a.npz")
    made_pictures(3, 1).save(tmp_path / "b.npz")
    both = Pictures.load([tmp_path / "a.npz", tmp_path / "b.npz"])
    assert len(both) == 7 and np.array_equal(both.image[:4], made.image) and np.array_equal(both.visible[:4], made.visible)
    with pytest.raises(DexError, match="no pictures"):
        Pictures.load([])


def test_a_few_steps_learn_the_mean_place() -> None:
    pictures = made_pictures(12)
    net, curve = train_vision(pictures, VisionTraining(steps=6, batch=4))
    assert not net.training and curve[-1]["step"] == 6
    start = seen_errors(VisionNet(), pictures, np.arange(12))
    assert curve[-1]["median_mm"] < start["median_mm"]


def test_new_last_layers_leave_the_rest_alone() -> None:
    pictures = made_pictures(16)
    net = VisionNet().eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    start = seen_errors(net, pictures, np.arange(16))
    curve = refit_heads(net, pictures, 60, 1, batch=16)
    changed = {name.split(".")[0] for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"locate", "tell"} and curve[-1]["median_mm"] < start["median_mm"]
    assert all(p.requires_grad for p in net.parameters())
