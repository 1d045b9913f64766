# SPDX-License-Identifier: Apache-2.0
"""The JSON schema agrees with the reader: on what is shipped, and on what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dex_core.bundle import parse_manifest
from dex_core.bundle.schema import PARTS, schema_of
from dex_core.config import find_share
from dex_core.errors import BundleError

jsonschema = pytest.importorskip("jsonschema", reason="what else judges manifests: requirements-test.txt")
SHIPPED = sorted(p.parent.name for p in find_share("models").glob("*/manifest.yaml"))


def accepts(part: str, data: Any) -> bool:
    return jsonschema.Draft202012Validator(schema_of(part)).is_valid(data)


@pytest.mark.parametrize("part", PARTS)
def test_it_is_a_schema(part: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema_of(part))
    assert json.loads(json.dumps(schema_of(part))) == schema_of(part)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_bundle_is_valid(name: str) -> None:
    folder = find_share("models", name)
    jsonschema.validate(yaml.safe_load((folder / "manifest.yaml").read_text()), schema_of())
    for path in folder.glob("embodiments/*.yaml"):
        jsonschema.validate(yaml.safe_load(path.read_text()), schema_of("embodiment"))
    if (folder / "stats.json").is_file():
        for record in json.loads((folder / "stats.json").read_text()).values():
            jsonschema.validate(record, schema_of("statistic"))


WRONG: dict[str, Callable[[dict], Any]] = {
    "unknown key": lambda d: d.update(colour="red"),
    "missing key": lambda d: d.pop("latency"),
    "unknown kind": lambda d: d.update(kind="magic"),
    "text for a number": lambda d: d["latency"].update(budget_ms="5"),
    "number out of range": lambda d: d["latency"].update(budget_ms=0.0),
    "unknown dtype": lambda d: d["graphs"]["policy"]["inputs"][0].update(dtype="float64"),
    "three ends of an axis": lambda d: d["graphs"]["policy"]["dynamic"].update(B=[1, 2, 3]),
    "nothing for a mapping": lambda d: d.update(graphs=None),
    "unknown key deep inside": lambda d: d["graphs"]["policy"]["outputs"][0]["slices"][0].update(colour="red"),
    "true for a number": lambda d: d["timing"].update(chunk=True),
}


@pytest.mark.parametrize("case", WRONG)
def test_it_refuses_what_the_reader_refuses(good: Path, tmp_path: Path, case: str) -> None:
    data = yaml.safe_load((good / "xl_vla_tabletop/manifest.yaml").read_text())
    assert accepts("manifest", data)
    WRONG[case](data)
    (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(BundleError):
        parse_manifest(tmp_path / "manifest.yaml")
    assert not accepts("manifest", data)


def test_every_part_is_described() -> None:
    assert all(d["description"] and d["additionalProperties"] is False for part in PARTS for d in schema_of(part)["$defs"].values())
