# SPDX-License-Identifier: Apache-2.0
"""Options that several commands have, and counts that are checked before anything long begins."""
from __future__ import annotations

from pathlib import Path

import pytest

from dex_core.errors import DexError
from dex_learn.arguments import check_counts
from dex_learn.cli import build_parser, main

LEARNERS = ("completion", "segmentation", "picker")


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_has_the_common_options(name: str) -> None:
    given = build_parser().parse_args([name, "--out", "x", "--seed", "7", "--threads", "3", "--work", "y", "--code", "abc"])
    assert (given.out, given.seed, given.threads, given.work, given.code) == (Path("x"), 7, 3, Path("y"), "abc")
    assert given.handler.__name__ == name and build_parser().parse_args([name]).work == Path(f"/tmp/dex_{name}")


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("option", ["--scenes", "--unseen", "--threads"])
def test_a_count_below_one_is_refused_by_name(name: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, option, "0"]) == 1
    assert f"{option} 0: at least 1" in capsys.readouterr().err


def test_counts_of_one_pass() -> None:
    given = build_parser().parse_args(["picker", "--scenes", "1"])
    check_counts(given, "scenes", "threads")
    given.threads = -1
    with pytest.raises(DexError, match="--threads -1"):
        check_counts(given, "scenes", "threads")
