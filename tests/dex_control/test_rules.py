# SPDX-License-Identifier: Apache-2.0
"""The safety rules of the design and the faults of the matrix, each by name, at the level of the gate's core."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dex_control.gate import CommandMode
from dex_core.errors import NonFiniteError
from dex_core.limits import LimitPipeline, Motion, SafeCommand
from dex_core.safety import Beat, Mode, Reason
from dex_core.types import ActionChunk, ActionSlice, JointState

NS = 1_000_000_000
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LEFT_JOINT1 = np.eye(26)[0]
LOSSES = [
    ("policy", Reason.POLICY_LOST), ("left_decoder", Reason.DECODER_LOST), ("right_decoder", Reason.DECODER_LOST),
    ("camera", Reason.CAMERA_LOST), ("left_arm", Reason.DRIVER_LOST), ("right_hand", Reason.DRIVER_LOST), ("task", Reason.TASK_LOST),
]


def test_rule1_only_the_pipeline_makes_a_command(rig):
    with pytest.raises(TypeError, match="LimitPipeline alone"):
        SafeCommand(object(), (), Motion.at_rest(np.zeros(0)), ())
    rig.start()
    rig.step(20)
    assert all(isinstance(tick.command, SafeCommand) for tick in rig.spy.ticks)
    with pytest.raises(AttributeError):
        rig.last.command.position_rad = np.zeros(26)
    with pytest.raises(ValueError):
        rig.last.command.position_rad[0] = 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rule2_finite_first(rig, bad):
    assert isinstance(rig.gate._pipeline, LimitPipeline)
    rig.start()
    rig.step(20)
    knots = np.tile(rig.joints, (64, 1))
    knots[5, 3] = bad
    with pytest.raises(NonFiniteError):
        rig.chunk(1, knots=knots)
    rig.gate.refuse_chunk("g1", 1, NonFiniteError("slice"))
    rig.step(5)
    assert rig.outcomes[-1].reason == "non_finite"
    assert rig.status.mode is Mode.RUNNING  # the older chunk is still good


@pytest.mark.parametrize("how", ["silence", "rejection", "crash", "stale", "far"])
def test_rule3_every_bad_end_holds_measured_with_a_reason(rig, how):
    if how == "far":
        rig.step(3)
        assert rig.gate.set_goal("g1", True, rig.now_ns).accepted
        rig.send(rig.chunk(0, start=rig.joints + 0.6 * LEFT_JOINT1, move=0.0))
    else:
        rig.start(steps=20)
    rig.step(20)
    if how == "rejection":
        for sequence in range(1, 4):
            rig.gate.refuse_chunk("g1", sequence, NonFiniteError("slice"))
    if how == "crash":
        rig.silent.add("policy")
    if how == "stale":
        rig.mute.add("left_arm")
    rig.step(150)
    assert rig.status.latched and rig.status.reason and rig.status.detail
    if rig.status.mode is Mode.HOLDING:
        assert rig.last.mode is CommandMode.HOLD
        moved = np.abs(rig.last.command.position_rad - rig.joints)
        assert moved.max() < 1e-3
    else:
        assert rig.status.mode is Mode.FAULT and rig.last.mode is CommandMode.STOP


@pytest.mark.parametrize("step_s", [10.0, -10.0, 3600.0, -3600.0])
def test_rule4_wall_clock_steps_do_not_disarm_the_watchdogs(rig, step_s):
    rig.start()
    rig.wall_step_ns = round(step_s * NS)
    rig.silent.add("camera")
    rig.step(20)  # 0.2 s
    assert (rig.status.mode, rig.status.reason, rig.status.cause) == (Mode.HOLDING, Reason.CAMERA_LOST, "camera")


def test_rule4_a_wall_clock_step_does_not_trip_anything_either(rig):
    rig.start()
    rig.wall_step_ns = -10 * NS
    rig.step(30)
    rig.send(rig.chunk(1))
    rig.step(30)
    assert rig.status.mode is Mode.RUNNING
    assert rig.gate.intake.sequence == 1


def test_rule5_and_f9_first_command_far_is_refused_without_motion(rig):
    rig.step(3)
    assert rig.gate.set_goal("g1", True, rig.now_ns).accepted
    before = rig.joints.copy()
    rig.send(rig.chunk(0, start=rig.joints + 0.51 * LEFT_JOINT1, move=0.0))
    rig.step(50)
    assert (rig.status.mode, rig.status.reason) == (Mode.HOLDING, Reason.FIRST_COMMAND_FAR)
    assert rig.status.latched and rig.status.cause == "left_joint1"
    assert rig.outcomes[0].reason == "too_far"
    np.testing.assert_allclose(rig.joints, before, atol=1e-12)


def test_rule6_and_f29_a_stop_needs_reset_and_a_new_goal(rig):
    rig.start(move=0.4)
    rig.step(60)
    assert rig.gate.stop().accepted
    rig.step(40)
    assert rig.status.mode is Mode.STOPPED and rig.status.latched
    assert rig.last.mode is CommandMode.STOP
    rig.send(rig.chunk(1))
    refused = rig.gate.set_goal("g2", True, rig.now_ns)
    assert not refused.accepted and refused.reason == Reason.LATCHED
    assert rig.gate.reset(rig.now_ns).accepted
    rig.step(50)
    assert rig.status.mode is Mode.IDLE and rig.last.mode is CommandMode.IDLE
    rig.send(rig.chunk(2))
    rig.step(10)
    assert rig.last.mode is CommandMode.IDLE, "a reset alone moves nothing"
    old = rig.gate.set_goal("g1", True, rig.now_ns)
    assert not old.accepted and old.reason == Reason.GOAL_ENDED
    rig.start("g2")


def test_rule6_nothing_moves_at_bring_up(rig):
    rig.step(100)
    assert {tick.mode for tick in rig.spy.ticks} == {CommandMode.IDLE}
    rig.send(rig.chunk(0, goal=""))
    assert rig.step(10).mode is CommandMode.IDLE


def test_rule8_every_wait_has_a_deadline_that_names_who_was_silent(rig):
    rig.step(3)
    assert rig.gate.set_goal("g1", True, rig.now_ns).accepted
    rig.step(round(rig.gate.config.first_chunk_timeout_s * 100) + 2)
    assert (rig.status.mode, rig.status.reason, rig.status.cause) == (Mode.HOLDING, Reason.CHUNK_STARVED, "policy")


@pytest.mark.parametrize("node, reason", LOSSES)
def test_f1_and_f25_a_dead_node_holds_within_200_ms(rig, node, reason):
    rig.start(move=0.4)
    rig.step(80)
    rig.silent.add(node)
    died_ns = rig.now_ns
    rig.step(50, until=lambda: rig.status.mode is Mode.HOLDING)
    assert (rig.now_ns - died_ns) / NS <= 0.2
    assert (rig.status.reason, rig.status.cause, rig.status.latched) == (reason, node, True)
    entered_ns = rig.now_ns
    rig.step(50, until=rig.at_rest)
    assert (rig.now_ns - entered_ns) / NS <= 0.2
    rig.step(100)
    resting = rig.last.command.position_rad
    rig.silent.clear()
    rig.send(rig.chunk(1))
    rig.step(50)
    np.testing.assert_array_equal(rig.last.command.position_rad, resting)  # no resume by itself
    assert rig.gate.reset(rig.now_ns).accepted
    rig.start("g2")


def test_f25_a_node_that_hangs_or_is_deactivated_counts_as_lost(rig):
    rig.start()
    rig.beats["policy"] = Beat("policy", executor_age_s=1.2)
    rig.step(2)
    assert rig.status.reason == Reason.POLICY_LOST and "hangs" in rig.status.detail


def test_f25_no_goal_while_a_node_is_missing(rig):
    rig.silent.add("right_decoder")
    rig.step(30)
    reply = rig.gate.set_goal("g1", True, rig.now_ns)
    assert (reply.accepted, reply.reason) == (False, Reason.DECODER_LOST)
    assert "right_decoder" in reply.detail
    assert rig.status.mode is Mode.IDLE


def test_f4_a_late_chunk_after_a_starved_queue_causes_no_jump(rig):
    rig.start(steps=20, move=0.3)
    stamp_ns = rig.wall_ns
    rig.step(130)
    assert (rig.status.mode, rig.status.reason) == (Mode.HOLDING, Reason.CHUNK_STARVED)
    resting = rig.last.command.position_rad
    rig.send(rig.chunk(1, stamp_ns=stamp_ns, move=0.5))
    rig.step(50)
    np.testing.assert_allclose(rig.last.command.position_rad, resting, atol=1e-3)


def test_f4_a_chunk_that_took_long_is_entered_where_it_is_now(rig):
    rig.start()
    stamp_ns, start = rig.wall_ns, rig.joints.copy()
    rig.step(100)
    rig.send(rig.chunk(1, stamp_ns=stamp_ns, start=start))
    rig.step()
    assert rig.outcomes[-1].accepted and rig.outcomes[-1].steps_skipped == 19
    rig.step(60)
    rig.send(rig.chunk(2, stamp_ns=rig.wall_ns - 2 * NS))
    rig.step()
    assert (rig.outcomes[-1].accepted, rig.outcomes[-1].reason) == (False, "late")


def test_f5_duplicate_reordered_and_foreign_chunks_are_dropped_and_counted(rig):
    rig.start()
    rig.send(rig.chunk(2))
    for sequence, goal in ((2, "g1"), (1, "g1"), (3, "other"), (0, "g1")):
        rig.send(rig.chunk(sequence, goal))
    rig.step()
    reasons = [outcome.reason for outcome in rig.outcomes]
    assert reasons == ["", "", "duplicate", "late", Reason.WRONG_GOAL, "duplicate"]
    report = rig.gate.report()
    assert (report.chunks_accepted, report.chunks_duplicate, report.chunks_late, report.chunks_rejected) == (2, 2, 1, 1)
    assert rig.gate.intake.sequence == 2 and rig.status.mode is Mode.RUNNING


def test_f5_a_stamp_from_the_future_is_refused(rig):
    rig.start()
    rig.send(rig.chunk(1, stamp_ns=rig.wall_ns + NS))
    rig.step()
    assert rig.outcomes[-1].reason == "future"
    assert rig.status.mode is Mode.RUNNING


def test_f6_bad_numbers_latch_after_n_in_a_row(rig):
    rig.start()
    for sequence in range(1, rig.gate.config.rejects_before_latch + 1):
        assert rig.status.mode is Mode.RUNNING
        rig.gate.refuse_chunk("g1", sequence, NonFiniteError("slice 'left_arm': nan at index (0, 0)"))
        rig.step()
    assert (rig.status.mode, rig.status.reason, rig.status.latched) == (Mode.FAULT, Reason.NON_FINITE, True)
    rig.step(60)
    assert rig.last.mode is CommandMode.STOP


def test_f6_a_good_chunk_clears_the_count(rig):
    rig.start()
    for sequence in range(1, 9):
        if sequence % 3:
            rig.gate.refuse_chunk("g1", sequence, NonFiniteError("slice"))
        else:
            rig.send(rig.chunk(sequence))
        rig.step()
    assert rig.status.mode is Mode.RUNNING


@pytest.mark.parametrize("how", ["missing joint", "unknown joint", "repeated joint", "missing interface", "swapped order"])
def test_f7_joints_are_matched_by_name_or_refused(rig, how):
    rig.start(move=0.0)
    chunk = rig.chunk(1, move=0.2)
    part = chunk.slices[0]
    names, data = list(part.names), part.data
    if how == "missing joint":
        names, data = names[:-1], data[:, :-1]
    elif how == "unknown joint":
        names[2] = "left_joint9"
    elif how == "swapped order":
        names, data = names[::-1], data[:, ::-1]
    if how == "repeated joint":
        with pytest.raises(Exception, match="repeated"):
            ActionSlice(part.interface, part.space, data, (names[0], *names[:-1]))
        return
    slices = chunk.slices[1:] if how == "missing interface" else (ActionSlice(part.interface, part.space, data, tuple(names)), *chunk.slices[1:])
    rig.send(ActionChunk(chunk.stamp_ns, "g1", 1, chunk.dt_s, 1.0, slices, "hash"))
    rig.step(20)
    expected = {"missing joint": "joint_names", "unknown joint": "joint_names", "missing interface": "incomplete", "swapped order": ""}
    assert rig.outcomes[-1].reason == expected[how]
    if how == "swapped order":
        rig.step(330, until=lambda: rig.status.mode is not Mode.RUNNING)
        np.testing.assert_allclose(rig.joints, chunk_end(chunk), atol=0.02)


def chunk_end(chunk: ActionChunk) -> np.ndarray:
    return np.concatenate([part.data[-1] for part in chunk.slices])


def test_f8_out_of_range_is_refused_whole_and_a_little_is_clamped_with_report(free_rig):
    rig = free_rig
    rig.start(move=0.0)
    upper = rig.gate.limits.upper_rad[1]
    rig.send(rig.chunk(1, knots=_towards(rig, upper + 0.03)))
    rig.step()
    assert rig.outcomes[-1].reason == "limit"
    for sequence in range(2, 10):
        rig.send(rig.chunk(sequence, knots=_towards(rig, upper + 0.01)))
        rig.step(90)
        assert rig.outcomes[-1].accepted
    assert ("left_joint2", "position") in {(hit.joint, hit.limit) for hit in rig.gate.report().limits}
    assert upper - 1e-3 < rig.joints[1] <= upper


def _towards(rig, goal_rad: float) -> np.ndarray:
    """200 knots that bring joint 2 of the left arm to ``goal_rad`` at half a radian per second and stay there."""
    knots = np.tile(rig.joints, (200, 1))
    knots[:, 1] = np.minimum(rig.joints[1] + 0.025 * np.arange(200), goal_rad)
    return knots


def test_f8_a_leap_inside_a_chunk_is_refused_whole(rig):
    rig.start(move=0.0)
    knots = np.tile(rig.joints, (64, 1))
    knots[30:, 0] += 0.3
    rig.send(rig.chunk(1, knots=knots))
    rig.step()
    assert (rig.outcomes[-1].reason, rig.gate.intake.sequence) == ("limit", 0)
    assert "left_joint1" in rig.outcomes[-1].detail


def test_f8_a_speed_spike_is_clamped_with_report(rig):
    rig.start(move=0.0)
    knots = np.tile(rig.joints, (64, 1))
    knots[10:, 0] += 0.2
    rig.send(rig.chunk(1, knots=knots))
    rig.step(100)
    hits = {(hit.joint, hit.limit): hit for hit in rig.gate.report().limits}
    assert ("left_joint1", "velocity") in hits
    assert abs(hits["left_joint1", "velocity"].requested) > 2.14
    np.testing.assert_allclose(rig.joints[0], knots[-1, 0], atol=1e-3)


def test_f10_an_all_zeros_chunk_is_a_target_like_any_other(rig):
    rig.step(3)
    assert rig.gate.set_goal("g1", True, rig.now_ns).accepted
    rig.send(rig.chunk(0, knots=np.zeros((64, 26))))
    rig.step(20)
    assert rig.status.reason == Reason.FIRST_COMMAND_FAR


def test_f11_a_second_publisher_is_refused_and_latches(rig):
    rig.gate.on_publishers(2)
    rig.step(3)
    reply = rig.gate.set_goal("g1", True, rig.now_ns)
    assert (reply.accepted, reply.reason) == (False, Reason.DUPLICATE_PUBLISHER)
    rig.gate.on_publishers(1)
    rig.start()
    rig.gate.on_publishers(2)
    rig.step(60)
    assert (rig.status.mode, rig.status.reason, rig.status.latched) == (Mode.FAULT, Reason.DUPLICATE_PUBLISHER, True)
    assert rig.last.mode is CommandMode.STOP
    assert rig.gate.reset(rig.now_ns).reason == Reason.DUPLICATE_PUBLISHER
    rig.gate.on_publishers(1)
    assert rig.gate.reset(rig.now_ns).accepted


@pytest.mark.parametrize("fault", ["silent", "frozen", "joint missing", "misnamed"])
def test_f12_a_bad_joint_state_holds(rig, fault):
    rig.start(move=0.4)
    rig.step(60)
    part = rig.cell.interface("right_arm")
    if fault == "frozen":
        rig.frozen.add("right_arm")
    else:
        rig.mute.add("right_arm")
    if fault in ("joint missing", "misnamed"):
        names = part.names[:-1] if fault == "joint missing" else ("right_joint9", *part.names[1:])
        n = len(names)
        rig.gate.on_joint_state("right_arm", JointState(names, np.zeros(n), np.zeros(n), np.zeros(n), rig.wall_ns + 1), rig.now_ns)
        rig.step()
        assert rig.status.reason == Reason.JOINT_NAMES
    rig.spy.smooth = fault != "frozen"
    rig.step(60)
    assert (rig.status.mode, rig.status.cause, rig.status.latched) == (Mode.HOLDING, "right_arm", True)
    if fault == "frozen":
        assert "frozen" in rig.status.detail


def test_f12_states_in_another_order_are_matched_by_name(rig):
    part = rig.cell.interface("left_arm")
    n = len(part.names)
    rig.gate.on_joint_state("left_arm", JointState(part.names[::-1], np.arange(n), np.zeros(n), np.zeros(n), 1), rig.now_ns)
    np.testing.assert_array_equal(rig.gate.states.position_rad[:7], np.arange(7)[::-1])


def test_f12_a_repeated_measurement_is_no_sign_of_life(rig):
    rig.step(3)
    part = rig.cell.interface("left_arm")
    state = JointState(part.names, rig.joints[:7], np.zeros(7), np.zeros(7), rig.wall_ns)
    rig.mute.add("left_arm")
    for _ in range(20):
        rig.gate.on_joint_state("left_arm", state, rig.now_ns)
        rig.step()
    assert rig.gate.set_goal("g1", True, rig.now_ns).reason == Reason.STATE_STALE


def test_a_goal_that_ends_brakes_holds_and_goes_idle_without_latch(rig):
    rig.start(move=0.35)
    rig.step(80)
    assert rig.gate.set_goal("g1", False, rig.now_ns).accepted
    rig.step()
    assert (rig.status.mode, rig.status.reason, rig.status.latched) == (Mode.HOLDING, Reason.GOAL_ENDED, False)
    rig.step(70)
    assert rig.status.mode is Mode.IDLE and rig.last.mode is CommandMode.IDLE
    rig.start("g2")


def test_a_blocked_joint_is_noticed(rig):
    rig.start(move=0.0)
    rig.blocked[0] = True
    rig.spy.smooth = False
    knots = np.tile(rig.joints, (64, 1))
    knots[:, 0] += 0.45 * np.linspace(0, 1, 64)
    knots[:, 7] += 0.01 * np.arange(64)  # the rest moves, so the state is not frozen
    for sequence in range(1, 6):
        rig.send(rig.chunk(sequence, knots=knots, stamp_ns=rig.wall_ns))
        rig.step(100)
        knots = np.roll(knots, 0)
        knots[:, 0] = knots[-1, 0]
    assert rig.status.reason in (Reason.LIMIT_STEP, Reason.STATE_STALE)


def test_the_gate_resumes_from_measured_after_its_own_stall(rig):
    rig.start(move=0.35)
    rig.step(100)
    rig.joints -= 0.05  # the drivers held by themselves, the joints sagged
    rig.spy.smooth = False
    rig.now_ns += round(0.15 * NS)
    measured = rig.joints.copy()
    rig.step()
    rig.spy.smooth = True
    assert np.abs(rig.last.command.position_rad - measured).max() < 0.01
    rig.step(40)
    assert rig.status.mode is Mode.RUNNING
    assert rig.gate.report().ticks_missed == 15


CHAOS = st.lists(
    st.tuples(
        st.sampled_from([
            "chunk", "far chunk", "bad chunk", "old chunk", "stop", "reset", "goal", "end", "kill", "revive", "mute", "unmute", "push", "wall",
        ]),
        st.integers(1, 60), st.integers(0, 2**31 - 1),
    ),
    min_size=3, max_size=25,
)


@quick
@given(events=CHAOS)
def test_no_sequence_of_faults_makes_an_unsafe_command(make_rig, events):
    """The spy checks every command: finite, in range, near measured, never zeros."""
    rig = make_rig()
    rig.spy.smooth = False  # a pushed robot makes the hard step limit act
    rig.start("first")
    goals = 0
    for sequence, (event, ticks, seed) in enumerate(events, start=1):
        rng = np.random.default_rng(seed)
        goal = rig.status.goal_id
        if event == "chunk":
            rig.send(rig.chunk(sequence, goal, move=rng.uniform(-0.4, 0.4, 26)))
        elif event == "far chunk":
            rig.send(rig.chunk(sequence, goal, start=rig.joints + rng.uniform(-2, 2, 26), move=0.0))
        elif event == "bad chunk":
            rig.send(rig.chunk(sequence, goal, knots=rng.normal(0, 3, (64, 26))))
        elif event == "old chunk":
            rig.send(rig.chunk(max(0, sequence - 3), goal, stamp_ns=rig.wall_ns - 3 * NS))
        elif event == "stop":
            rig.gate.stop()
        elif event == "reset":
            rig.gate.reset(rig.now_ns)
        elif event == "goal":
            goals += 1
            rig.gate.set_goal(f"goal {goals}", True, rig.now_ns)
        elif event == "end":
            rig.gate.set_goal(goal, False, rig.now_ns)
        elif event == "kill":
            rig.silent.add(LOSSES[seed % len(LOSSES)][0])
        elif event == "revive":
            rig.silent.clear()
        elif event == "mute":
            rig.mute.add("left_arm" if seed % 2 else "right_hand")
        elif event == "unmute":
            rig.mute.clear()
        elif event == "push":
            rig.joints = rig.gate.limits.clip(rig.joints + rng.uniform(-0.2, 0.2, 26))
        else:
            rig.wall_step_ns = int(rng.integers(-10, 10)) * NS
        before = rig.status
        rig.step(ticks)
        if before.latched and event not in ("reset", "stop"):
            assert rig.status.latched, "only a reset leaves a latch"


@quick
@given(seed=st.integers(0, 2**31 - 1), scale=st.floats(0.0, 0.3))
def test_random_plans_are_tracked_smoothly(make_rig, seed, scale):
    """With a robot that follows, every command keeps to speed and acceleration too."""
    rig = make_rig()
    rng = np.random.default_rng(seed)

    def move() -> np.ndarray:
        return rig.gate.limits.clip(rig.joints + rng.uniform(-scale, scale, 26)) - rig.joints

    rig.start(move=move())
    for sequence in range(1, 5):
        rig.step(int(rng.integers(3, 60)))
        rig.send(rig.chunk(sequence, move=move()))
    rig.step(60)
    assert rig.status.mode is Mode.RUNNING and rig.gate.intake.sequence == 4
