# SPDX-License-Identifier: Apache-2.0
"""The simulated Ability Hand, seen by raw frames and by PSYONIC's own Python package, which shares no code with it."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from dex_core.clock import ManualClock
from dex_core.config import CellConfig, Interface, load_cell
from dex_core.errors import ConfigError, DeviceError
from dex_hands.ability import AbilityDriver
from dex_sim.ability import AbilityLine
from dex_sim.ability_hand import AbilityHand
from dex_sim.ability_motors import STALL_LAG_RAD
from dex_sim.cell import SimCell
from dex_sim.plant import KinematicPlant, PlantState
from dex_sim.xarm_controller_loop import SocketLoop

FLEX = np.array([1.0, 1.0, 1.0, 1.0, 1.0, -1.0])
OPEN_DEG = [0.0] * 6
ADDRESS = 0x50


class Wall(KinematicPlant):
    """A plant whose first joint stops at 0.7 rad; beyond, effort grows with the distance to the target."""

    stiffness_nm_rad = 20.0

    def read(self) -> PlantState:
        state = super().read()
        position, velocity, effort = state.position_rad.copy(), state.velocity_rad_s.copy(), np.zeros(6)
        if position[0] > 0.7:
            effort[0] = self.stiffness_nm_rad * (position[0] - 0.7)
            position[0], velocity[0] = 0.7, 0.0
        return PlantState(position, velocity, effort)


@pytest.fixture(scope="module")
def cell() -> CellConfig:
    return load_cell("xarm_bimanual", hand="ability")


@pytest.fixture(scope="module")
def right(cell: CellConfig) -> Interface:
    return cell.interface("right_hand")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(10**9)


@pytest.fixture
def hand(right: Interface, clock: ManualClock) -> AbilityHand:
    """A right hand, open, on a manual clock and a plant that follows at once."""
    return AbilityHand(right, KinematicPlant(right.names, np.zeros(6), time_constant_s=1e-4, clock=clock), clock=clock)


@pytest.fixture
def line(right: Interface, tmp_path: Path) -> Iterator[AbilityLine]:
    loop = SocketLoop("ability-test")
    line = AbilityLine(AbilityHand(right, KinematicPlant(right.names, 0.2 * FLEX, time_constant_s=0.01)), str(tmp_path / "hand"), loop)
    yield line
    line.close()
    loop.stop()


# -- frames written from the interface document alone ---------------------------------------------------------------------
def sealed(*data: int) -> bytes:
    return bytes([*data, -sum(data) & 0xFF])


def command(header: int, *counts: int) -> bytes:
    return sealed(ADDRESS, header, *struct.pack(f"<{len(counts)}h", *counts))


def degrees(*values: float) -> list[int]:
    return [round(value * 32767 / 150) for value in values]


def run(hand: AbilityHand, clock: ManualClock, seconds: float, body: bytes = b"") -> None:
    """Time passes; ``body`` is sent every 20 ms."""
    for k in range(round(seconds / 0.01)):
        clock.advance_s(0.01)
        if body and k % 2 == 0:
            hand.answer(body)
        hand.step()


def angles(hand: AbilityHand) -> list[float]:
    """Joint angles [deg] read by variant 3 without taking control."""
    reply = hand.answer(sealed(ADDRESS, 0xA2))
    assert reply is not None and len(reply) == 39 and sum(reply) % 256 == 0 and reply[0] == 0xA2
    return [value * 150 / 32767 for value in struct.unpack("<12h", reply[1:25])[::2]]


# -- the protocol -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("variant, size", [(0, 72), (1, 72), (2, 39)])
def test_replies_have_the_documents_length_and_echo_the_header(hand: AbilityHand, variant: int, size: int) -> None:
    for mode in (0x10, 0x20, 0x30, 0x40):
        reply = hand.answer(command(mode | variant, 0, 0, 0, 0, 0, 0))
        assert reply is not None and (len(reply), reply[0], sum(reply) % 256) == (size, mode | variant, 0)


@pytest.mark.parametrize("body", [
    b"", b"\x50\xb0", command(0x10, *[0] * 6)[:-1] + b"\x01", sealed(0x51, 0x10), bytes(15)[:2],
])
def test_noise_and_frames_for_others_get_no_answer(hand: AbilityHand, body: bytes) -> None:
    assert hand.answer(body) is None and not hand.in_api_mode


def test_touch_is_packed_as_twelve_bits(hand: AbilityHand) -> None:
    hand.press(0, [1.0, 2.0, 0, 0, 0, 0])
    reply = hand.answer(sealed(ADDRESS, 0xA0))
    assert reply is not None
    first, second = reply[25] | (reply[26] & 0x0F) << 8, reply[26] >> 4 | reply[27] << 4
    assert (first, second) == (160, 260)


def test_a_question_does_not_take_control_but_keeps_it(hand: AbilityHand, clock: ManualClock) -> None:
    angles(hand)
    assert not hand.in_api_mode
    hand.answer(command(0x10, *degrees(30, 30, 30, 30, 30, -30)))
    run(hand, clock, 1.0, sealed(ADDRESS, 0xA2))
    assert hand.in_api_mode and angles(hand) == pytest.approx(30.0 * FLEX, abs=0.1)


def test_silence_of_300_ms_ends_the_api_mode(hand: AbilityHand, clock: ManualClock) -> None:
    hand.own_way_rad = 0.5 * FLEX
    hand.answer(command(0x10, *[0] * 6))
    run(hand, clock, 0.29)
    assert hand.in_api_mode
    run(hand, clock, 0.03)
    assert not hand.in_api_mode and hand.left_api == 1
    run(hand, clock, 0.1)
    assert angles(hand) == pytest.approx(np.degrees(0.5) * FLEX, abs=0.1), "its own inputs move it again"


def test_api_mode_is_left_at_once_when_asked(hand: AbilityHand) -> None:
    reply = hand.answer(command(0x12, *[0] * 6)) and hand.answer(sealed(ADDRESS, 0x7C))
    assert reply is not None and reply[0] == 0x12 and not hand.in_api_mode, "a message without a variant is answered with the last one"


def test_a_truncated_command_moves_the_motors_it_names(hand: AbilityHand, clock: ManualClock) -> None:
    hand.answer(command(0x10, *degrees(40, 50)))
    run(hand, clock, 0.3, sealed(ADDRESS, 0xA2))
    assert angles(hand) == pytest.approx([40, 50, 0, 0, 0, 0], abs=0.1)


def test_registers_as_documented(hand: AbilityHand) -> None:
    def read(register: int) -> bytes:
        return hand.answer(sealed(ADDRESS, 0xDA, *struct.pack("<I", register))) or b""

    def write(register: int, value: int) -> int:
        return struct.unpack("<I", hand.answer(sealed(ADDRESS, 0xDE, *struct.pack("<II", register, value))) or b"")[0]

    assert len(read(1)) == 9 and struct.unpack("<II", read(1)[:8]) == (0x4E11FEA4, 3) and sum(read(1)) % 256 == 0
    assert write(1, 7) == 0x4E11FEA4 and struct.unpack("<II", read(1)[:8])[1] == 7
    assert [write(fixed, 1) for fixed in (0, 10, 61, 99)] == [0xFA17FFFF] * 4
    assert struct.unpack("<II", read(99)[:8]) == (0xFA17FFFF, 0)
    assert not hand.in_api_mode


# -- the motors ---------------------------------------------------------------------------------------------------------
def test_positions_are_reached_at_the_hands_speed(hand: AbilityHand, clock: ManualClock) -> None:
    body = command(0x12, *degrees(90, 90, 90, 90, 90, -90))
    run(hand, clock, 0.1, body)
    assert angles(hand)[0] == pytest.approx(np.degrees(0.1 * 8.0), abs=6.0)
    run(hand, clock, 0.3, body)
    assert angles(hand) == pytest.approx(90.0 * FLEX, abs=0.1)


def test_velocities_are_degrees_per_second_and_told_in_rotor_speed(hand: AbilityHand, clock: ManualClock) -> None:
    counts = [round(100 * sign * 32767 / 3000) for sign in FLEX]
    run(hand, clock, 0.5, command(0x22, *counts))
    assert angles(hand) == pytest.approx(50.0 * FLEX, abs=4.0)


def test_current_mode_pushes_until_its_current_flows(right: Interface, clock: ManualClock) -> None:
    hand = AbilityHand(right, Wall(right.names, np.zeros(6), time_constant_s=1e-4, clock=clock), clock=clock)
    body = command(0x32, *[round(0.5 * 620.606)] + [0] * 5)
    run(hand, clock, 2.0, body)
    reply = hand.answer(body)
    assert reply is not None
    position, current = struct.unpack_from("<2h", reply, 1)
    assert position * 150 / 32767 == pytest.approx(np.degrees(0.7), abs=0.1) and current / 620.606 == pytest.approx(0.5, abs=0.05)
    run(hand, clock, 1.0, command(0x32, *[round(-0.5 * 620.606)] + [0] * 5))
    assert angles(hand)[0] == pytest.approx(0.0, abs=0.1)


def test_duty_is_a_share_of_full_speed(hand: AbilityHand, clock: ManualClock) -> None:
    run(hand, clock, 0.5, command(0x42, 355, 0, 0, 0, 0, -355))
    assert angles(hand) == pytest.approx([np.degrees(0.4), 0, 0, 0, 0, -np.degrees(0.4)], abs=3.0)


def test_a_collision_halts_until_it_is_asked_to_go_back(right: Interface, clock: ManualClock) -> None:
    hand = AbilityHand(right, Wall(right.names, np.zeros(6), time_constant_s=1e-4, clock=clock), clock=clock)
    closing = command(0x12, *degrees(90, 0, 0, 0, 0, 0))
    run(hand, clock, 1.0, closing)
    reply = hand.answer(closing)
    assert reply is not None and reply[37] == 0b000001
    assert hand._motors._setpoint[0] < 0.7 + STALL_LAG_RAD + 0.6, "the motor stopped"
    run(hand, clock, 0.5, command(0x12, *degrees(20, 0, 0, 0, 0, 0)))
    reply = hand.answer(command(0x12, *degrees(20, 0, 0, 0, 0, 0)))
    assert reply is not None and reply[37] == 0 and angles(hand)[0] == pytest.approx(20.0, abs=0.1)


def test_a_hot_motor_stands_and_says_so(hand: AbilityHand, clock: ManualClock) -> None:
    hand.set_hot("ring")
    body = command(0x12, *degrees(30, 30, 30, 30, 30, -30))
    run(hand, clock, 0.5, body)
    assert angles(hand) == pytest.approx([30, 30, 0, 30, 30, -30], abs=0.1)
    assert (hand.answer(body) or b"")[37] == 0b000100
    hand.set_hot("ring", False)
    run(hand, clock, 0.5, body)
    assert angles(hand)[2] == pytest.approx(30.0, abs=0.1)


def test_a_reset_holds_and_forgets(hand: AbilityHand, clock: ManualClock) -> None:
    hand.set_hot("index")
    hand.answer(command(0x10, *degrees(30, 30, 30, 30, 30, -30)))
    hand.reset()
    run(hand, clock, 0.2)
    assert not hand.in_api_mode and angles(hand) == pytest.approx(OPEN_DEG, abs=0.1)


# -- the line -----------------------------------------------------------------------------------------------------------
def test_a_stuffed_frame_in_pieces_is_answered_once(line: AbilityLine) -> None:
    client = os.open(line.port.path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(client)
    for byte in b"\x7e\x00\x7e" + sealed(ADDRESS, 0xA2) + b"\x7e":
        os.write(client, bytes([byte]))
    reply = b""
    while reply.count(b"\x7e") < 2:
        reply += os.read(client, 256)
    os.set_blocking(client, False)
    time.sleep(0.05)
    with pytest.raises(BlockingIOError):
        os.read(client, 256)
    os.close(client)
    assert reply[0] == reply[-1] == 0x7E and line.requests == 1


def test_the_products_fault_words(line: AbilityLine) -> None:
    hooks = line.fault_hooks()
    hooks["off"](0.0)
    assert not line.port.plugged
    hooks["wrong"](0.0)
    assert line.hand._motors.limited == 0b100000
    hooks["ok"](0.0)
    assert line.port.plugged and line.fault == "none" and line.hand._motors.limited == 0
    with pytest.raises(ConfigError, match="allowed"):
        line.fault = "tired"


def test_two_simulators_on_one_path_is_an_error(right: Interface, line: AbilityLine) -> None:
    with pytest.raises(DeviceError, match="served by another"):
        AbilityLine(line.hand, str(line.port.path), line._loop)
    with pytest.raises(ConfigError, match="not the path of a serial line"):
        AbilityLine(line.hand, "127.0.0.21:6001", line._loop)


def test_the_driver_moves_the_mujoco_hand_through_its_wire(cell: CellConfig, tmp_path: Path) -> None:
    def moved(number: int, name: str) -> Interface:
        interface = cell.interface(name)
        simulated = str(tmp_path / name) if name.endswith("hand") else f"127.0.84.{number}:20084"
        return dataclasses.replace(interface, address=dataclasses.replace(interface.address, simulated=simulated))

    interfaces = {name: moved(number, name) for number, name in enumerate(cell.interfaces, start=1)}
    world = dataclasses.replace(cell, interfaces=interfaces, sim=dataclasses.replace(cell.sim, state_server="127.0.84.9:0"))
    with SimCell(world) as sim:
        drivers = {name: AbilityDriver(world.interface(name), world.address_of(name)) for name in ("left_hand", "right_hand")}
        for name, driver in drivers.items():
            driver.connect()
            driver.enable()
            home = np.array(world.interface(name).home)
            for part in np.linspace(0.0, 1.0, 20):
                driver.command(home + part * 0.5 * FLEX)
                time.sleep(0.01)
            deadline = time.monotonic() + 10.0
            while np.abs(sim.world.state(name).position_rad - home - 0.5 * FLEX).max() > 0.03:
                assert time.monotonic() < deadline, f"{name} is at {sim.world.state(name).position_rad}"
                time.sleep(0.01)
            assert driver.read().position_rad == pytest.approx(sim.world.state(name).position_rad, abs=0.02)
        sim.reset(5)
        assert all(not line.hand.in_api_mode for line in sim.hands.values())
        for driver in drivers.values():
            driver.disconnect()


# -- PSYONIC's own package ----------------------------------------------------------------------------------------------
VENDOR = """
import json, sys, time
from ah_wrapper import AHSerialClient
client = AHSerialClient(port=sys.argv[1], baud_rate=460800, rate_hz=100)
def until(check, seconds=5.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.005)
    return False
