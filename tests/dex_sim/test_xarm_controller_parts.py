# SPDX-License-Identifier: Apache-2.0
"""Kinematics, motion and frames of the simulated controller, without sockets."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.clock import NS, ManualClock
from dex_sim import xarm_controller_wire as wire
from dex_sim.plant import KinematicPlant
from dex_sim.xarm_controller_kinematics import JOINT_RANGES_RAD, flange_pose_mm_rad, flange_position_m
from dex_sim.xarm_controller_motion import ERROR_SPEED, MoveTask, Planner, RateLimit, ServoWatch, approach
from dex_sim.xarm_controller_requests import ClientSession
from dex_sim.xarm_controller_state import XArmControllerState

NAMES = tuple(f"joint{i}" for i in range(1, 8))
JOINTS = st.tuples(*[st.floats(low, high) for low, high in JOINT_RANGES_RAD])


def test_flange_agrees_with_our_own_description() -> None:
    pin = pytest.importorskip("pinocchio")
    from dex_description.paths import description_path

    model = pin.buildModelFromUrdf(str(description_path("urdf/arms/xarm7.urdf")))
    data = model.createData()
    rng = np.random.default_rng(0)
    for _ in range(50):
        q = np.array([rng.uniform(low, high) for low, high in JOINT_RANGES_RAD])
        pin.framesForwardKinematics(model, data, q)
        flange = data.oMf[model.getFrameId("link_eef")]
        assert np.allclose(flange_position_m(q), flange.translation, atol=2e-5)  # the description says 1.5708 for a quarter turn
        x, y, z, roll, pitch, yaw = flange_pose_mm_rad(q)
        assert np.allclose(pin.rpy.rpyToMatrix(roll, pitch, yaw), flange.rotation, atol=2e-4)
        assert np.allclose([x, y, z], flange.translation * 1e3, atol=2e-2)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=200))
def test_rate_limit_never_admits_more_than_its_rate(gaps_ms: list[int]) -> None:
    limit, now, admitted = RateLimit(0.004), 10**9, 0
    start = now
    for gap in gaps_ms:
        now += gap * 1_000_000
        admitted += limit.admit(now)
    assert admitted <= (now - start) / 4e6 + 3


def test_rate_limit_takes_a_jittery_100_hz_stream_whole() -> None:
    limit, rng = RateLimit(0.004), np.random.default_rng(1)
    times = np.arange(1000) * 10_000_000 + rng.integers(0, 8_000_000, 1000) + 10**9
    assert all(limit.admit(int(t)) for t in np.sort(times))


@pytest.mark.parametrize("jitter_ms", [0, 6])
def test_speed_watch_lets_lawful_streams_pass_and_stops_fast_ones(jitter_ms: int) -> None:
    for speed, lawful in ((1.2, True), (2.4 if jitter_ms else 3.0, True), (4.5, False)):
        watch, rng = ServoWatch(), np.random.default_rng(2)
        home = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        watch.start(home, 10**9)
        errors = []
        for k in range(1, 100):
            now = 10**9 + k * 10_000_000 + int(rng.integers(0, jitter_ms * 1_000_000 + 1))
            errors.append(watch.check((*home[:6], speed * k * 0.01), now))  # the last joint moves the flange nowhere
        assert (not any(errors)) is lawful, (speed, errors)


def test_a_jump_after_a_pause_is_a_jump() -> None:
    watch = ServoWatch()
    watch.start((0.0,) * 7, 10**9)
    assert watch.check((0.0,) * 6 + (1.0,), 100 * NS) == ERROR_SPEED


@given(st.floats(-3, 3), st.floats(-1, 1), st.floats(0.05, 3.0), st.floats(0.5, 20.0))
def test_approach_lands_exactly_within_its_limits(distance: float, velocity: float, speed: float, acceleration: float) -> None:
    position, rate, target = np.zeros(1), np.array([velocity]), np.array([distance])
    for _ in range(6000):
        before = rate
        position, rate = approach(position, rate, target, speed, acceleration, 0.01)
        if position[0] == distance:
            break
        assert abs(rate[0]) <= max(speed, abs(before[0])) + 1e-9
        assert abs(rate[0] - before[0]) <= acceleration * 0.01 + 1e-9
    assert position[0] == distance and rate[0] == 0.0


def test_planner_keeps_unnamed_joints_and_tells_the_end() -> None:
    planner, results, here = Planner(), [], np.full(7, 0.1)
    planner.add(MoveTask((math.inf,) * 6 + (0.5,), 1.0, 10.0, results.append), here, replace=False)
    for _ in range(300):
        target = planner.step(0.01, here, online=False)
        if target is None:
            break
        here = target
    assert np.allclose(here, [0.1] * 6 + [0.5]) and results == [0] and not planner.active


def test_planner_discards_what_is_replaced_or_cleared() -> None:
    planner, results = Planner(), []
    for goal in (0.3, 0.6):
        planner.add(MoveTask((goal,) * 7, 1.0, 10.0, results.append), np.zeros(7), replace=True)
        planner.step(0.01, np.zeros(7), online=True)
    planner.clear()
    assert results == [2, 2]


def test_report_sizes_and_fields() -> None:
    controller = XArmControllerState(KinematicPlant(NAMES, np.arange(7) * 0.1), clock=ManualClock(NS))
    for port, size in wire.REPORT_BYTES.items():
        frame = controller.report(port)
        assert len(frame) == size and struct.unpack_from(">I", frame)[0] == size
        assert np.allclose(struct.unpack_from("<7f", frame, 7), np.arange(7) * 0.1)
    assert controller.report(wire.PORT_REPORT_RICH)[4] == 4


@given(st.binary(max_size=200))
def test_frame_reader_survives_any_bytes_in_any_pieces(data: bytes) -> None:
    whole, pieces = wire.FrameReader(), wire.FrameReader()
    try:
        expected = whole.feed(data)
    except wire.WireError:
        return
    assert [r for byte in data for r in pieces.feed(bytes([byte]))] == expected


@given(st.integers(0, 255), st.binary(max_size=60))
def test_no_request_moves_a_controller_that_is_not_enabled(function: int, params: bytes) -> None:
    plant = KinematicPlant(NAMES, np.zeros(7), clock=ManualClock(NS))
    controller = XArmControllerState(plant, clock=ManualClock(NS))
    controller.handle(wire.Request(1, 3, function, params), ClientSession(lambda _data: None))
    controller.step()
    assert np.all(plant.read().position_rad == 0.0) and np.all(plant.read().velocity_rad_s == 0.0)


def test_a_joint_that_there_is_not_cannot_be_switched() -> None:
    clock = ManualClock(NS)
    controller, session = XArmControllerState(KinematicPlant(NAMES, np.zeros(7), clock=clock), clock=clock), ClientSession(lambda _data: None)
    for function in (11, 18):
        for joint in (0, 9, 255):
            answer = controller.handle(wire.Request(1, 3, function, bytes((joint, 1))), session)
            assert answer is not None and answer[7] & wire.STATE_INVALID
