# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from dex_core.config.strict import bounded, build, choice, read_yaml, to_plain
from dex_core.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    mode: str = choice("fast", "safe", default="safe")
    xyz_m: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Outer:
    rate_hz: float = bounded(1.0, 100.0)
    names: tuple[str, ...] = ()
    inner: Inner = Inner()
    parts: dict[str, Inner] | None = None
    count: int = 1
    on: bool = False


def test_round_trip() -> None:
    value = build(Outer, {"rate_hz": 5, "names": ["a"], "parts": {"p": {"mode": "fast"}}, "inner": {"xyz_m": [1, 2, 3]}}, "f")
    assert value.rate_hz == 5.0 and value.parts is not None and value.parts["p"].mode == "fast"
    assert build(Outer, to_plain(value), "f") == value


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "'rate_hz' is missing"),
        ({"rate_hz": 5, "rate": 1}, "unknown key 'rate'; allowed"),
        ({"rate_hz": 500}, "500.0; allowed 1.0 to 100.0"),
        ({"rate_hz": float("nan")}, "finite"),
        ({"rate_hz": True}, "expected float"),
        ({"rate_hz": "5"}, "expected float"),
        ({"rate_hz": 5, "count": True}, "expected int"),
        ({"rate_hz": 5, "count": 1.5}, "expected int"),
        ({"rate_hz": 5, "on": 1}, "expected bool"),
        ({"rate_hz": 5, "inner": {"mode": "mad"}}, "allowed: \\['fast', 'safe'\\]"),
        ({"rate_hz": 5, "inner": {"xyz_m": [1, 2]}}, "expected 3 entries"),
        ({"rate_hz": 5, "inner": [1]}, "expected a mapping"),
        ({"rate_hz": 5, "names": "abc"}, "expected a list"),
        ({"rate_hz": 5, "parts": {"p": {"x": 1}}}, "parts.p: unknown key"),
        ([], "expected a mapping"),
    ],
)
def test_mistakes_are_named(data: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(Outer, data, "cell.yaml")


@pytest.mark.parametrize(
    "text", ["a: 1\na: 2\n", "a: [", "!!python/object/apply:os.system ['true']", "? [1]\n: 2\n", "\x00", "a: " + "x" * 300_000]
)
def test_bad_files_are_refused_with_their_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="bad.yaml"):
        read_yaml(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing.yaml"):
        read_yaml(tmp_path / "nothing.yaml")
