# SPDX-License-Identifier: Apache-2.0
"""Reads the few pickles LeRobot's server sends, with an interpreter of its own: nothing is imported, nothing is called, unknown words refuse.

A pickle is a program. The standard reader runs it and imports what it names; this one knows some forty instructions that put data together, and a
table of names whose meaning is written elsewhere: torch's tensor in its old storage format, NumPy's array and number. Every length is checked
against the bytes that are there before anything is made, keys of dicts are texts, and what is made may not outgrow the pickle.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dex_core.errors import DexError

MAX_INSTRUCTIONS = 100_000
MAX_INTEGER_BYTES = 16
MAX_FIELDS = 16
WORK_FACTOR, WORK_BYTES = 4, 1 << 20
"""What is made of names may cost this many times the pickle's own bytes, and this much [bytes]: a value can be referred to again and again."""


class PickleRefused(DexError):
    """This pickle says something that is not in the table; nothing of it is used."""

    code = "pickle_refused"


@dataclass(frozen=True)
class Name:
    """A class or function a pickle names: a word, nothing that could be called."""

    module: str
    word: str


@dataclass
class Record:
    """An object of a named class: its fields, never the class itself."""

    name: Name
    fields: dict[str, Any]


class Made:
    """What a maker gives.

    Attributes:
        work: bytes that were read or made for it.
    """

    work = 0

    def build(self, state: Any) -> None:
        """Takes the state a pickle gives it. Raises PickleRefused."""
        raise PickleRefused(f"a {type(self).__name__} is given a state")


class _Mark:
    """Where a list, tuple or dict begins on the stack."""


_MARK = _Mark()
Maker = Callable[..., Made]


def read_pickle(data: bytes, names: dict[tuple[str, str], Maker | None], persistent: Maker | None = None, at: int = 0) -> tuple[Any, int]:
    """The value a pickle describes, and where it ends.

    Args:
        data: holds a pickle from ``at`` on.
        names: (module, word) -> what makes a value of its arguments, itself safe; None: a class whose objects become ``Record``.
        persistent: makes a value of a persistent id, as torch's storages have; None: they are refused.

    Raises:
        PickleRefused: an unknown instruction or name, a length beyond the data, or no pickle at all.
    """
    reader = _Reader(data, names, persistent, at)
    try:
        return reader.run(), reader.at
    except PickleRefused:
        raise
    except (IndexError, KeyError, ValueError, TypeError, struct.error, OverflowError, RecursionError) as error:
        raise PickleRefused(f"no sound pickle: {type(error).__name__} at byte {reader.at} of {len(data)}") from error


