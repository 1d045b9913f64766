# SPDX-License-Identifier: Apache-2.0
"""A policy of wrist poses and latents: the same object drives whatever hand of its space is mounted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dex_core.bundle import Bundle, LoadOptions, load_bundle
from dex_core.bundle.testing import write_fixture_pair, write_latent_fixture
from dex_core.config import CellConfig, load_cell
from dex_core.decode import POSE_COLUMNS, LatentDecoder, MountedHand, PoseDecoder, pose_columns
from dex_core.decode.mounted import ArmInWorld, grasp_in_root, homogeneous
from dex_core.errors import BundleError, DexError
from dex_core.policy import ChunkPolicy, MeasuredPoses, Observation
from dex_core.policy.hands import HandLatents
from dex_core.rot6d import tool_pose_columns
from dex_core.types import JointState

STAMP = 1_700_000_000_000_000_000
INSTRUCTION = "Push the two tomato cans together"
SIDES = ("left", "right")
CELLS = {hand: load_cell("xarm_bimanual", hand=hand) for hand in ("inspire", "leap")}
PAIRS = {"inspire": ("inspire", "inspire"), "leap": ("leap", "leap"), "mixed": ("leap", "inspire")}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Trained, in name, on Inspire alone; LEAP is in the space."""
    _, policy = write_fixture_pair(tmp_path_factory.mktemp("models"), CELLS["inspire"], others=[CELLS["leap"]], wrist_poses=True)
    return load_bundle(policy)


@pytest.fixture()
def policy(bundle: Bundle) -> ChunkPolicy:
    return ChunkPolicy(bundle, wall_clock_ns=lambda: STAMP)


def mounted_hand(bundle: Bundle, side: str, hand: str) -> MountedHand:
    """A hand with a grasp frame of its own at an odd place."""
    interface = CELLS[hand].interface(f"{side}_hand")
    grasp = grasp_in_root(interface)
    grasp[:3, 3] = (0.05, 0.01, 0.1) if hand == "inspire" else (0.06, -0.02, 0.08)
    assert bundle.space is not None
    return MountedHand(side, hand, interface.mounted_on, homogeneous(interface.mount) @ grasp, bundle.space.graph_sha256(f"{side}_{hand}/decoder"))


def mounted(bundle: Bundle, pair: tuple[str, str]) -> dict[str, MountedHand]:
    return {side: mounted_hand(bundle, side, hand) for side, hand in zip(SIDES, pair, strict=True)}


def state(cell: CellConfig, name: str, offset_rad: float = 0.0) -> JointState:
    i = cell.interface(name)
    return JointState(i.names, np.array(i.home) + offset_rad, np.zeros(len(i.names)), np.zeros(len(i.names)), STAMP)


def observe(bundle: Bundle, pair: tuple[str, str], offset_rad: float = 0.0, **changes: object) -> Observation:
    arms = {f"{side}_arm": state(CELLS["inspire"], f"{side}_arm", offset_rad) for side in SIDES}
    hands = {f"{side}_hand": state(CELLS[hand], f"{side}_hand") for side, hand in zip(SIDES, pair, strict=True)}
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    seen = Observation(STAMP, {"front": image}, {**arms, **hands}, INSTRUCTION)
    whole = MeasuredPoses(CELLS["inspire"], ("left_arm", "right_arm")).complete(seen, mounted(bundle, pair))
    return replace(whole, **changes)


def code_of(policy: ChunkPolicy, observation: Observation) -> str:
    with pytest.raises(DexError) as info:
        policy.infer(observation)
    return info.value.code


def test_it_says_that_it_knows_no_hand(policy: ChunkPolicy) -> None:
    spec = policy.spec
    assert spec.mounted_sides == SIDES and spec.pose_interfaces == ("left_arm", "right_arm")
    assert set(spec.joint_interfaces) == set(spec.action_interfaces) == {"left_arm", "right_arm", "left_hand", "right_hand"}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_one_policy_drives_every_pair_of_hands(policy: ChunkPolicy, bundle: Bundle, pair: tuple[str, str]) -> None:
    observation = observe(bundle, pair, 0.1)
    chunk = policy.infer(observation, "goal", 3).chunk
    for side, hand in zip(SIDES, pair, strict=True):
        arm, hand_part = chunk.slice_of(f"{side}_arm"), chunk.slice_of(f"{side}_hand")
        assert arm is not None and (arm.space, arm.frame_id, arm.names) == ("wrist_pose", "world", POSE_COLUMNS)
        np.testing.assert_allclose(arm.data, np.tile(pose_columns(observation.poses[f"{side}_arm"]), (64, 1)), atol=1e-6)
        decoder = PoseDecoder(ArmInWorld(CELLS["inspire"], side), observation.mounted[side], CELLS["inspire"].interface(f"{side}_arm").home)
        measured = observation.joints[f"{side}_arm"].position_rad
        np.testing.assert_allclose(decoder.columns(decoder.decode(arm.data, measured).position_rad), arm.data, atol=1e-5)
        assert hand_part is not None and hand_part.space == "latent" and bundle.space is not None
        latent = LatentDecoder(bundle.space, f"{side}_{hand}")
        assert hand_part.space_hash in latent.accepted_hashes, "any decoder of the space takes it"
        wanted = np.tile(observation.joints[f"{side}_hand"].position_rad, (64, 1))
        np.testing.assert_allclose(latent.decode(hand_part.data).position_rad, wanted, atol=1e-5)


