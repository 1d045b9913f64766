# SPDX-License-Identifier: Apache-2.0
"""Our frames of the Ability hand beside those of PSYONIC's own Python package, byte for byte, and our reading of replies beside its own."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from dex_hands import ability_wire as wire
from dex_hands.ability_wire import Mode, Variant
from dex_sim import ability_wire as device

pytestmark = pytest.mark.skipif(find_spec("ah_wrapper") is None, reason="PSYONIC's package ability-hand is not installed (requirements-clients.txt)")

VENDOR = """
import json, sys
from ah_wrapper import ah_api, ah_parser
from ah_wrapper.functions import DEGREES_CONSTANT, VELOCITY_CONSTANT, C
asked = json.load(sys.stdin)
make = {0x10: ah_api.create_pos_msg, 0x20: ah_api.create_vel_msg, 0x30: ah_api.create_torque_msg, 0x40: ah_api.create_duty_msg}
frames = [bytes(make[mode](variant, values)).hex() for mode, variant, values in asked["commands"]]
frames += [bytes(ah_api.create_misc_msg(header)).hex() for header in asked["headers"]]
frames += [bytes(ah_api.create_read_reg_msg(register)).hex() for register in asked["registers"]]
replies = []
for text in asked["replies"]:
    found = ah_parser.parse_packet(bytearray.fromhex(text))
    replies.append([found.pos, found.cur, found.vel, found.fsr, found.hot_cold])
print(json.dumps({"frames": frames, "replies": replies}), flush=True)
"""
UNITS = {Mode.POSITION: 100.0, Mode.VELOCITY: 500.0, Mode.CURRENT: 1.0, Mode.DUTY: 100.0}


def ask_vendor(folder: Path, **asked: object) -> dict[str, list]:
    """In a process and a folder of its own: importing the package writes files where it stands."""
    done = subprocess.run(
        [sys.executable, "-c", VENDOR], input=json.dumps(asked), cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_frames_agree_byte_for_byte_in_every_mode(tmp_path: Path) -> None:
    """Of values that the hand can count exactly; between two counts the package takes the one nearer zero, we take the nearer one."""
    rng = np.random.default_rng(1)
    commands, ours = [], []
    for _ in range(100):
        for mode, span in UNITS.items():
            variant = Variant(int(rng.integers(3)))
            counts = wire.to_counts(mode, rng.uniform(-span, span, 6))
            values = (counts + 0.1 * np.sign(counts)) / wire.COUNTS_PER_UNIT[mode]
            commands.append([int(mode), int(variant), values.tolist()])
            ours.append(wire.stuffed(wire.command_body(0x50, mode, variant, wire.to_counts(mode, values))))
    headers, registers = [0xA0, 0xA1, 0xA2, 0x7C, 0xC2], [1, 0x7D, 0x7E, 61]
    ours += [wire.stuffed(wire.short_body(0x50, header)) for header in headers]
    ours += [wire.stuffed(wire.register_body(0x50, register)) for register in registers]
    found = ask_vendor(tmp_path, commands=commands, headers=headers, registers=registers, replies=[])
    assert found["frames"] == [frame.hex() for frame in ours]
    assert any(b"\x7d" in frame for frame in ours), "some were escaped"


def test_replies_mean_the_same_but_for_the_scale_of_velocity(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    texts, ours = [], []
    for k in range(30):
        position, current, speed = (rng.uniform(-span, span, 6) for span in (100.0, 2.0, 5000.0))
        body = device.reply(0x10 | k % 3, position, current, speed, rng.integers(1, 4096, 30), int(rng.integers(64)))
        texts.append(body.hex())
        ours.append(wire.decode(body))
    for (position_deg, current_a, velocity, fsr, limited), reply in zip(
        ask_vendor(tmp_path, commands=[], headers=[], registers=[], replies=texts)["replies"], ours, strict=True
    ):
        assert reply.position_deg == pytest.approx(position_deg) and reply.limited == limited
        if reply.current_a is not None:
            assert reply.current_a == pytest.approx(current_a)
        if reply.touch is not None:
            assert wire.touch_newton(reply.touch).reshape(-1) == pytest.approx(fsr)
        if reply.rotor_rad_s is not None:
            joint_deg_s = np.degrees(reply.rotor_rad_s / wire.GEAR)
            ratio = np.array(velocity) / joint_deg_s
            assert ratio[:5] == pytest.approx(1.037, abs=0.001) and ratio[5] == pytest.approx(0.2596, abs=0.001)
