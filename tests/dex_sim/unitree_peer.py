# SPDX-License-Identifier: Apache-2.0
"""The other end of a G1's DDS topics, on Cyclone DDS 0.10 as the robot and unitree_sdk2py run it. Needs nothing of this project.

``robot``: publishes lowstate at 100 Hz with the posture arm_sdk asks for. ``host``: reads lowstate and raises one joint by arm_sdk.
Called ``ROLE DOMAIN``; both run until SIGTERM, at most two minutes, and end with one line of JSON.
"""

import json
import signal
import struct
import sys
import time
from dataclasses import dataclass
from itertools import pairwise

from cyclonedds.core import Qos
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.annotations import final
from cyclonedds.idl.types import array, float32, int16, uint8, uint32
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic

LOOPBACK = """<CycloneDDS><Domain Id="any"><General><Interfaces><NetworkInterface name="lo" priority="default" multicast="default"/>
</Interfaces></General></Domain></CycloneDDS>"""
ELBOW, WEIGHT, JOINTS, PERIOD_S = 18, 29, 29, 0.01


@dataclass
@final
class MotorCmd(IdlStruct, typename="unitree_hg.msg.dds_.MotorCmd_"):
    mode: uint8 = 0
    q: float32 = 0.0
    dq: float32 = 0.0
    tau: float32 = 0.0
    kp: float32 = 0.0
    kd: float32 = 0.0
    reserve: uint32 = 0


@dataclass
@final
class LowCmd(IdlStruct, typename="unitree_hg.msg.dds_.LowCmd_"):
    mode_pr: uint8
    mode_machine: uint8
    motor_cmd: array[MotorCmd, 35]
    reserve: array[uint32, 4]
    crc: uint32

    def words(self) -> bytes:
        motors = b"".join(struct.pack("<B3x5fI", m.mode, m.q, m.dq, m.tau, m.kp, m.kd, m.reserve) for m in self.motor_cmd)
        return struct.pack("<2B2x", self.mode_pr, self.mode_machine) + motors + struct.pack("<4I", *self.reserve)


@dataclass
@final
class ImuState(IdlStruct, typename="unitree_hg.msg.dds_.IMUState_"):
    quaternion: array[float32, 4]
    gyroscope: array[float32, 3]
    accelerometer: array[float32, 3]
    rpy: array[float32, 3]
    temperature: int16


@dataclass
@final
class MotorState(IdlStruct, typename="unitree_hg.msg.dds_.MotorState_"):
    mode: uint8
    q: float32
    dq: float32
    ddq: float32
    tau_est: float32
    temperature: array[int16, 2]
    vol: float32
    sensor: array[uint32, 2]
    motorstate: uint32
    reserve: array[uint32, 4]


@dataclass
@final
class LowState(IdlStruct, typename="unitree_hg.msg.dds_.LowState_"):
    version: array[uint32, 2]
    mode_pr: uint8
    mode_machine: uint8
    tick: uint32
    imu_state: ImuState
    motor_state: array[MotorState, 35]
    wireless_remote: array[uint8, 40]
    reserve: array[uint32, 4]
    crc: uint32

    def words(self) -> bytes:
        imu = self.imu_state
        numbers = (*imu.quaternion, *imu.gyroscope, *imu.accelerometer, *imu.rpy)
        motors = b"".join(
            struct.pack("<B3x4f2hf7I", m.mode, m.q, m.dq, m.ddq, m.tau_est, *m.temperature, m.vol, *m.sensor, m.motorstate, *m.reserve)
            for m in self.motor_state
        )
        head = struct.pack("<2I2B2xI", *self.version, self.mode_pr, self.mode_machine, self.tick)
        return head + struct.pack("<13fh2x", *numbers, imu.temperature) + motors + bytes(self.wireless_remote) + struct.pack("<4I", *self.reserve)


def say(words: str) -> None:
    """One line for whoever waits for it."""
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def crc_of(words: bytes) -> int:
    """CRC-32/MPEG-2, bit by bit, over 32-bit little-endian words."""
    crc = 0xFFFFFFFF
    for (word,) in struct.iter_unpack("<I", words):
        crc ^= word
        for _ in range(32):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc


