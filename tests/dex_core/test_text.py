# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.errors import DexError
from dex_core.text import BUCKETS, LENGTH, fnv1a_32, tokenize


def test_fnv_matches_published_vectors() -> None:
    assert [fnv1a_32(s) for s in ("", "a", "foobar")] == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]


@given(st.text(max_size=256))
def test_ids_are_in_range_and_padded(text: str) -> None:
    try:
        ids = tokenize(text)
    except DexError as error:
        assert error.code == "instruction_invalid"
        return
    assert ids.shape == (1, LENGTH) and ids.dtype == np.int64
    assert ids.min() >= 0 and ids.max() < BUCKETS and ids[0, 0] > 0


def test_case_and_punctuation_do_not_matter_but_order_does() -> None:
    assert (tokenize("Push the cans, together!") == tokenize("push the cans together")).all()
    assert (tokenize("push the cans") != tokenize("cans the push")).any()


@pytest.mark.parametrize("bad", ["", "  ,.!", "x" * 257])
def test_empty_and_endless_instructions_are_refused(bad: str) -> None:
    with pytest.raises(DexError):
        tokenize(bad)
