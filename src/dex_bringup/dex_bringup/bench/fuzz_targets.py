# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed: every reader of bytes from a device, a client, a file or the graph; each says which refusals are its right."""

from __future__ import annotations

import binascii
import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from dex_bringup.bench.fuzz_mutate import Reseal
from dex_core.clock import ManualClock
from dex_core.config import CellConfig, load_cell
from dex_core.devices import simulated_wire, unitree_wire
from dex_core.devices.fake import FakeJointDevice
from dex_core.devices.follower import CommandFollower, CommandMode
from dex_core.devices.limited import Limited
from dex_core.devices.runtime import DeviceRuntime
from dex_core.errors import DexError
from dex_sim.plant import KinematicPlant

TICK_S = 0.01


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        name: for the report. seeds: good frames. feed: takes one broken frame; whatever it raises besides ``allowed`` is a crash.
        share: weight among the targets: cheap readers get more.
        allowed: refusals. reseal: see Mutator.
    """

    name: str
    seeds: list[bytes]
    feed: Callable[[bytes], object]
    share: float = 1.0
    allowed: tuple[type[Exception], ...] = (DexError,)
    reseal: Reseal | None = None
    close: Callable[[], None] = field(default=lambda: None)


def _home(cell: CellConfig, name: str) -> tuple[tuple[str, ...], np.ndarray]:
    part = cell.interface(name)
    return part.names, np.array(part.home)


# --- arms ----------------------------------------------------------------------------------------------------------


def xarm_requests() -> Target:
    """The simulated controller: request frames of port 502, and what it does with them."""
    from dex_sim import xarm_controller_wire as wire
    from dex_sim.xarm_controller_state import ClientSession, XArmControllerState

    names, home = _home(load_cell("xarm_bimanual"), "left_arm")
    state = XArmControllerState(KinematicPlant(names, home))
    session = ClientSession(lambda _data: None)

    def frame(function: int, params: bytes) -> bytes:
        return struct.pack(">HHHB", 7, 2, 1 + len(params), function) + params

    target = wire.floats([*home.tolist(), 0.0, 0.0, 0.0])
    seeds = [frame(function, target) for function in (0x1D, 0x17, 0x2A)]
    seeds += [frame(function, bytes(8)) for function in (0x0B, 0x0C, 0x0D, 0x10, 0x11, 0x13, 0x2E)]

    def feed(data: bytes) -> None:
        for request in wire.FrameReader().feed(data):
            state.handle(request, session)

    return Target("xArm controller requests", seeds, feed, 2.0, (wire.WireError,))


def xarm_reports() -> Target:
    """The driver: the rich report of port 30002, as its reader hands it over: whole by its own length. The SDK's own structure is slow."""
    from dex_arms.xarm_report import MAX_FRAME, parse_rich_report
    from dex_sim import xarm_controller_wire as wire
    from dex_sim.xarm_controller_state import XArmControllerState

    names, home = _home(load_cell("xarm_bimanual"), "left_arm")
    seed = XArmControllerState(KinematicPlant(names, home)).report(wire.PORT_REPORT_RICH)

    def feed(data: bytes) -> None:
        if 245 <= len(data) <= MAX_FRAME:
            parse_rich_report(data)

    return Target("xArm reports", [seed], feed, 0.03)


def franka_requests() -> Target:
    """The simulated Franka: TCP requests and UDP motion commands."""
    from dex_sim import franka_wire as wire

    seeds = [wire.HEADER.pack(int(command), 3, wire.HEADER.size + size) + bytes(size) for command, size in wire._SIZES.items()]  # noqa: SLF001
    motion = np.zeros(1, wire.MOTION).tobytes()

    def feed(data: bytes) -> None:
        for request in wire.RequestReader().feed(data):
            if request.command == wire.Command.MOVE:
                wire.Move.parse(request.payload)
        wire.parse_motion(data)

    return Target("Franka requests and motions", [*seeds, motion], feed, 2.0)


