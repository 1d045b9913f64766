# SPDX-License-Identifier: Apache-2.0
"""The network: what a click sees, means over cells, and what must not change a mask: batch, order, far points, padding clicks, a turn about z."""
from __future__ import annotations

import numpy as np
import pytest

from dex_learn.tabletop.testing import TOPS, two_boxes

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install -r requirements-learn.txt")

from dex_learn.segmentation.clouds import cloud_of  # noqa: E402
from dex_learn.segmentation.net import FAR_LOGIT, MASKS, ClickNet, average, parameters_of  # noqa: E402
from dex_learn.segmentation.view import CELLS, GRID, REACH_M, look  # noqa: E402

ONE = torch.ones(1, 1, dtype=torch.int64)
CLOUD = cloud_of(two_boxes(), 0)
POINTS, COLORS = torch.from_numpy(CLOUD.points_m)[None], torch.from_numpy(CLOUD.colors)[None]
CLICK = torch.from_numpy(CLOUD.points_m[np.flatnonzero(CLOUD.labels == 2)[1830]])[None, None]


@pytest.fixture(scope="module")
def net() -> ClickNet:
    torch.manual_seed(0)
    return ClickNet((8, 8, 8)).eval()


def _masks(net: ClickNet, points=POINTS, colors=COLORS, clicks=CLICK, labels=ONE, mask=None):  # noqa: ANN001, ANN202
    with torch.no_grad():
        return net(points, colors, clicks, labels, mask)


def test_the_shipped_size_is_small() -> None:
    assert parameters_of(ClickNet()) < 1_000_000


def test_the_click_is_in_the_middle_and_the_rest_where_a_camera_would_see_it() -> None:
    view = look(POINTS, CLICK, ONE)
    here = int((POINTS[0].index_select(0, view.row) - CLICK[0]).norm(dim=1).argmin())
    assert int(view.cell[here]) in {r * GRID + c for r in (31, 32) for c in (31, 32)}
    assert float(view.depth_m[here]) == pytest.approx(0.0, abs=1e-6) and float(view.distance_m[here]) == pytest.approx(0.0, abs=1e-6)
    shown = POINTS[0].index_select(0, view.row)
    direction, away = CLICK[0, 0] / CLICK.norm(), float(CLICK.norm())
    aside = (shown / (shown @ direction)[:, None] * away - direction * away).norm(dim=1)
    assert float(aside.max()) <= REACH_M * 2**0.5 + 1e-4 and len(view.row) < POINTS.shape[1]


def test_heights_are_above_the_table_whatever_is_clicked_on() -> None:
    view = look(POINTS, CLICK, ONE)
    labels = CLOUD.labels[view.row.numpy()]
    for label, height in ((0, 0.0), (1, TOPS[1][2]), (2, TOPS[2][2])):
        if (labels == label).any():
            assert view.height_m.numpy()[labels == label] == pytest.approx(height, abs=1e-3)
    assert float(view.click_height_m) == pytest.approx(TOPS[2][2], abs=1e-3)
    table = POINTS[:, :1]
    assert float(look(POINTS, table, ONE).click_height_m) == pytest.approx(0.0, abs=1e-3)


def test_distances_count_clicks_by_their_labels() -> None:
    clicks = torch.cat([CLICK, POINTS[:, :1], POINTS[:, 100:101]], dim=1)
    view = look(POINTS, clicks, torch.tensor([[1, 0, -1]]))
    shown = POINTS[0].index_select(0, view.row)
    assert torch.allclose(view.distance_m, (shown - CLICK[0]).norm(dim=1).clamp(max=1.0), atol=1e-5)
    assert torch.allclose(view.away_m, (shown - POINTS[:, 0]).norm(dim=1).clamp(max=1.0), atol=1e-5)


def test_means_over_cells_and_empty_cells_take_their_neighbours() -> None:
    values = torch.tensor([[1.0], [3.0], [8.0]])
    cell = torch.tensor([5 * GRID + 5, 5 * GRID + 5, CELLS + 7 * GRID + 7])
    means, seen = average(values, cell, 2)
    grid = means[..., 0].reshape(2, GRID, GRID)
    assert float(grid[0, 5, 5]) == 2.0 == float(grid[0, 6, 4]) and float(grid[1, 7, 7]) == 8.0 == float(grid[1, 8, 8])
    assert float(grid[0, 7, 5]) == 0.0 and seen[0, 5 * GRID + 5].tolist() == [1.0, 1.0] and seen[0, 6 * GRID + 5].tolist() == [0.0, 1.0]
    assert int(seen[0, :, 1].sum()) == 9


def test_order_batch_and_padding_do_not_matter(net: ClickNet) -> None:
    masks, believed = _masks(net)
    assert masks.shape == (1, MASKS, POINTS.shape[1]) and believed.shape == (1, MASKS)
    order = torch.randperm(POINTS.shape[1], generator=torch.Generator().manual_seed(1))
    turned, _ = _masks(net, POINTS[:, order], COLORS[:, order])
    assert torch.allclose(turned, masks[..., order], atol=1e-3)
    other = torch.cat([CLICK, POINTS[:, 3:4]])
    both, _ = _masks(net, POINTS.expand(2, -1, -1), COLORS.expand(2, -1, -1), other, ONE.expand(2, 1))
    assert torch.allclose(both[:1], masks, atol=1e-3) and not torch.allclose(both[1:], masks, atol=1e-3)
    padded, _ = _masks(net, clicks=torch.cat([CLICK, POINTS[:, 3:4]], dim=1), labels=torch.tensor([[1, -1]]))
    assert torch.allclose(padded, masks, atol=1e-4)


def test_a_turn_about_the_vertical_through_the_lens_changes_nothing(net: ClickNet) -> None:
    c, s = np.cos(0.7), np.sin(0.7)
    turn = torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float32)
    masks, _ = _masks(net)
    turned, _ = _masks(net, POINTS @ turn.T, clicks=CLICK @ turn.T)
    assert ((masks - turned).abs() < 1e-2).float().mean() > 0.97  # points on the border of a cell may change it


def test_a_second_click_and_a_mask_do_matter(net: ClickNet) -> None:
    masks, _ = _masks(net)
    other = POINTS[:, [int((POINTS[0] - CLICK[0]).norm(dim=1).sub(0.1).abs().argmin())]]
    beside, _ = _masks(net, clicks=torch.cat([CLICK, other], dim=1), labels=torch.tensor([[1, 0]]))
    again, _ = _masks(net, mask=torch.where(torch.from_numpy(CLOUD.labels)[None] == 2, 5.0, -5.0))
    assert not torch.allclose(beside, masks, atol=1e-4) and not torch.allclose(again, masks, atol=1e-4)


@pytest.mark.parametrize("click", [[9.0, 9.0, 9.0], [0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 0.0, 1.0]])
def test_any_click_gives_finite_masks(net: ClickNet, click: list[float]) -> None:
    masks, believed = _masks(net, clicks=torch.tensor([[click]]))
    assert torch.isfinite(masks).all() and torch.isfinite(believed).all()


def test_points_outside_the_picture_are_outside_the_mask(net: ClickNet) -> None:
    far = torch.cat([POINTS, torch.tensor([[[0.9, 0.9, -0.8], [0.0, 0.0, 0.5]]])], dim=1)
    masks, _ = _masks(net, far, torch.cat([COLORS, torch.zeros(1, 2, 3)], dim=1))
    assert (masks[..., -2:] == FAR_LOGIT).all()