def test_an_exchanged_hand_starts_anew_and_the_other_goes_on(policy: ChunkPolicy, bundle: Bundle) -> None:
    first = policy.infer(observe(bundle, ("inspire", "inspire"))).chunk
    closed = {**observe(bundle, ("inspire", "inspire")).joints, "right_hand": state(CELLS["inspire"], "right_hand", 0.2)}
    assert policy.hand_changes == 0
    swapped = observe(bundle, ("leap", "inspire"))
    second = policy.infer(replace(swapped, joints={**swapped.joints, "right_hand": closed["right_hand"]}), sequence=2).chunk
    assert policy.hand_changes == 1 and second.sequence == 2
    np.testing.assert_array_equal(second.slice_of("right_hand").data, first.slice_of("right_hand").data)  # type: ignore[union-attr]
    assert np.abs(second.slice_of("left_hand").data - first.slice_of("left_hand").data).max() > 0.01  # type: ignore[union-attr]
    policy.infer(swapped)
    assert policy.hand_changes == 1, "the same hand again is no change"
    moved = replace(swapped.mounted["left"], grasp_in_flange=np.eye(4))
    policy.infer(replace(swapped, mounted={**swapped.mounted, "left": moved}))
    assert policy.hand_changes == 2, "the same kind of hand mounted in another way is another hand"


def test_unknown_and_foreign_hands_are_refused_and_memory_stays(policy: ChunkPolicy, bundle: Bundle) -> None:
    good = observe(bundle, ("inspire", "leap"))
    before = policy.infer(good).chunk
    assert code_of(policy, replace(good, mounted={})) == "hand_unknown"
    assert code_of(policy, replace(good, mounted={"left": good.mounted["left"]})) == "hand_unknown"
    assert code_of(policy, replace(good, poses={})) == "state_stale"
    for change in ({"hand": "ability"}, {"decoder_sha256": "0" * 64}, {"decoder_sha256": ""}):
        foreign = {**good.mounted, "left": replace(good.mounted["left"], **change)}
        assert code_of(policy, replace(good, mounted=foreign)) == "space_mismatch"
        with pytest.raises(DexError):
            policy.check_mounted(foreign["left"])
    assert code_of(policy, replace(good, poses={**good.poses, "left_arm": np.full((4, 4), np.nan)})) == "non_finite"
    np.testing.assert_array_equal(policy.infer(good).chunk.slices[2].data, before.slices[2].data)


def test_joints_of_another_hand_than_told_are_refused(policy: ChunkPolicy, bundle: Bundle) -> None:
    good = observe(bundle, ("inspire", "inspire"))
    assert code_of(policy, replace(good, joints={**good.joints, "left_hand": state(CELLS["leap"], "left_hand")})) == "joint_names"
    assert code_of(policy, replace(good, joints={**good.joints, "left_hand": state(CELLS["inspire"], "left_hand", 9.0)})) == "joint_limits"


def test_measured_poses_want_the_right_arm_and_joints(bundle: Bundle) -> None:
    measured, good = MeasuredPoses(CELLS["inspire"], ("left_arm", "right_arm")), observe(bundle, ("inspire", "leap"))
    assert set(measured.complete(good, {}).poses) == set()
    assert set(measured.complete(good, {"left": good.mounted["left"]}).poses) == {"left_arm"}
    wrong = replace(good.mounted["right"], side="left")
    for observation, hands, code in (
        (good, {"left": wrong}, "hand_unknown"),
        (replace(good, joints={"left_arm": state(CELLS["leap"], "left_hand")}), good.mounted, "joint_names"),
        (replace(good, joints={"left_arm": state(CELLS["leap"], "left_arm", 9.0)}), good.mounted, "joint_limits"),
    ):
        with pytest.raises(DexError) as info:
            measured.complete(observation, hands)
        assert info.value.code == code