def unitree_frames() -> Target:
    """Unitree's serialized states and commands, of the body and of hands."""
    state = unitree_wire.pack_frame(np.zeros((), unitree_wire.LOW_STATE))
    motors = unitree_wire.pack_motors(np.zeros(12, unitree_wire.HAND_STATE))

    def feed(data: bytes) -> None:
        try:
            frame = unitree_wire.unpack_frame(data, unitree_wire.LOW_STATE)
        except DexError:
            unitree_wire.unpack_motors(data, unitree_wire.HAND_STATE, 12)
        else:
            unitree_wire.crc_is_right(frame)

    return Target("Unitree frames", [state, motors], feed, 0.5)


# --- hands ---------------------------------------------------------------------------------------------------------


def stand_in_frames() -> Target:
    """The plain wire of hands without a simulator of their own, either end."""
    names = tuple(f"left_j{i}" for i in range(12))
    frame = simulated_wire.Frame(
        simulated_wire.Kind.COMMAND, 5, "left_leap", simulated_wire.names_checksum(names), position_rad=tuple(0.1 for _ in names),
    )
    seed = frame.pack()
    return Target("simulated hand frames", [seed], lambda data: simulated_wire.FrameReader().feed(data), 2.0)


def dynamixel_requests() -> Target:
    """LEAP's simulated bus: Dynamixel packets, stuffed, with CRC."""
    from dex_sim import dynamixel_wire as wire

    kinds = wire.Instruction
    addressed = struct.pack("<HH", 116, 4) + b"".join(bytes([i]) + struct.pack("<i", 2048) for i in range(16))
    seeds = [wire.pack(0xFE, kinds.SYNC_WRITE, addressed), wire.pack(3, kinds.READ, struct.pack("<HH", 126, 10)), wire.pack(0xFE, kinds.PING, b"")]
    seeds.append(wire.pack(0xFE, kinds.SYNC_READ, struct.pack("<HH", 126, 10) + bytes(range(16))))

    def reseal(frame: bytes) -> bytes:
        return frame[:-2] + wire.crc16(frame[:-2]).to_bytes(2, "little")

    return Target("Dynamixel requests", seeds, lambda data: wire.RequestReader().feed(data, 0), 1.0, reseal=reseal)


def ability_replies() -> Target:
    """The Ability driver: stuffed frames and their replies."""
    from dex_hands import ability_wire as wire

    bodies = [wire.with_checksum(bytes([0xA0 | int(variant)]) + bytes(size - 2)) for variant, size in wire.REPLY_BYTES.items()]

    def feed(data: bytes) -> None:
        for body in wire.Unstuffer().feed(data):
            wire.decode(body)

    def reseal(frame: bytes) -> bytes:
        return wire.stuffed(wire.with_checksum(frame[1:-2]))

    return Target("Ability replies", [wire.stuffed(body) for body in bodies], feed, 2.0, reseal=reseal)


def ability_requests() -> Target:
    """The simulated Ability hand: frames to it, and what it does with them."""
    from dex_hands import ability_wire as ours
    from dex_sim import ability_wire as wire
    from dex_sim.ability_hand import AbilityHand

    part = load_cell("xarm_bimanual", hand="ability").interface("left_hand")
    hand = AbilityHand(part, KinematicPlant(part.names, part.home))
    seeds = [
        ours.stuffed(ours.command_body(hand.bus_id, mode, variant, [1000] * 6))
        for mode in (ours.Mode.POSITION, ours.Mode.VELOCITY, ours.Mode.CURRENT, ours.Mode.DUTY) for variant in ours.Variant
    ]

    def feed(data: bytes) -> None:
        for body in wire.Framer().feed(data):
            hand.answer(body)

    def reseal(frame: bytes) -> bytes:
        return ours.stuffed(ours.with_checksum(frame[1:-2]))

    return Target("Ability requests", seeds, feed, 0.3, reseal=reseal)


def xhand_frames() -> Target:
    """The simulated XHand's requests, orders included, and the driver's reading of its states."""
    from dex_hands import xhand_serial as driver
    from dex_sim import xhand_wire as wire
    from dex_sim.xhand_hand import XHand

    part = load_cell("xarm_bimanual", hand="xhand1").interface("left_hand")
    hand = XHand(part, KinematicPlant(part.names, part.home))
    order = b"".join(struct.pack("<Hhhhf6H", joint, 100, 0, 0, 0.2, 300, 3, 0, 0, 0, 0) for joint in range(wire.JOINTS))
    asked = driver.pack(wire.HAND_BASE, wire.REALTIME, order)
    state = hand.take_order(order)
    told = wire.pack_answer(wire.HAND_BASE, wire.REALTIME, state or b"")

    def feed(data: bytes) -> None:
        for request in wire.RequestReader().feed(data):
            if request.command == wire.REALTIME:
                hand.take_order(request.payload)
        driver.unpack_state(driver.unpack(data, wire.HAND_BASE, wire.REALTIME), 0)

    def reseal(frame: bytes) -> bytes:
        return frame[:-2] + struct.pack("<H", binascii.crc_hqx(frame[:-2], 0))

    return Target("XHand frames", [asked, told], feed, 0.3, reseal=reseal)


