# SPDX-License-Identifier: Apache-2.0
"""`name:=value` words on a command line, as `ros2 launch` takes them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from dex_bringup.arguments import declared_arguments
from dex_core.errors import ConfigError


def parse_words(words: Iterable[str]) -> dict[str, str]:
    """``["record:=true"]`` -> ``{"record": "true"}``. Raises ConfigError on other words or a name given twice."""
    values: dict[str, str] = {}
    for word in words:
        name, found, value = word.partition(":=")
        if not found or not name:
            raise ConfigError(f"argument {word!r} is not understood; write name:=value, for example record:=true")
        if name in values:
            raise ConfigError(f"argument {name!r} is given twice")
        values[name] = value
    return values


def argument_help() -> str:
    """The arguments as text for ``--help``."""
    lines = ["arguments (the same as of ros2 launch):"]
    for argument in declared_arguments():
        allowed = f" [{'|'.join(argument.choices)}]" if argument.choices else ""
        lines.append(f"  {argument.name}:={argument.default or chr(39) * 2}{allowed}\n      {argument.description}")
    return "\n".join(lines)


def cell_parser(verb: str, description: str, examples: str) -> argparse.ArgumentParser:
    """A parser with the cell's name:=value arguments in its help."""
    return argparse.ArgumentParser(
        prog=f"dex {verb}", description=description, epilog=f"{argument_help()}\n\nexamples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