class _Reader:
    def __init__(self, data: bytes, names: dict[tuple[str, str], Maker | None], persistent: Maker | None, at: int) -> None:
        self._data, self._names, self._persistent, self.at = data, names, persistent, at
        self._work = WORK_FACTOR * len(data) + WORK_BYTES
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(MAX_INSTRUCTIONS):
            code = self._take(1)[0]
            if code == 0x2E:  # STOP
                value = self._stack.pop()
                if self._stack:
                    raise PickleRefused(f"{len(self._stack)} values are left over at its end")
                return value
            instruction = _INSTRUCTIONS.get(code)
            if instruction is None:
                raise PickleRefused(f"instruction {bytes([code])!r} at byte {self.at - 1} has no place in an answer")
            instruction(self)
        raise PickleRefused(f"more than {MAX_INSTRUCTIONS} instructions")

    def _take(self, count: int) -> bytes:
        end = self.at + count
        if count < 0 or end > len(self._data):
            raise PickleRefused(f"{count} bytes are announced at byte {self.at} of {len(self._data)}")
        out = self._data[self.at : end]
        self.at = end
        return out

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _line(self) -> str:
        end = self._data.index(b"\n", self.at, self.at + 256)
        return self._take(end + 1 - self.at)[:-1].decode("ascii")

    def _marked(self) -> list[Any]:
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is _MARK:
                found = self._stack[place + 1 :]
                del self._stack[place:]
                return found
        raise PickleRefused("an end without a beginning")

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise PickleRefused("a beginning without an end")
        return value

    # what follows are the instructions

    def protocol(self) -> None:
        version = self._take(1)[0]
        if version > 5:
            raise PickleRefused(f"protocol {version}; known are 0 to 5")

    def frame(self) -> None:
        if self._number("<Q") > len(self._data) - self.at:
            raise PickleRefused("a frame is longer than the data")

    def text(self, form: str) -> None:
        self._stack.append(self._take(self._number(form)).decode("utf-8"))

    def raw(self, form: str) -> None:
        self._stack.append(self._take(self._number(form)))

    def long(self) -> None:
        length = self._take(1)[0]
        if length > MAX_INTEGER_BYTES:
            raise PickleRefused(f"a whole number of {length} bytes")
        self._stack.append(int.from_bytes(self._take(length), "little", signed=True))

    def tuple_of(self, count: int) -> None:
        parts = [self._pop() for _ in range(count)][::-1]
        self._stack.append(tuple(parts))

    def append(self) -> None:
        value = self._pop()
        _require(self._stack[-1], list, "a list")
        self._stack[-1].append(value)

    def appends(self) -> None:
        values = self._marked()
        _require(self._stack[-1], list, "a list")
        self._stack[-1].extend(values)

    def set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set([key, value])

    def set_items(self) -> None:
        self._set(self._marked())

    def _set(self, pairs: list[Any]) -> None:
        target = self._stack[-1]
        _require(target, dict, "a dict")
        if len(pairs) % 2:
            raise PickleRefused("a key without a value")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            _require(key, str, "a text as key")
            target[key] = value

    def memo_put(self, place: int) -> None:
        value = self._stack[-1]
        if value is _MARK:
            raise PickleRefused("a beginning is kept as if it were a value")
        self._memo[place] = value

    def memo_get(self, place: int) -> None:
        if place not in self._memo:
            raise PickleRefused(f"value {place} was never kept")
        self._stack.append(self._memo[place])

    def named(self) -> None:
        self._name(self._line(), self._line())

    def stack_named(self) -> None:
        word, module = self._pop(), self._pop()
        self._name(module, word)

    def _name(self, module: Any, word: Any) -> None:
        if not isinstance(module, str) or not isinstance(word, str) or (module, word) not in self._names:
            raise PickleRefused(f"it names {_told(module)}.{_told(word)}, which is in no answer of LeRobot's server")
        self._stack.append(Name(module, word))

    def new_object(self) -> None:
        arguments, name = self._pop(), self._pop()
        self._stack.append(self._make(name, arguments, new=True))

    def reduce(self) -> None:
        arguments, name = self._pop(), self._pop()
        self._stack.append(self._make(name, arguments, new=False))

    def _make(self, name: Any, arguments: Any, *, new: bool) -> Any:
        _require(name, Name, "a name")
        _require(arguments, tuple, "a tuple of arguments")
        maker = self._names[(name.module, name.word)]
        if new:
            if maker is not None or arguments:
                raise PickleRefused(f"{name.module}.{name.word} is no class whose objects are told by their fields")
            return Record(name, {})
        if maker is None:
            raise PickleRefused(f"{name.module}.{name.word} is to be called")
        made = maker(*arguments)
        self._spend(made.work)
        return made

    def _spend(self, work: int) -> None:
        self._work -= work
        if self._work < 0:
            raise PickleRefused(f"more is to be made of {len(self._data)} bytes than is honest")

    def build(self) -> None:
        state, target = self._pop(), self._stack[-1]
        if isinstance(target, Record):
            _require(state, dict, "a dict of fields")
            if len(state) > MAX_FIELDS:
                raise PickleRefused(f"an object of {len(state)} fields; at most {MAX_FIELDS} are known")
            target.fields.update(state)
        elif isinstance(target, Made):
            before = target.work
            target.build(state)
            self._spend(target.work - before)
        else:
            raise PickleRefused(f"a {type(target).__name__} is given a state")

    def persistent_id(self) -> None:
        if self._persistent is None:
            raise PickleRefused("it refers to something outside of itself")
        self._stack.append(self._persistent(self._pop()))


def _told(value: Any) -> str:
    """A text for an error; what is no text is not written out: it may be endless."""
    return repr(value[:80]) if isinstance(value, str) else f"a {type(value).__name__}"


def _require(value: Any, kind: type, what: str) -> None:
    if not isinstance(value, kind):
        raise PickleRefused(f"{what} was expected, got a {type(value).__name__}")


def _push(make: Callable[[_Reader], Any]) -> Callable[[_Reader], None]:
    return lambda reader: reader._stack.append(make(reader))


_INSTRUCTIONS: dict[int, Callable[[_Reader], None]] = {
    0x80: _Reader.protocol, 0x95: _Reader.frame,
    0x28: _push(lambda r: _MARK), 0x4E: _push(lambda r: None), 0x88: _push(lambda r: True), 0x89: _push(lambda r: False),
    0x7D: _push(lambda r: {}), 0x5D: _push(lambda r: []), 0x29: _push(lambda r: ()),
    0x4A: _push(lambda r: r._number("<i")), 0x4B: _push(lambda r: r._number("<B")), 0x4D: _push(lambda r: r._number("<H")),
    0x47: _push(lambda r: r._number(">d")), 0x8A: _Reader.long,
    0x8C: lambda r: r.text("<B"), 0x58: lambda r: r.text("<I"), 0x43: lambda r: r.raw("<B"), 0x42: lambda r: r.raw("<I"), 0x8E: lambda r: r.raw("<Q"),
    0x74: lambda r: r._stack.append(tuple(r._marked())), 0x85: lambda r: r.tuple_of(1), 0x86: lambda r: r.tuple_of(2), 0x87: lambda r: r.tuple_of(3),
    0x61: _Reader.append, 0x65: _Reader.appends, 0x73: _Reader.set_item, 0x75: _Reader.set_items,
    0x94: lambda r: r.memo_put(len(r._memo)), 0x71: lambda r: r.memo_put(r._number("<B")), 0x72: lambda r: r.memo_put(r._number("<I")),
    0x68: lambda r: r.memo_get(r._number("<B")), 0x6A: lambda r: r.memo_get(r._number("<I")),
    0x63: _Reader.named, 0x93: _Reader.stack_named, 0x81: _Reader.new_object, 0x52: _Reader.reduce, 0x62: _Reader.build, 0x51: _Reader.persistent_id,
}
"""Instruction of the pickle protocol -> what it does here. What is missing: instances by name, calls with keywords, out-of-band buffers, registered
extensions, old text numbers, sets, byte arrays, and everything that drops values again."""