def inspire_registers() -> Target:
    """The simulated Inspire hand's registers, and the driver's reading of its health block."""
    from dex_hands.inspire_status import HEALTH_BLOCK, HandStatus
    from dex_sim.inspire_modbus_hand import InspireHand
    from dex_sim.inspire_modbus_map import RegisterError

    part = load_cell("xarm_bimanual", hand="inspire").interface("left_hand")
    hand = InspireHand(part, KinematicPlant(part.names, part.home))
    write = struct.pack(">HH6h", 1486, 6, *[500] * 6)
    health = struct.pack(">HH", *HEALTH_BLOCK) + bytes(2 * HEALTH_BLOCK[1])

    def feed(data: bytes) -> None:
        words = list(struct.unpack(f">{len(data) // 2}H", data[: len(data) // 2 * 2]))
        if len(words) < 2:
            return
        if len(words) - 2 == HEALTH_BLOCK[1]:
            status = HandStatus.from_words(words[2:], part.names)
            assert status.text
        address, count = words[0], words[1] % 126 + 1
        try:
            hand.read_words(address, count)
            hand.write_words(address, words[2:])
        except RegisterError:
            pass
        hand.step()

    return Target("Inspire registers", [write, health], feed, 0.3)


def inspire_rtu() -> Target:
    """Modbus RTU lines as the simulated hand reads them."""
    from pymodbus.exceptions import ModbusException
    from pymodbus.framer import FramerRTU
    from pymodbus.pdu import DecodePDU

    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # it writes a line for every frame that it refuses
    framer = FramerRTU(DecodePDU(True))

    def sealed(body: bytes) -> bytes:
        return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")

    seeds = [sealed(struct.pack(">BBHH", 1, 3, 1546, 6)), sealed(struct.pack(">BBHHB6h", 1, 16, 1486, 6, 12, *[500] * 6))]
    return Target("Modbus RTU lines", seeds, lambda data: framer.handleFrame(data, 0, 0), 0.5, (ModbusException,), lambda f: sealed(f[:-2]))


# --- the command stream ----------------------------------------------------------------------------------------------


def command_stream() -> Target:
    """A driver's second wall: commands whose bytes are broken, up to what the device would be told (the spy looks)."""
    part = load_cell("xarm_bimanual").interface("left_arm")
    clock = ManualClock()
    device = FakeJointDevice(part.names, part.home, clock=clock)
    runtime = DeviceRuntime(Limited(device, part.limits, clock=clock), CommandFollower(part.names, 0.1), clock=clock)
    runtime.device.connect()
    runtime.start()
    seed = struct.pack("<BQ7d", 1, 5, *part.home)
    sequence = 0

    def feed(data: bytes) -> None:
        nonlocal sequence
        sequence += 1
        clock.advance_s(TICK_S)
        if not runtime.active:
            runtime.start()
        runtime.command(CommandMode.IDLE, sequence, (), ())
        runtime.tick()
        mode = data[0] if data else 0
        positions = np.frombuffer(data[9 : 9 + (len(data) - 9) // 8 * 8] if len(data) > 9 else b"", dtype=np.float64)
        names = part.names if mode % 2 else (*part.names[1:], part.names[mode % 7])
        runtime.command(mode, sequence + 1, names, positions)
        device.commands.clear()
        device.calls.clear()

    return Target("driver command stream", [seed], feed, 0.4)


MAKERS = (
    xarm_requests, xarm_reports, franka_requests, unitree_frames, stand_in_frames, dynamixel_requests, ability_replies, ability_requests,
    xhand_frames, inspire_registers, inspire_rtu, command_stream,
)
