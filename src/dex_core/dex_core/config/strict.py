# SPDX-License-Identifier: Apache-2.0
"""YAML into frozen dataclasses: unknown key, missing key, wrong type or a number out of range stops the start."""

from __future__ import annotations

import dataclasses
import math
import types as pytypes
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

from dex_core.errors import ConfigError

T = TypeVar("T")
MAX_BYTES = 262_144
MAX_DEPTH = 32


class _UniqueKeyLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # in C where PyYAML has it: seven times faster
    """Safe YAML that refuses a key given twice."""


def _unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode, deep: bool = False) -> dict:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, (str, int, float, bool)):
            raise ConfigError(f"line {key_node.start_mark.line + 1}: a key must be a plain word, got {key!r}")
        if key in seen:
            raise ConfigError(f"line {key_node.start_mark.line + 1}: key {key!r} is given twice")
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def bounded(low: float = -math.inf, high: float = math.inf, *, default: Any = dataclasses.MISSING) -> Any:
    """A dataclass field whose number must lie in [low, high]."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high})


def choice(*allowed: str, default: Any = dataclasses.MISSING) -> Any:
    """A dataclass field whose text must be one of ``allowed``."""
    return dataclasses.field(default=default, metadata={"choices": allowed})


def read_yaml(path: Path) -> Any:
    """Reads one safe YAML file of at most 256 KiB. Raises ConfigError naming the file."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError(f"{path}: {size} bytes; a configuration file has at most {MAX_BYTES}")
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error


def plain_yaml(source: Path | bytes, where: str) -> Any:
    """Safe YAML from somebody else: at most 256 KiB, no aliases, no merged keys, no nesting without end; nothing is built before that is known.

    Raises:
        ConfigError: naming ``where`` and what is allowed.
    """
    try:
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        if size > MAX_BYTES:
            raise ConfigError(f"{size} bytes; at most {MAX_BYTES} are allowed")
        text = (source.read_bytes() if isinstance(source, Path) else source).decode("utf-8")
        depth = 0
        for event in yaml.parse(text, Loader=_UniqueKeyLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > MAX_DEPTH:
                what = f"nesting deeper than {MAX_DEPTH}" if depth > MAX_DEPTH else "an alias"
                raise ConfigError(f"line {event.start_mark.line + 1}: {what}; neither is allowed here")
        return yaml.load(text, Loader=_UniqueKeyLoader)
    except (ConfigError, OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: {error}") from error


def build(cls: type[T], data: Any, where: str) -> T:
    """Makes ``cls`` from plain data, recursively, checking everything.

    Raises:
        ConfigError: names the place, the key, the value and what is allowed.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected a mapping with keys {_keys(cls)}, got {type(data).__name__} {data!r}")
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    unknown = [k for k in data if k not in fields]
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; allowed: {_keys(cls)}")
    missing = [n for n, f in fields.items() if n not in data and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
    if missing:
        raise ConfigError(f"{where}: key {missing[0]!r} is missing; required: {missing}")
    hints = typing.get_type_hints(cls)
    values = {}
    for name, value in data.items():
        place = f"{where}: {name}"
        values[name] = _convert(hints[name], value, place)
        _check_field(fields[name].metadata, values[name], place)
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def to_plain(value: Any) -> Any:
    """The reverse of ``build``: dataclasses and tuples into dicts and lists, for YAML."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, dict):
        return {k: to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    return value


def _keys(cls: type) -> list[str]:
    return sorted(f.name for f in dataclasses.fields(cls) if f.init)


def _check_field(metadata: Any, value: Any, where: str) -> None:
    if "choices" in metadata and value not in metadata["choices"]:
        raise ConfigError(f"{where} is {value!r}; allowed: {list(metadata['choices'])}")
    if "low" in metadata:
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and not metadata["low"] <= number <= metadata["high"]:
                raise ConfigError(f"{where} is {number}; allowed {metadata['low']} to {metadata['high']}")


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, getattr(pytypes, "UnionType", typing.Union)):
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, where)
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        return _convert_tuple(args, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: expected a mapping, got {value!r}")
        return {_convert(args[0], k, where): _convert(args[1], v, f"{where}.{k}") for k, v in value.items()}
    return _convert_scalar(hint, value, where)


def _convert_tuple(args: tuple, value: Any, where: str) -> tuple:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{where}: expected a list, got {value!r}")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_convert(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if len(args) != len(value):
        raise ConfigError(f"{where}: expected {len(args)} entries, got {len(value)}: {value!r}")
    return tuple(_convert(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ConfigError(f"{where} is {value}; it must be finite")
        return float(value)
    if hint is Any or (isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool))):
        return value
    raise ConfigError(f"{where}: expected {getattr(hint, '__name__', hint)}, got {type(value).__name__} {value!r}")
