# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dex_core.bundle.stats import Statistic
from dex_core.errors import ConfigError, DexError, NonFiniteError, ShapeError
from dex_core.transforms import (
    KINDS,
    Chain,
    DeltaToObservation,
    DeltaToPrevious,
    JointMap,
    NotInvertible,
    PoseColumns,
    PoseDelta,
    Range,
    Resize,
    Rot6d,
    Transform,
    Unchanged,
    ZScore,
    from_plain,
    normaliser,
    to_plain,
)

NUMBERS = st.floats(-1e3, 1e3)
ROWS = hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 6), st.just(3)), elements=NUMBERS)
JOINTS = ("a", "b", "c")


def rotations(count: int, seed: int) -> np.ndarray:
    """(count, 3, 3) of random quaternions."""
    q = np.random.default_rng(seed).normal(size=(count, 4))
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    return np.stack([
        np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
        np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
        np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
    ], -2)


def poses(count: int, seed: int) -> np.ndarray:
    out = np.tile(np.eye(4), (count, 1, 1))
    out[:, :3, :3], out[:, :3, 3] = rotations(count, seed), np.random.default_rng(seed + 1).normal(size=(count, 3))
    return out


OF_COLUMNS = [
    ZScore((1.0, -2.0, 0.0), (0.5, 3.0, 1e-3)),
    ZScore((1.0, 5.0, 0.0), (0.5, 0.0, 1.0), (False, True, False)),
    Range((-1.0, 0.0, 5.0), (1.0, 0.002, 9.0)),
    Range((-1.0, 7.0, 5.0), (1.0, 7.0, 9.0), (False, True, False)),
    Unchanged(),
    JointMap(JOINTS, ("c", "a", "b"), (1.0, -1.0, 1.0), "deg"),
    JointMap(JOINTS, JOINTS),
    DeltaToObservation(np.array([1.0, 2.0, 3.0])),
    DeltaToPrevious(np.array([1.0, 2.0, 3.0])),
    Chain((JointMap(JOINTS, ("b", "c", "a"), (-1.0, -1.0, 1.0)), Range((-1.0,) * 3, (2.0,) * 3), ZScore((0.0,) * 3, (2.0,) * 3))),
]


