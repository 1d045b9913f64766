# SPDX-License-Identifier: Apache-2.0
"""A serial line with Dynamixel servos on it: who answers which instruction packet, in which order and when; and faults of the line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from dex_core.clock import Clock, SteadyClock
from dex_core.errors import ConfigError
from dex_sim.dynamixel_servo import Servo
from dex_sim.dynamixel_wire import BROADCAST, Instruction, Problem, RefusedError, Request, RequestReader, fast_status, status
from dex_sim.serial_port import PACE_S, SerialPort
from dex_sim.xarm_controller_loop import SocketLoop

FAULTS = ("none", "silent", "truncated", "garbage", "slow")
SLOW_S = 0.3
RETURN_DELAY_S = 2e-6
CLEAR_TURNS = b"\x01\x44\x58\x4c\x22"
FACTORY_RESET_ALL = 0xFF
READING = (
    Instruction.PING, Instruction.READ, Instruction.SYNC_READ, Instruction.FAST_SYNC_READ, Instruction.BULK_READ, Instruction.FAST_BULK_READ,
)
ADDRESS, SPAN, ENTRY = 2, 4, 5
"""Bytes of an address, of address and size, and of id, address and size."""

Answer = tuple[Servo, int, bytes]


class ServoLine:
    """Servos that share one serial line. Everything happens on the loop's thread but the methods documented otherwise.

    Args:
        loop: shared with other devices. path: where clients open the line. servos: with different ids.
        baud: pace of the line; clients are not asked for theirs.
        on_read: called before every packet that asks for registers. on_change: after every one that may have changed what a motor does.
        clock: monotonic.

    Attributes:
        fault: what replies suffer, one of FAULTS; may be set from any thread. delay_s: how late they are when it is ``slow``.
        knows_fast: whether the servos know fast reads; older firmware does not, and is silent.
        requests: packets understood so far. damaged: packets whose CRC was wrong.
    """

    def __init__(
        self, loop: SocketLoop, path: str, servos: Sequence[Servo], *, baud: int = 4_000_000, on_read: Callable[[], None] = lambda: None,
        on_change: Callable[[], None] = lambda: None, clock: Clock | None = None,
    ) -> None:
        self.servos = tuple(servos)
        if len({servo.identifier for servo in self.servos}) != len(self.servos):
            raise ConfigError(f"ids on {path}: {[servo.identifier for servo in self.servos]}; each may be there once")
        self.fault, self.delay_s = "none", SLOW_S
        self.knows_fast = True
        self.requests = self.damaged = 0
        self._loop, self._on_read, self._on_change = loop, on_read, on_change
        self._clock = clock or SteadyClock()
        self._reader = RequestReader()
        self._actions: dict[int, Callable[[Request], bytes]] = {
            Instruction.PING: self._ping, Instruction.SYNC_READ: self._sync_read, Instruction.FAST_SYNC_READ: self._fast_sync_read,
            Instruction.BULK_READ: self._bulk_read, Instruction.FAST_BULK_READ: self._fast_bulk_read,
            Instruction.SYNC_WRITE: self._sync_write, Instruction.BULK_WRITE: self._bulk_write,
        }
        self.port = SerialPort(loop, path, self._on_data, baud=baud, clock=clock)

    def set_fault(self, fault: str) -> None:
        """What replies suffer from now on; any thread. Raises ConfigError."""
        if fault not in FAULTS:
            raise ConfigError(f"fault {fault!r}; allowed: {FAULTS}")
        self.fault = fault

    def _listening(self) -> dict[int, Servo]:
        """Id -> servo, of those that hear now."""
        return {servo.identifier: servo for servo in self.servos if servo.listens}

    def _on_data(self, data: bytes) -> None:
        for request in self._reader.feed(data, self._clock.now_ns()):
            self.requests += 1
            for servo in self.servos:
                servo.heard()
            self._reply(self._answer(request), self._delay_s(request))

    def _answer(self, request: Request) -> bytes:
        if not request.intact:
            self.damaged += 1
            hit = self._listening().get(request.id)
            return status(request.id, Problem.CRC | hit.alert) if hit is not None else b""
        reads = request.instruction in READING
        if reads:
            self._on_read()
        action = self._actions.get(request.instruction)
        try:
            answer = action(request) if action is not None else self._single(request)
        except RefusedError:  # a request to many ends too soon: nobody knows what is meant
            return b""
        if not reads:
            self._on_change()
        return answer

    # --- one servo -----------------------------------------------------------------------------------------------------
    def _ping(self, request: Request) -> bytes:
        return b"".join(status(servo.identifier, servo.alert, servo.table.read(0, 2) + servo.table.read(6, 1)) for servo in self._meant(request.id))

    def _meant(self, identifier: int) -> list[Servo]:
        """Who is asked; of a broadcast all, in the order of their ids."""
        listening = self._listening()
        return [listening[own] for own in sorted(listening) if identifier in (own, BROADCAST)]

    def _single(self, request: Request) -> bytes:
        group = [s for s in self.servos if s.listens and s.table.get("secondary_id") == request.id and s.identifier != request.id]
        answers = [self._execute(servo, request, by_group=False) for servo in self._meant(request.id)]
        for servo in group:
            self._execute(servo, request, by_group=True)
        return answers[0] if request.id != BROADCAST and answers else b""

    def _execute(self, servo: Servo, request: Request, *, by_group: bool) -> bytes:
        identifier, level = servo.identifier, servo.table.get("status_return_level")
        reads = request.instruction == Instruction.READ
        try:
            data, problem = self._obey(servo, request, by_group), Problem.NONE
        except RefusedError as refusal:
            data, problem = b"", refusal.problem
        return status(identifier, problem | servo.alert, data) if level == 2 or (level == 1 and reads) else b""

    @staticmethod
    def _obey(servo: Servo, request: Request, by_group: bool) -> bytes:
        """What one servo does; the data of its answer. Raises RefusedError."""
        given, address = request.parameters, int.from_bytes(request.parameters[:ADDRESS], "little")
        match request.instruction:
            case Instruction.READ:
                _need(given, SPAN)
                return servo.read(address, int.from_bytes(given[ADDRESS:SPAN], "little"))
            case Instruction.WRITE:
                _need(given, ADDRESS)
                servo.write(address, given[ADDRESS:], by_group=by_group)
            case Instruction.REG_WRITE:
                _need(given, ADDRESS)
                servo.register(address, given[ADDRESS:])
            case Instruction.ACTION:
                servo.action()
            case Instruction.REBOOT:
                servo.reboot()
            case Instruction.FACTORY_RESET:
                _need(given, 1)
                if request.id == BROADCAST and given[0] == FACTORY_RESET_ALL:
                    raise RefusedError(Problem.RESULT, "all ids at once are not reset")
                servo.factory_reset(given[0])
            case Instruction.CLEAR if given == CLEAR_TURNS:
                servo.clear_turns()
            case Instruction.CLEAR:
                raise RefusedError(Problem.RANGE, f"clear {given.hex()}; allowed {CLEAR_TURNS.hex()}")
            case _:
                raise RefusedError(Problem.INSTRUCTION, f"instruction {request.instruction:#04x} is not known")
        return b""

    # --- many servos ---------------------------------------------------------------------------------------------------
    def _sync_read(self, request: Request) -> bytes:
        return self._read_all(_same(request.parameters))

    def _fast_sync_read(self, request: Request) -> bytes:
        return self._read_fast(_same(request.parameters))

    def _bulk_read(self, request: Request) -> bytes:
        return self._read_all(_each(request.parameters))

    def _fast_bulk_read(self, request: Request) -> bytes:
        return self._read_fast(_each(request.parameters))

    def _read_all(self, wanted: Sequence[tuple[int, int, int]]) -> bytes:
        return b"".join(status(servo.identifier, error, data) for servo, error, data in self._in_turn(wanted))

    def _read_fast(self, wanted: Sequence[tuple[int, int, int]]) -> bytes:
        if not self.knows_fast:
            return b""
        turns = zip(self._in_turn(wanted), wanted, strict=False)
        answers = [(servo.identifier, error, data or bytes(size)) for (servo, error, data), (_, _, size) in turns]
        return fast_status(answers, sum(size + 4 for _, _, size in wanted)) if answers else b""

    def _in_turn(self, wanted: Iterable[tuple[int, int, int]]) -> list[Answer]:
        """Each waits for the one before it: after one that is silent nobody answers."""
        answers: list[Answer] = []
        listening = self._listening()
        for identifier, address, size in wanted:
            servo = listening.get(identifier)
            if servo is None or not servo.table.get("status_return_level"):
                break
            try:
                answers.append((servo, servo.alert, servo.read(address, size)))
            except RefusedError as refusal:
                answers.append((servo, refusal.problem | servo.alert, b""))
        return answers

    def _sync_write(self, request: Request) -> bytes:
        given = request.parameters
        _need(given, SPAN)
        address, size = int.from_bytes(given[:ADDRESS], "little"), int.from_bytes(given[ADDRESS:SPAN], "little")
        listening = self._listening()
        for start in range(SPAN, len(given), size + 1):
            _write_one(listening.get(given[start]), address, given[start + 1 : start + 1 + size], size)
        return b""

    def _bulk_write(self, request: Request) -> bytes:
        given, start = request.parameters, 0
        listening = self._listening()
        while start < len(given):
            _need(given, start + ENTRY)
            identifier, address, size = _each(given[start : start + ENTRY])[0]
            _write_one(listening.get(identifier), address, given[start + ENTRY : start + ENTRY + size], size)
            start += ENTRY + size
        return b""

    # --- replies -------------------------------------------------------------------------------------------------------
    def _delay_s(self, request: Request) -> float:
        """How long those asked wait before they answer, one after the other [s]."""
        split = _READS.get(request.instruction)
        try:
            asked = [entry[0] for entry in split(request.parameters)] if split is not None else [request.id]
        except RefusedError:
            return 0.0
        return RETURN_DELAY_S * sum(servo.table.get("return_delay_time") for servo in self.servos if servo.identifier in asked)

    def _reply(self, answer: bytes, delay_s: float) -> None:
        if not answer or self.fault == "silent":
            return
        if self.fault == "truncated":
            answer = answer[: len(answer) // 2]
        elif self.fault == "garbage":
            answer = bytes(byte ^ 0x5A for byte in answer)
        if self.fault == "slow":
            delay_s = self.delay_s
        if delay_s < PACE_S:
            self.port.send(answer)
        else:
            self._loop.every(delay_s, lambda: bool(self.port.send(answer)))


def _write_one(servo: Servo | None, address: int, data: bytes, size: int) -> None:
    """A part of a write to many, which is not answered, not even refused."""
    if servo is None or len(data) != size:
        return
    try:
        servo.write(address, data)
    except RefusedError:
        return


def _need(given: bytes, count: int) -> None:
    if len(given) < count:
        raise RefusedError(Problem.LENGTH, f"{len(given)} bytes of parameters; {count} are needed")


def _same(given: bytes) -> list[tuple[int, int, int]]:
    """(id, address, size) of a read of the same from many."""
    _need(given, SPAN)
    address, size = int.from_bytes(given[:ADDRESS], "little"), int.from_bytes(given[ADDRESS:SPAN], "little")
    return [(identifier, address, size) for identifier in given[SPAN:]]


def _each(given: bytes) -> list[tuple[int, int, int]]:
    """(id, address, size) of a read of something else from each."""
    if len(given) % ENTRY:
        raise RefusedError(Problem.LENGTH, f"{len(given)} bytes of parameters are not a multiple of {ENTRY}")
    entries = [given[start : start + ENTRY] for start in range(0, len(given), ENTRY)]
    return [(entry[0], int.from_bytes(entry[1:3], "little"), int.from_bytes(entry[3:5], "little")) for entry in entries]


_READS = {
    Instruction.SYNC_READ: _same, Instruction.FAST_SYNC_READ: _same, Instruction.BULK_READ: _each, Instruction.FAST_BULK_READ: _each,
}
