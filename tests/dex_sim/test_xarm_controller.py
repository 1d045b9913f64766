# SPDX-License-Identifier: Apache-2.0
"""The simulated controller, driven by the unmodified vendor SDK and by raw frames."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dex_core.errors import DeviceError
from dex_sim.plant import KinematicPlant
from dex_sim.xarm_controller import XArmController, split_address
from dex_sim.xarm_controller_loop import SocketLoop

pytestmark = pytest.mark.filterwarnings("ignore:The .warn. method:DeprecationWarning")
HOST, PORT = "127.0.54.10", 25410
NAMES = tuple(f"joint{i}" for i in range(1, 8))
HOME = (0.0, -0.3, 0.0, 0.8, 0.0, 1.1, 0.0)


@pytest.fixture
def sim() -> Iterator[XArmController]:
    with XArmController(KinematicPlant(NAMES, HOME), f"{HOST}:{PORT}") as controller:
        yield controller


def open_sdk(host: str = HOST, port: int = PORT, **options: Any) -> Any:
    """The vendor's SDK as it is; only its port number table is told where the simulator listens."""
    timeout = socket.getdefaulttimeout()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            from xarm.core.config.x_config import XCONF
            from xarm.core.utils.log import logger
            from xarm.wrapper import XArmAPI

            logger.setLevel(logger.CRITICAL)
            XCONF.SocketConf.TCP_CONTROL_PORT = port
            return XArmAPI(host, is_radian=True, forbid_uds=True, **options)
    finally:
        socket.setdefaulttimeout(timeout)


@pytest.fixture
def arm(sim: XArmController) -> Iterator[Any]:
    api = open_sdk()
    yield api
    api.disconnect()


def ready(arm: Any, mode: int) -> None:
    assert (arm.clean_error(), arm.motion_enable(True), arm.set_mode(mode), arm.set_state(0)) == (0, 0, 0, 0)


def wait(predicate: Any, seconds: float = 2.0) -> None:
    deadline = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < deadline, "condition did not come true"
        time.sleep(0.01)


def test_connects_identifies_and_reports(arm: Any) -> None:
    assert arm.version_number == (2, 5, 0) and arm.sn == "XS1305B2311L01" and arm.axis == 7
    wait(lambda: arm.temperatures == [34] * 7)
    assert np.allclose(arm.angles, HOME, atol=1e-4)
    assert arm.get_state() == (0, 4) and arm.error_code == 0


def test_motors_and_states_follow_the_vendors_order(arm: Any, sim: XArmController) -> None:
    arm.set_state(0)
    assert sim.controller.state == 4  # motors are off
    arm.motion_enable(True)
    arm.set_mode(1)
    assert sim.controller.state == 5
    arm.set_state(0)
    assert sim.controller.state == 2 and sim.controller.ready
    wait(lambda: arm.motor_enable_states[:7] == [1] * 7 and arm.mode == 1)
    arm.motion_enable(False)
    assert not sim.controller.ready


def test_servo_targets_are_followed(arm: Any, sim: XArmController) -> None:
    ready(arm, 1)
    for k in range(40):
        assert arm.set_servo_angle_j([0.005 * k, *HOME[1:]]) == 0
        time.sleep(0.005)
    time.sleep(0.2)
    code, (position, velocity, effort) = arm.get_joint_states()
    assert code == 0 and abs(position[0] - 0.195) < 1e-3 and len(velocity) == len(effort) == 7
    stats = sim.servo_statistics
    assert stats.received == 40 and stats.executed + stats.surplus == 40 and len(stats.intervals_s()) == 39
    assert stats.summary(0.005)["interval_median_ms"] > 3.0


def test_surplus_beyond_250_hz_is_dropped_and_counted(arm: Any, sim: XArmController) -> None:
    ready(arm, 1)
    begin = time.monotonic()
    while sim.servo_statistics.received < 300:
        arm.set_servo_angle_j(list(HOME))
    seconds = time.monotonic() - begin
    assert sim.servo_statistics.executed <= 250 * seconds + 3
    assert sim.servo_statistics.surplus == 300 - sim.servo_statistics.executed


