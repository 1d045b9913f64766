# SPDX-License-Identifier: Apache-2.0
"""What every transform is: a frozen callable with its inverse beside it, that a manifest can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from dex_core.config import strict
from dex_core.errors import ConfigError, DexError


class NotInvertible(DexError):
    """What was cut off, averaged or clipped does not come back."""

    code = "not_invertible"


@runtime_checkable
class Transform(Protocol):
    """Numbers to numbers. Never changes its input; knows nothing of batches: leading axes pass through."""

    def __call__(self, values: NDArray) -> NDArray:
        """Forward: towards the network."""
        ...

    def inverse(self, values: NDArray) -> NDArray:
        """Back: ``inverse(forward(x))`` is x. Raises NotInvertible where it cannot be."""
        ...


@dataclass(frozen=True)
class Chain:
    """Several transforms one after the other; the inverse goes back in the opposite order."""

    steps: tuple[Transform, ...] = ()

    def __call__(self, values: NDArray) -> NDArray:
        """The first step first."""
        for step in self.steps:
            values = step(values)
        return values

    def inverse(self, values: NDArray) -> NDArray:
        """The last step first. Raises NotInvertible."""
        for step in reversed(self.steps):
            values = step.inverse(values)
        return values


def to_plain(transform: Transform, kinds: Mapping[str, type]) -> list[dict[str, Any]]:
    """As a manifest holds it: one ``{kind: ..., fields}`` per step.

    Args:
        transform: one, or a chain.
        kinds: name -> class, of those that can be held.

    Raises:
        ConfigError: of a class that is not among them.
    """
    names = {cls: name for name, cls in kinds.items()}
    plain = []
    for step in transform.steps if isinstance(transform, Chain) else (transform,):
        if type(step) not in names:
            raise ConfigError(f"a manifest cannot hold a {type(step).__name__}; it can hold {sorted(kinds)}")
        plain.append({"kind": names[type(step)], **strict.to_plain(step)})
    return plain


def from_plain(data: Any, kinds: Mapping[str, type], where: str) -> Chain:
    """Reads what ``to_plain`` wrote, strictly.

    Args:
        data: list of steps, from a file that nobody trusts.
        kinds: as in ``to_plain``.
        where: file and key, for errors.

    Raises:
        ConfigError: unknown kind or key, a value of another type or out of range; with its place.
    """
    if not isinstance(data, Sequence) or isinstance(data, str):
        raise ConfigError(f"{where}: expected a list of transforms, got {type(data).__name__}")
    steps = []
    for number, step in enumerate(data):
        place = f"{where}[{number}]"
        if not isinstance(step, Mapping):
            raise ConfigError(f"{place}: expected kind and fields, got {type(step).__name__}")
        kind = step.get("kind")
        if not isinstance(kind, str) or kind not in kinds:
            raise ConfigError(f"{place}: kind is {kind!r}; allowed: {sorted(kinds)}")
        steps.append(strict.build(kinds[kind], {key: value for key, value in step.items() if key != "kind"}, place))
    return Chain(tuple(steps))
