# SPDX-License-Identifier: Apache-2.0
"""JSON schema of a manifest and its kin, made from the dataclasses that read them: there is one description, and it is the one that is run."""

from __future__ import annotations

import dataclasses
import math
import types as pytypes
import typing
from typing import Any

from dex_core.bundle.manifest import Embodiment, Manifest
from dex_core.bundle.signature import Signatures
from dex_core.bundle.stats import Statistic

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PARTS: dict[str, type] = {"manifest": Manifest, "embodiment": Embodiment, "statistic": Statistic, "signatures": Signatures}
"""manifest.yaml; embodiments/*.yaml; one record of stats.json; signatures.yaml."""
_SCALARS = {int: {"type": "integer"}, float: {"type": "number"}, bool: {"type": "boolean"}, str: {"type": "string"}}


def schema_of(part: str = "manifest") -> dict[str, Any]:
    """The schema of one of ``PARTS``. What depends on two fields at once is said by the loader's checks alone."""
    definitions: dict[str, Any] = {}
    cls = PARTS[part]
    _define(cls, definitions)
    return {"$schema": DIALECT, "title": f"{part} of a model bundle", "$ref": f"#/$defs/{cls.__name__}", "$defs": dict(sorted(definitions.items()))}


def _define(cls: type, definitions: dict[str, Any]) -> dict[str, Any]:
    """A reference to the definition of a dataclass, which is made when it is first met."""
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}
        hints = typing.get_type_hints(cls)
        fields = [f for f in dataclasses.fields(cls) if f.init]  # type: ignore[arg-type]
        needed = [f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
        definitions[cls.__name__] = {
            "description": " ".join((cls.__doc__ or "").split("\n\n")[0].split()),
            "type": "object",
            "properties": {f.name: _bounded(_schema(hints[f.name], definitions), f.metadata) for f in fields},
            "required": sorted(needed),
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _schema(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, getattr(pytypes, "UnionType", typing.Union)):
        return {"anyOf": [{"type": "null"} if a is type(None) else _schema(a, definitions) for a in args]}
    if dataclasses.is_dataclass(hint):
        return _define(hint, definitions)  # type: ignore[arg-type]
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return {"type": "array", "items": _schema(args[0], definitions)}
    if origin is tuple:
        return {"type": "array", "prefixItems": [_schema(a, definitions) for a in args], "minItems": len(args), "maxItems": len(args)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(args[1], definitions)}
    return dict(_SCALARS.get(hint, {}))


def _bounded(schema: dict[str, Any], metadata: Any) -> dict[str, Any]:
    """With the limits that ``bounded`` and ``choice`` put on a field; of a list they hold for each entry."""
    if "choices" in metadata:
        return {**schema, "enum": list(metadata["choices"])}
    limits = {k: v for k, v in (("minimum", metadata.get("low")), ("maximum", metadata.get("high"))) if v is not None and math.isfinite(v)}
    if limits and schema.get("type") == "array":
        return {**schema, "items": {**schema["items"], **limits}}
    return {**schema, **limits}