@pytest.mark.parametrize(
    ("target", "error"), [((0.9, *HOME[1:]), 24), ((*HOME[:1], 2.3, *HOME[2:]), 23), ((0.045, -0.255, 0.045, 0.845, 0.045, 1.1, 0.0), 60)]
)
def test_a_jump_is_an_error_and_the_arm_stays(arm: Any, sim: XArmController, target: tuple[float, ...], error: int) -> None:
    ready(arm, 1)
    assert arm.core.move_servoj(target, 0, 0, 0)[0] == 1  # past the client's own range check
    assert arm.get_err_warn_code() == (0, [error, 0]) and sim.controller.state == 4
    time.sleep(0.1)
    assert np.allclose(sim.controller._plant.read().position_rad, HOME, atol=1e-6)
    assert arm.set_servo_angle_j(list(HOME)) == 1  # until it is cleared
    ready(arm, 1)
    assert arm.set_servo_angle_j(list(HOME)) == 0


def test_codes_of_move_calls(arm: Any, sim: XArmController) -> None:
    assert arm.set_servo_angle_j(list(HOME)) == 9  # never enabled
    ready(arm, 1)
    arm.set_state(4)
    assert arm.set_servo_angle_j(list(HOME)) == 9
    ready(arm, 0)
    assert arm.set_servo_angle_j(list(HOME)) == 0 and sim.servo_statistics.executed == 0  # wrong mode: only a log line
    assert arm.set_servo_angle_j([9.0, *HOME[1:]]) == -8  # the client's own check
    sim.controller.inject_warning(11)
    assert arm.set_servo_angle_j(list(HOME)) == 0 and arm.get_err_warn_code() == (0, [0, 11])


def test_planned_moves_wait_for_feedback(arm: Any, sim: XArmController) -> None:
    ready(arm, 0)
    begin = time.monotonic()
    goal = [0.2, -0.4, 0.1, 0.7, 0.0, 1.0, 0.3]
    assert arm.set_servo_angle(angle=goal, speed=1.0, mvacc=10.0, wait=True) == 0
    assert 0.3 < time.monotonic() - begin < 2.0
    assert np.allclose(arm.get_servo_angle()[1], goal, atol=3e-3)
    assert arm.set_servo_angle(servo_id=1, angle=0.0, speed=1.0, wait=True) == 0
    assert abs(arm.get_servo_angle()[1][0]) < 3e-3


def test_online_moves_replace_each_other(arm: Any, sim: XArmController) -> None:
    ready(arm, 6)
    arm.set_servo_angle(angle=[1.0, *HOME[1:]], speed=1.0, mvacc=10.0, wait=False)
    time.sleep(0.3)
    assert sim.controller.state == 1
    arm.set_servo_angle(angle=list(HOME), speed=1.0, mvacc=10.0, wait=False)
    wait(lambda: sim.controller.state == 2, 4.0)
    assert np.allclose(arm.get_servo_angle()[1], HOME, atol=3e-3)


def test_a_stop_ends_a_planned_move(arm: Any, sim: XArmController) -> None:
    ready(arm, 0)
    arm.set_servo_angle(angle=[1.0, *HOME[1:]], speed=0.5, wait=False)
    time.sleep(0.3)
    arm.emergency_stop()
    assert sim.controller.state == 4
    here = sim.controller._plant.read().position_rad
    time.sleep(0.2)
    assert np.abs(sim.controller._plant.read().position_rad - here).max() < 1e-3


def test_emergency_stop_is_cleared_only_after_release(arm: Any, sim: XArmController) -> None:
    ready(arm, 1)
    sim.controller.press_emergency_stop()
    wait(lambda: arm.error_code == 1 and arm.state == 4)
    arm.clean_error()
    assert arm.get_err_warn_code()[1][0] == 1
    sim.controller.release_emergency_stop()
    arm.clean_error()
    assert arm.get_err_warn_code()[1][0] == 0 and sim.controller.state == 4  # clearing does not enable
    ready(arm, 1)


def test_servo_errors_name_the_joint(arm: Any, sim: XArmController) -> None:
    sim.controller.inject_error(12, servo=2, servo_code=15)
    wait(lambda: arm.error_code == 12)
    with contextlib.redirect_stdout(io.StringIO()):
        wait(lambda: arm.servo_codes[1][1] == 15)