hand, found = client.hand, {}
found["start"] = until(lambda: hand.get_position() and max(abs(p - t) for p, t in zip(hand.get_position(), [30] * 5 + [-30])) < 1)
client.set_position([60, 50, 40, 30, 20, -70], reply_mode=2)
found["position"] = until(lambda: max(abs(p - t) for p, t in zip(hand.get_position(), [60, 50, 40, 30, 20, -70])) < 1)
client.set_velocity([-50, 0, 0, 0, 0, 0], reply_mode=2)
found["velocity"] = until(lambda: hand.get_velocity()[0] < -40 and hand.get_position()[0] < 40)
client.set_torque([0, 0.2, 0, 0, 0, 0], reply_mode=0)
found["torque"] = until(lambda: hand.get_position()[1] > 80)
client.set_duty([0, 0, 10, 0, 0, 0], reply_mode=1)
found["duty"] = until(lambda: hand.get_position()[2] > 60)
found["touch"] = until(lambda: len(hand.get_fsr()) == 30)
client.set_grip(1)
time.sleep(0.1)
before = client.n_reads
found["grip"] = until(lambda: client.n_reads > before + 5)
client.close()
found["lost"] = client._conn.n_writes - client.n_reads
print(json.dumps(found))
"""


@pytest.mark.skipif(find_spec("ah_wrapper") is None, reason="PSYONIC's package ability-hand is not installed (requirements-clients.txt)")
def test_psyonics_package_drives_it_in_every_mode(line: AbilityLine, tmp_path: Path) -> None:
    """In a process of its own, in a folder of its own: importing the package writes files where it stands."""
    done = subprocess.run(
        [sys.executable, "-c", VENDOR, str(line.port.path)], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {mode for mode, well in found.items() if mode != "lost" and well is not True} == set(), done.stdout
    assert line.hand.bad_checksums == 0 and line.requests > 100