def new_state() -> LowState:
    imu = ImuState([1.0, 0.0, 0.0, 0.0], [0.0] * 3, [0.0, 0.0, 9.81], [0.0] * 3, 30)
    motors = [MotorState(1, 0.0, 0.0, 0.0, 0.0, [30, 31], 0.0, [0, 0], 0, [0] * 4) for _ in range(35)]
    return LowState([0, 0], 0, 5, 0, imu, motors, [0] * 40, [0] * 4, 0)


class Peer:
    """A participant with one topic out and one in."""

    def __init__(self, out: tuple[str, type], into: tuple[str, type]) -> None:
        self.domain = Domain(int(sys.argv[2]), LOOPBACK)
        self.participant = DomainParticipant(int(sys.argv[2]))
        self.writer = DataWriter(self.participant, Topic(self.participant, "rt/" + out[0], out[1]), Qos())
        self.reader = DataReader(self.participant, Topic(self.participant, "rt/" + into[0], into[1]), Qos())
        self.into, self.ended = into[1], False
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "ended", True))
        self.until = time.monotonic() + 120.0

    def periods(self):
        while not self.ended and time.monotonic() < self.until:
            yield [sample for sample in self.reader.take(50) if isinstance(sample, self.into)]  # else: a writer has gone
            time.sleep(PERIOD_S)


def robot() -> dict[str, object]:
    """Posture and weight follow arm_sdk at once."""
    peer, state = Peer(("lowstate", LowState), ("arm_sdk", LowCmd)), new_state()
    heard = wrong = legs = 0
    weights: list[float] = []
    for commands in peer.periods():
        for command in commands:
            heard += 1
            wrong += command.crc != crc_of(command.words()) or command.mode_machine != 5
            legs += any(m.kp or m.mode for m in command.motor_cmd[:12])
            weight = command.motor_cmd[WEIGHT].q
            weights.append(round(weight, 3))
            for number in range(12, JOINTS):
                state.motor_state[number].q = weight * command.motor_cmd[number].q
        state.tick += 10
        state.crc = crc_of(state.words())
        peer.writer.write(state)
    return {"heard": heard, "wrong": wrong, "legs": legs, "weights": weights[:1] + [max(weights, default=0.0)] + weights[-1:],
            "largest_step": max((abs(b - a) for a, b in pairwise(weights)), default=0.0)}


def host() -> dict[str, object]:
    """Raises the left elbow by 0.2 rad from where it is, then gives the arms back."""
    peer = Peer(("arm_sdk", LowCmd), ("lowstate", LowState))
    command = LowCmd(0, 0, [MotorCmd() for _ in range(35)], [0] * 4, 0)
    heard = wrong = restarts = tick = 0
    first: list[float] = []
    elbow, said = 0.0, False
    for states in peer.periods():
        for state in states:
            if state.tick < tick:
                restarts += 1
                say("restarted")
            heard, tick = heard + 1, state.tick
            if first and not said and state.motor_state[ELBOW].q - first[ELBOW] > 0.19:
                said = True
                say("raised")
            wrong += heard % 20 == 1 and state.crc != crc_of(state.words())
            first = first or [m.q for m in state.motor_state[:JOINTS]]
            elbow = state.motor_state[ELBOW].q
        if first:
            for number in range(12, JOINTS):
                motor = command.motor_cmd[number]
                motor.q, motor.kp, motor.kd = first[number] + 0.2 * (number == ELBOW), 60.0, 1.5
            command.motor_cmd[WEIGHT].q = min(1.0, command.motor_cmd[WEIGHT].q + 0.02)
            command.crc = crc_of(command.words())
            peer.writer.write(command)
    return {"heard": heard, "wrong": wrong, "restarts": restarts, "raised": round(elbow - first[ELBOW], 3) if first else None}


if __name__ == "__main__":
    say(json.dumps({"robot": robot, "host": host}[sys.argv[1]]()))