@pytest.mark.parametrize("transform", OF_COLUMNS, ids=repr)
@given(ROWS)
def test_the_inverse_brings_back_and_the_input_stays(transform: Transform, rows: np.ndarray) -> None:
    before = rows.copy()
    there = transform(rows)
    np.testing.assert_allclose(transform.inverse(there), rows, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(transform(transform.inverse(rows)), rows, rtol=1e-9, atol=1e-6)
    np.testing.assert_array_equal(rows, before)
    assert isinstance(transform, Transform) and there.shape == rows.shape
    one = rows[:1] if isinstance(transform, (DeltaToObservation, DeltaToPrevious)) else rows[0, 0]
    np.testing.assert_array_equal(transform(one), there[:1] if one.ndim == 3 else there[0, 0], "leading axes pass through")


@given(ROWS)
def test_numbers_equal_plain_numpy(rows: np.ndarray) -> None:
    mean, std, low, high = np.array([1.0, 2.0, 3.0]), np.array([0.5, 2.0, 4.0]), np.array([-1.0, 0.0, 2.0]), np.array([1.0, 3.0, 2.5])
    np.testing.assert_allclose(ZScore(tuple(mean), tuple(std))(rows), (rows - mean) / std)
    np.testing.assert_allclose(Range(tuple(low), tuple(high))(rows), 2.0 * (rows - low) / (high - low) - 1.0, atol=1e-9)
    np.testing.assert_allclose(JointMap(JOINTS, ("c", "a", "b"), (1.0, -1.0, 1.0), "deg")(rows), np.rad2deg(rows[..., [2, 0, 1]] * [1.0, -1.0, 1.0]))
    first = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(DeltaToObservation(first)(rows), rows - first)
    np.testing.assert_allclose(DeltaToPrevious(first)(rows)[..., 1:, :], rows[..., 1:, :] - rows[..., :-1, :])
    np.testing.assert_allclose(DeltaToPrevious(first)(rows)[..., 0, :], rows[..., 0, :] - first)


def test_masked_columns_pass_as_they_are() -> None:
    rows = np.array([[0.3, 7.0, 6.0]])
    assert OF_COLUMNS[1](rows)[0, 1] == 7.0 == OF_COLUMNS[3](rows)[0, 1]


@given(st.integers(0, 10**6))
def test_rotations_and_poses_come_back(seed: int) -> None:
    turned, placed = rotations(5, seed), poses(5, seed)
    for layout in ("columns", "rows"):
        six = Rot6d(layout)
        np.testing.assert_allclose(six.inverse(six(turned)), turned, atol=1e-12)
        assert six(turned).shape == (5, 6)
    np.testing.assert_array_equal(Rot6d("rows")(turned), turned[:, :2].reshape(5, 6))
    np.testing.assert_array_equal(Rot6d()(turned), np.concatenate([turned[:, :, 0], turned[:, :, 1]], axis=1))
    np.testing.assert_allclose(PoseColumns().inverse(PoseColumns()(placed)), placed, atol=1e-12)
    delta = PoseDelta(placed[0])
    np.testing.assert_allclose(delta(placed)[0], np.eye(4), atol=1e-12)
    np.testing.assert_allclose(delta(placed), np.linalg.inv(placed[0]) @ placed, atol=1e-9)
    np.testing.assert_allclose(delta.inverse(delta(placed)), placed, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ZScore((0.0,), (0.0,)), "std of column 0"),
        (lambda: ZScore((0.0, 1.0), (1.0,)), "as many"),
        (lambda: ZScore((), ()), "at least one"),
        (lambda: ZScore((math.nan,), (1.0,)), "finite"),
        (lambda: ZScore((0.0,), (1.0,), (True, False)), "as many"),
        (lambda: Range((0.0, 1.0), (1.0, 1.0005)), "column 1 spans"),
        (lambda: Range((1.0,), (0.0,)), "column 0 spans"),
        (lambda: Range((0.0,), (math.inf,)), "finite"),
        (lambda: JointMap(("a", "b"), ("a", "a")), "joint map"),
        (lambda: JointMap(("a", "b"), ("a", "c")), "joint map"),
        (lambda: JointMap(("a", "b"), ("b", "a"), (1.0, 0.5)), "sign"),
        (lambda: JointMap(("a", "b"), ("b", "a"), (1.0,)), "sign"),
    ],
)
def test_degenerate_ones_are_refused(make: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        make()


def test_wrong_shapes_and_no_rotation() -> None:
    for transform in (*OF_COLUMNS[:4], *OF_COLUMNS[5:9]):
        with pytest.raises(ShapeError):
            transform(np.zeros((2, 4)))
        with pytest.raises(ShapeError):
            transform.inverse(np.float64(1.0))
    with pytest.raises(DexError) as info:
        Rot6d().inverse(np.zeros(6))
    assert info.value.code == "rotation"
    with pytest.raises(ShapeError):
        PoseDelta(2.0 * np.eye(4))
    with pytest.raises(NonFiniteError):
        DeltaToObservation(np.array([np.nan]))


@pytest.mark.parametrize("method", ["minmax", "quantile", "zscore", "limits", "none"])
def test_statistics_say_how(method: str) -> None:
    data = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 5.0, 0.0]
    stat = dataclasses.replace(Statistic.of(data, method), lo=(-4.0, -20.0, -1.0), hi=(4.0, 20.0, 1.0))
    made = normaliser(stat)
    scaled = made(data)
    np.testing.assert_allclose(made.inverse(scaled), data, atol=1e-12)
    np.testing.assert_array_equal(scaled[:, 2], data[:, 2], "the constant column is masked")
    if method == "minmax":
        np.testing.assert_allclose([scaled[:, :2].min(axis=0), scaled[:, :2].max(axis=0)], [[-1.0, -1.0], [1.0, 1.0]])
    if method == "quantile":
        np.testing.assert_allclose(np.quantile(scaled[:, :2], [0.01, 0.99], axis=0), [[-1.0, -1.0], [1.0, 1.0]])
    if method == "zscore":
        np.testing.assert_allclose([scaled[:, :2].mean(axis=0), scaled[:, :2].std(axis=0)], [[0.0, 0.0], [1.0, 1.0]], atol=1e-9)
    if method == "limits":
        np.testing.assert_allclose(scaled[:, :2], data[:, :2] / [4.0, 20.0])
    if method == "none":
        assert isinstance(made, Unchanged)


HELD = [t for t in OF_COLUMNS if type(t) in KINDS.values()] + [Rot6d("rows"), PoseColumns()]


def test_a_manifest_holds_them_and_gives_them_back() -> None:
    chain = Chain(tuple(HELD))
    plain = to_plain(chain, KINDS)
    assert from_plain(plain, KINDS, "manifest") == chain and from_plain([], KINDS, "manifest") == Chain()
    assert to_plain(HELD[0], KINDS) == [{"kind": "zscore", "mean": [1.0, -2.0, 0.0], "std": [0.5, 3.0, 1e-3], "mask": []}]
    with pytest.raises(ConfigError, match="DeltaToObservation"):
        to_plain(DeltaToObservation(np.zeros(3)), KINDS)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("crop", "list of transforms"),
        ([3], r"m\[0\]: expected kind"),
        ([{"kind": "pickle"}], "allowed"),
        ([{"kind": ["crop"]}], "allowed"),
        ([{}], "allowed"),
        ([{"kind": "resize", "width": 3}], "height"),
        ([{"kind": "resize", "width": 3, "height": 0}], "height"),
        ([{"kind": "resize", "width": 3, "height": 3, "method": "cubic"}], "method"),
        ([{"kind": "unchanged"}, {"kind": "zscore", "mean": [0.0], "std": [0.0]}], r"m\[1\].*std of column 0"),
        ([{"kind": "zscore", "mean": [0.0], "std": [1.0], "eps": 1}], "eps"),
        ([{"kind": "joints", "names": ["a"], "to": ["b"]}], "joint map"),
    ],
)
def test_what_a_hostile_manifest_says_is_refused_with_its_place(data: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        from_plain(data, KINDS, "m")


def test_the_inverse_of_a_chain_stops_where_there_is_none() -> None:
    with pytest.raises(NotInvertible):
        Chain((Resize(2, 2),)).inverse(np.zeros((2, 2, 3), np.uint8))