@pytest.mark.parametrize(
    ("column", "offset", "outcome"),
    [("r20", 0.05, "silent"), ("r20", 0.15, "flagged"), ("r20", 0.25, "output_range"), ("x", 0.3, "silent"), ("z", 5.0, "output_range")],
)
def test_range_of_poses_constant_columns_included(tmp_path: Path, column: str, offset: float, outcome: str) -> None:
    ramp = np.zeros((64, 18))
    ramp[10:, POSE_COLUMNS.index(column)] = offset
    _, folder = write_fixture_pair(tmp_path, CELLS["inspire"], wrist_poses=True, ramp=ramp)
    bundle = load_bundle(folder)
    stats = bundle.stats["chunk/left_arm"]
    assert [POSE_COLUMNS[i] for i, constant in enumerate(stats.mask) if constant] == ["r20", "r21"]
    observation, policy = upright(bundle), ChunkPolicy(bundle)
    if outcome == "output_range":
        assert code_of(policy, observation) == "output_range"
    else:
        flags = policy.infer(observation).flags
        assert bool(flags) == (outcome == "flagged") and all("chunk/left_arm" in f for f in flags)


def upright(bundle: Bundle) -> Observation:
    good, pose = observe(bundle, ("inspire", "inspire")), np.eye(4)
    six = tool_pose_columns([0.3, 0.2, 0.2, 0.0])[3:]
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = six[:3], six[3:], (0.0, 0.0, -1.0), (0.3, 0.2, 0.2)
    return replace(good, poses={"left_arm": pose, "right_arm": pose})


def test_an_odd_measured_pose_is_flagged_only(policy: ChunkPolicy, bundle: Bundle) -> None:
    good = upright(bundle)
    assert policy.infer(good).flags == ()
    tilted = good.poses["left_arm"].copy()
    angle = np.radians(9.0)
    tilted[:3, :3] = tilted[:3, :3] @ [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    flags = policy.infer(replace(good, poses={**good.poses, "left_arm": tilted})).flags
    assert any("poses/left_arm" in f for f in flags)


def test_the_pinned_decoders_are_checked_and_the_mounted_hand_must_be_in_the_space(tmp_path: Path, bundle: Bundle) -> None:
    latent, folder = write_fixture_pair(tmp_path, CELLS["inspire"], others=[CELLS["leap"]], wrist_poses=True)
    for cell in CELLS.values():
        assert load_bundle(folder, LoadOptions(cell=cell)).space is not None
    with pytest.raises(BundleError) as info:
        load_bundle(folder, LoadOptions(cell=load_cell("xarm_bimanual", left_hand="ability"), space=load_bundle(latent)))
    assert info.value.code == "space_mismatch" and "left_ability" in str(info.value)
    write_latent_fixture(tmp_path / "other", CELLS["inspire"], seed=5)
    with pytest.raises(BundleError) as info:
        load_bundle(folder, LoadOptions(space=load_bundle(tmp_path / "other")))
    assert info.value.code == "space_mismatch"


def test_a_policy_of_arm_joints_is_told_the_hands_too(tmp_path: Path) -> None:
    _, folder = write_fixture_pair(tmp_path, CELLS["inspire"])
    bundle = load_bundle(folder)
    policy, good = ChunkPolicy(bundle), observe(bundle, ("inspire", "inspire"))
    assert policy.spec.mounted_sides == SIDES and policy.spec.pose_interfaces == ()
    assert policy.infer(replace(good, poses={})).chunk.slice_of("left_arm").space == "joint_position"  # type: ignore[union-attr]
    assert code_of(policy, replace(good, mounted={})) == "hand_unknown"


def test_in_a_space_of_chunks_the_first_latent_is_a_chunk_that_stands_still(tmp_path: Path, bundle: Bundle) -> None:
    write_latent_fixture(tmp_path / "chunks", CELLS["inspire"], frames=64)
    space, good = load_bundle(tmp_path / "chunks"), observe(bundle, ("inspire", "inspire"))
    hands = HandLatents(space, ("left_hand",), 64)
    hands.follow({"left": replace(good.mounted["left"], decoder_sha256=space.graph_sha256("left_inspire/decoder"))})
    rows, latent = hands.previous("left_hand", good), LatentDecoder(space, "left_inspire")
    assert rows.shape == (64, latent.dim) and np.ptp(rows, axis=0).max() == 0.0
    np.testing.assert_allclose(latent.decode(rows[:1]).position_rad, np.tile(good.joints["left_hand"].position_rad, (64, 1)), atol=1e-4)