@pytest.mark.parametrize("report_type", ["normal", "real", "rich"])
def test_every_report_type(sim: XArmController, report_type: str) -> None:
    arm = open_sdk(report_type=report_type)
    wait(lambda: np.allclose(arm.angles, HOME, atol=1e-4))
    assert arm._arm.reported
    arm.disconnect()


def test_connections_drop_and_come_back(arm: Any, sim: XArmController) -> None:
    ready(arm, 1)
    sim.drop_connections()
    wait(lambda: not arm.connected)
    assert arm.set_servo_angle_j(list(HOME)) == -1
    again = open_sdk()
    assert again.get_servo_angle()[0] == 0
    again.disconnect()


def test_silence_is_a_timeout(arm: Any, sim: XArmController) -> None:
    arm.set_timeout([0.2, 0.2])
    sim.set_silent(True)
    assert arm.get_servo_angle()[0] == 3
    sim.set_silent(False)
    assert arm.get_servo_angle()[0] == 0


def test_two_controllers_share_one_thread() -> None:
    loop = SocketLoop("shared")
    with (
        XArmController(KinematicPlant(NAMES, HOME), "127.0.54.11:25411", loop=loop) as left,
        XArmController(KinematicPlant(NAMES, HOME), "127.0.54.12:25412", loop=loop) as right,
    ):
        left.controller.inject_error(31)
        arms = [open_sdk("127.0.54.11", 25411, enable_report=False), open_sdk("127.0.54.12", 25412, enable_report=False)]
        assert [a.get_err_warn_code()[1][0] for a in arms] == [31, 0] and right.clients == 1
        for a in arms:
            a.disconnect()
    loop.stop()


def frame(function: int, params: bytes = b"", transaction: int = 7, protocol: int = 2) -> bytes:
    return struct.pack(">HHHB", transaction, protocol, 1 + len(params), function) + params


def test_raw_frames_in_pieces_unknown_ones_and_heartbeats(sim: XArmController) -> None:
    with socket.create_connection((HOST, PORT), timeout=2.0) as sock:
        for byte in frame(13):
            sock.sendall(bytes([byte]))
        assert sock.recv(64) == struct.pack(">HHHBBB", 7, 2, 3, 13, 0x10, 4)
        sock.sendall(frame(13, transaction=8) + frame(14, transaction=9))
        assert len(_exactly(sock, 9 + 10)) == 19
        sock.sendall(bytes((0, 0, 0, 1, 0, 2, 0, 0)))  # heartbeat: no reply
        sock.sendall(frame(200))
        assert sock.recv(64)[7] & 0x08
        sock.sendall(frame(29, b"\0" * 8))
        assert sock.recv(64)[7] & 0x08
        sock.sendall(frame(1, bytes((3, 0, 32, 0, 2)), protocol=0))
        assert sock.recv(64)[7:9] == bytes((0x83, 1))


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 40, struct.pack(">HHHB", 1, 2, 60000, 29)])
def test_garbage_closes_the_connection_and_hurts_nobody(sim: XArmController, garbage: bytes) -> None:
    with socket.create_connection((HOST, PORT), timeout=2.0) as sock:
        sock.sendall(garbage)
        assert sock.recv(64) == b""
    with socket.create_connection((HOST, PORT), timeout=2.0) as sock:
        sock.sendall(frame(13))
        assert sock.recv(64)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_targets_are_refused_on_the_wire(sim: XArmController, value: float) -> None:
    arm = open_sdk(enable_report=False)
    ready(arm, 1)
    arm.core.move_servoj([value, *HOME[1:]], 0, 0, 0)
    assert sim.servo_statistics.refused == 1 and arm.get_err_warn_code()[1] == [0, 12]
    assert np.allclose(sim.controller._plant.read().position_rad, HOME)
    arm.disconnect()


def test_a_taken_address_is_named() -> None:
    with XArmController(KinematicPlant(NAMES, HOME), "127.0.54.13:25413"):
        with pytest.raises(DeviceError, match="127.0.54.13:25413"):
            XArmController(KinematicPlant(NAMES, HOME), "127.0.54.13:25413")


def test_addresses() -> None:
    assert split_address("127.0.0.11") == ("127.0.0.11", 502)
    assert split_address("127.0.0.11:20502") == ("127.0.0.11", 20502)


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += sock.recv(count - len(data))
    return data
