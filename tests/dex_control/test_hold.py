# SPDX-License-Identifier: Apache-2.0
"""Coming to rest, from standing to full speed."""

from __future__ import annotations

import numpy as np
import pytest

from dex_control.gate import CommandMode
from dex_core.safety import Mode

NS = 1_000_000_000


@pytest.mark.parametrize("speed_rad_s", [0.0, 0.3, 1.0, 2.0])
def test_a_hold_rests_within_200_ms_and_stays(rig, speed_rad_s):
    rig.step(3)
    assert rig.gate.set_goal("g1", True, rig.now_ns).accepted
    knots = np.tile(rig.joints, (64, 1))
    knots[:, :7] += np.where(np.arange(7) % 2, -0.3, 1.0)[None, :] * np.clip(0.05 * speed_rad_s * (np.arange(64)[:, None] - 4), 0, 1)
    rig.send(rig.chunk(0, knots=knots))
    rig.step(45)
    assert np.abs(rig.last.command.velocity_rad_s).max() == pytest.approx(speed_rad_s, abs=0.15)
    rig.silent.add("policy")
    rig.step(30, until=lambda: rig.status.mode is Mode.HOLDING)
    entered_ns = rig.now_ns
    rig.step(20)
    assert (rig.now_ns - entered_ns) / NS <= 0.2
    assert rig.at_rest(), np.abs(rig.last.command.velocity_rad_s).max()
    resting, joints = rig.last.command.position_rad, rig.joints.copy()
    np.testing.assert_allclose(resting, joints, atol=0.02)
    rig.step(100)
    assert rig.last.mode is CommandMode.HOLD
    np.testing.assert_allclose(rig.last.command.position_rad, resting, atol=1e-9)


def test_braking_never_reverses_before_it_rests(rig):
    rig.start(move=0.3)
    rig.step(100)
    direction = np.sign(rig.last.command.velocity_rad_s)
    rig.gate.stop()
    for _ in range(12):
        rig.step()
        if len(rig.last.command.names):
            assert (rig.last.command.velocity_rad_s * direction >= -0.05).all()


def test_a_device_that_went_silent_is_held_where_it_was_commanded_to_rest(rig):
    rig.start(move=0.3)
    rig.step(100)
    rig.mute.add("left_arm")
    rig.step(60)
    assert rig.status.mode is Mode.HOLDING and rig.status.cause == "left_arm"
    measured_last = rig.gate.states.position_rad[:7]
    assert (rig.last.command.position_rad[:7] > measured_last).all(), "not pulled back to an old measurement"


def test_a_cell_that_waits_for_its_first_chunk_holds_where_it_is_measured(rig):
    rig.step(3)
    assert rig.gate.set_goal("g1", True, rig.now_ns).accepted
    rig.step(20)
    assert rig.last.mode is CommandMode.HOLD
    np.testing.assert_allclose(rig.last.command.position_rad, rig.joints)
