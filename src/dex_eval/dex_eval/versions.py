# SPDX-License-Identifier: Apache-2.0
"""Messages of another version than the installed one: read by the definition that the recording holds, field by field into today's type."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from mcap.records import Schema
from mcap_ros2.decoder import DecoderFactory
from rclpy.serialization import deserialize_message

from dex_eval.bag import BagError
from dex_eval.schemas import type_hash

CDR, ROS2MSG = "cdr", "ros2msg"
_numbers = itertools.count(1)


@cache
def class_of(type_name: str) -> type:
    """The installed class of ``pkg/msg/Name``."""
    package, _, name = type_name.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), name)


def same_version(type_name: str, recorded_hash: str) -> bool:
    """Whether bytes of that RIHS01 hash are today's; a hash that is not known is taken for the same."""
    own = type_hash(type_name)
    return not (recorded_hash and own and recorded_hash != own)


@cache
def reader(type_name: str, recorded_hash: str, definition: bytes) -> Callable[[bytes], Any]:
    """From the bytes of a recorded type to a message of the installed one.

    A field that the recording does not have keeps its default, one that is no more is left out.

    Args:
        type_name: ``pkg/msg/Name``. recorded_hash: RIHS01, may be empty.
        definition: of the recorded type, as MCAP holds it.

    Raises:
        BagError: ``type_unknown``, another version whose definition is missing.
    """
    own = class_of(type_name)
    if same_version(type_name, recorded_hash):
        return lambda data: deserialize_message(data, own)
    schema = Schema(id=next(_numbers), name=type_name, encoding=ROS2MSG, data=definition)
    decode = DecoderFactory().decoder_for(CDR, schema) if definition else None
    if decode is None:
        raise BagError(f"{type_name} was recorded in another version ({recorded_hash[:15]}), and without its definition", code="type_unknown")
    return lambda data: _filled(own(), decode(data))


def _filled(message: Any, recorded: Any) -> Any:
    """The message with every field that was recorded."""
    for name, kind in message.get_fields_and_field_types().items():
        if not hasattr(recorded, name):
            continue
        value, element = getattr(recorded, name), kind.removeprefix("sequence<").split("[")[0].split(",")[0].rstrip(">")
        if "/" not in element:
            setattr(message, name, value)
        elif kind == element:
            _filled(getattr(message, name), value)
        else:
            setattr(message, name, _all_filled(element, value))
    return message


def _all_filled(element: str, recorded: Iterable[Any]) -> list[Any]:
    package, name = element.split("/")
    return [_filled(class_of(f"{package}/msg/{name}")(), one) for one in recorded]
