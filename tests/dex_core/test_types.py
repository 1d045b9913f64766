# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.errors import JointNameError, NonFiniteError, ShapeError
from dex_core.types import ActionChunk, ActionSlice, JointState, frozen_array, index_map


def _slice(interface: str = "left_arm", steps: int = 3) -> ActionSlice:
    return ActionSlice(interface, "joint_position", np.ones((steps, 2)), ("a", "b"))


@given(st.permutations(["a", "b", "c", "d"]))
def test_index_map_reorders_by_name(names: list[str]) -> None:
    values = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    idx = index_map(names, ("d", "a", "c", "b"), "test")
    assert np.array([values[n] for n in names])[idx].tolist() == [4.0, 1.0, 3.0, 2.0]


@pytest.mark.parametrize(
    ("got", "words"),
    [(("a",), "missing"), (("a", "x"), "unknown"), (("a", "a"), "repeated"), (("a", "b", "c"), "unknown"), ((), "missing")],
)
def test_index_map_names_what_is_wrong(got: tuple[str, ...], words: str) -> None:
    with pytest.raises(JointNameError, match=words):
        index_map(got, ("a", "b"), "test")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, np.array([0x7FF0000000000001], dtype=np.uint64).view(np.float64)[0]])
def test_nothing_non_finite_gets_into_a_slice_or_state(bad: float) -> None:
    data = np.zeros((3, 2))
    data[1, 1] = bad
    with pytest.raises(NonFiniteError, match=r"\(1, 1\)"):
        ActionSlice("left_arm", "joint_position", data, ("a", "b"))
    with pytest.raises(NonFiniteError):
        JointState(("a",), np.array([bad]), np.zeros(1), np.zeros(1), 0)


def test_values_are_immutable_and_detached() -> None:
    source = np.zeros((3, 2))
    part = ActionSlice("left_arm", "joint_position", source, ("a", "b"))
    source[0, 0] = 5.0
    assert part.data[0, 0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        part.data[0, 0] = 1.0
    with pytest.raises(AttributeError):
        part.space = "latent"  # type: ignore[misc]


def test_unknown_space_and_nameless_joints_are_refused() -> None:
    with pytest.raises(ShapeError, match="allowed"):
        ActionSlice("left_arm", "vibes", np.zeros((1, 1)))
    with pytest.raises(JointNameError):
        ActionSlice("left_arm", "joint_position", np.zeros((1, 2)))
    with pytest.raises(JointNameError):
        ActionSlice("left_arm", "joint_position", np.zeros((1, 2)), ("a", "a"))


def test_chunk_refuses_ragged_empty_and_repeated_slices() -> None:
    good = ActionChunk(0, "g", 1, 0.05, 1.0, (_slice(), _slice("right_arm")))
    assert good.steps == 3 and good.slice_of("right_arm") is not None and good.slice_of("tail") is None
    assert good.time_of_step_ns(1) == 100_000_000
    for slices in ((), (_slice(), _slice()), (_slice(), _slice("right_arm", 4))):
        with pytest.raises(ShapeError):
            ActionChunk(0, "g", 1, 0.05, 1.0, slices)


@pytest.mark.parametrize("dt", [0.0, -0.05, float("nan"), float("inf"), 1e9])
def test_chunk_refuses_bad_time(dt: float) -> None:
    with pytest.raises(ShapeError, match="dt_s"):
        ActionChunk(0, "g", 1, dt, 1.0, (_slice(),))
    with pytest.raises(ShapeError, match="offset"):
        ActionChunk(0, "g", 1, 0.05, float("nan"), (_slice(),))


def test_frozen_array_names_both_shapes() -> None:
    with pytest.raises(ShapeError, match=r"\(2,\).*3"):
        frozen_array([1, 2], (3,), "thing")
