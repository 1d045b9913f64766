# SPDX-License-Identifier: Apache-2.0
"""Intrinsics as OpenCV understands them."""
from __future__ import annotations

import cv2
import numpy as np
import pytest

from dex_core.devices.camera import Intrinsics
from dex_core.errors import NonFiniteError, ShapeError

LENS = (0.12, -0.25, 1e-3, -2e-3, 0.08)


def test_the_matrix_and_the_coefficients_project_as_the_formula_says() -> None:
    inner = Intrinsics(640, 480, 610.0, 612.0, 318.0, 243.0, LENS)
    point = np.array([0.2, -0.15, 0.8])
    x, y = point[:2] / point[2]
    k1, k2, p1, p2, k3 = LENS
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    u = 610.0 * (x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)) + 318.0
    v = 612.0 * (y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y) + 243.0
    pixel, _ = cv2.projectPoints(point[None], np.zeros(3), np.zeros(3), inner.matrix, np.array(inner.distortion))
    assert pixel.ravel() == pytest.approx((u, v), abs=1e-9)


def test_crop_and_size_move_the_matrix_and_leave_the_lens() -> None:
    inner = Intrinsics(640, 480, 610.0, 612.0, 318.0, 243.0, LENS)
    small = inner.cropped_and_resized((40, 0, 560, 480), (280, 240))
    assert small.distortion == LENS and (small.width, small.height) == (280, 240)
    point = np.array([[0.1, 0.05, 0.9]])
    before, after = (cv2.projectPoints(point, np.zeros(3), np.zeros(3), i.matrix, np.array(i.distortion))[0].ravel() for i in (inner, small))
    assert after == pytest.approx((before + 0.5 - (40, 0)) / 2 - 0.5, abs=1e-9)


def test_distorted_means_a_coefficient_that_acts() -> None:
    assert not Intrinsics(4, 4, 1.0, 1.0, 1.5, 1.5).distorted
    assert not Intrinsics(4, 4, 1.0, 1.0, 1.5, 1.5, (0.0,) * 5).distorted
    assert Intrinsics(4, 4, 1.0, 1.0, 1.5, 1.5, LENS).distorted


@pytest.mark.parametrize("size", [1, 3, 6, 13])
def test_a_number_of_coefficients_that_no_model_has_is_refused(size: int) -> None:
    with pytest.raises(ShapeError, match=f"{size} distortion coefficients"):
        Intrinsics(4, 4, 1.0, 1.0, 1.5, 1.5, (0.1,) * size)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(NonFiniteError, match="intrinsics are not finite"):
        Intrinsics(4, 4, bad, 1.0, 1.5, 1.5)
    with pytest.raises(NonFiniteError):
        Intrinsics(4, 4, 1.0, 1.0, 1.5, 1.5, (bad, 0.0, 0.0, 0.0))
