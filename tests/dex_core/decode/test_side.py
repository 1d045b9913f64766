# SPDX-License-Identifier: Apache-2.0
"""One side's arm and hand: decoded together, with the hand it alone knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dex_core.bundle import Bundle, load_bundle
from dex_core.bundle.testing import write_latent_fixture
from dex_core.config import CellConfig, load_cell
from dex_core.decode import LatentDecoder, MountedHand, PoseDecoder, SideDecoder
from dex_core.errors import ConfigError, DexError
from dex_core.policy.runtime import load_side_decoder
from dex_core.types import POSE_COLUMNS, ActionChunk, ActionSlice

HANDS = ("inspire", "ability", "xhand1", "dexh13", "leap")
CELLS = {hand: load_cell("xarm_bimanual", hand=hand) for hand in HANDS}


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CellConfig]:
    folder: Path = tmp_path_factory.mktemp("models") / "hands"
    write_latent_fixture(folder, CELLS["inspire"], others=list(CELLS.values()))
    return {name: replace(c, policy=replace(c.policy, latent_bundle=str(folder), provider="cpu")) for name, c in CELLS.items()}


def measured_in(cell: CellConfig) -> Callable[[str], np.ndarray]:
    return lambda name: np.array(cell.interface(name).home)


@cache
def space_of(bundle: str) -> Bundle:
    return load_bundle(bundle)


def make(cell: CellConfig, side: str) -> SideDecoder:
    """A new decoder in the space that is loaded once."""
    space, embodiment = space_of(cell.policy.latent_bundle), f"{side}_{cell.interface(f'{side}_hand').robot.name}"
    return SideDecoder.of_cell(cell, side, LatentDecoder(space, embodiment), space.graph_sha256(f"{embodiment}/decoder"))


def chunk_for(cell: CellConfig, side: str) -> ActionChunk:
    """Poses a little beside home and the latents of the hand's home, for one side; joints for the other."""
    space = space_of(cell.policy.latent_bundle)
    hand, other = cell.interface(f"{side}_hand"), cell.interface("right_arm" if side == "left" else "left_arm")
    latent = LatentDecoder(space, f"{side}_{hand.robot.name}")
    poses = np.tile(PoseDecoder.of_cell(cell, side).home_columns, (8, 1))
    poses[:, :3] += np.linspace(0.0, 0.03, 8)[:, None]
    parts = (
        ActionSlice(f"{side}_arm", "wrist_pose", poses, POSE_COLUMNS, "world"),
        ActionSlice(
            f"{side}_hand", "latent", np.tile(latent.encode([hand.home]), (8, 1)), space_hash=space.graph_sha256(f"{side}_{hand.robot.name}/decoder")
        ),
        ActionSlice(other.name, "joint_position", np.tile(other.home, (8, 1)), other.names),
    )
    return ActionChunk(1, "g", 4, 0.05, 1.0, parts, "hash")


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("hand", HANDS)
def test_poses_arrive_at_the_grasp_frame_of_whatever_hand_is_mounted(cells: dict[str, CellConfig], hand: str, side: str) -> None:
    cell = cells[hand]
    decoder, chunk = make(cell, side), chunk_for(cell, side)
    assert decoder.mounted == replace(MountedHand.of_cell(cell, side), decoder_sha256=chunk.slices[1].space_hash)
    assert decoder.mounted.embodiment == f"{side}_{hand}"
    out = decoder.decode(chunk, measured_in(cell))
    assert out is not None and [s.interface for s in out.slices] == [f"{side}_arm", f"{side}_hand"] and out.sequence == 4
    arm, joints = out.slices
    reached = PoseDecoder.of_cell(cell, side).columns(arm.data)
    np.testing.assert_allclose(reached, chunk.slices[0].data, atol=1e-4)
    np.testing.assert_allclose(joints.data, np.tile(cell.interface(f"{side}_hand").home, (8, 1)), atol=1e-4)
    assert decoder.infeasible_steps == decoder.flagged_steps == 0


def test_it_loads_as_the_cell_says_and_has_nothing_to_do_for_the_other_side(cells: dict[str, CellConfig]) -> None:
    decoder, chunk = load_side_decoder(cells["inspire"], "left"), chunk_for(cells["inspire"], "right")
    assert decoder.mounted == make(cells["inspire"], "left").mounted
    assert decoder.decode(chunk, measured_in(cells["inspire"])) is None


def test_one_bad_slice_takes_the_other_with_it_and_joints_are_asked_only_where_needed(cells: dict[str, CellConfig]) -> None:
    decoder, chunk = make(cells["leap"], "left"), chunk_for(cells["leap"], "left")
    asked: list[str] = []

    def measured(name: str) -> np.ndarray:
        asked.append(name)
        return measured_in(cells["leap"])(name)

    decoder.decode(chunk, measured)
    assert asked == ["left_arm"]
    with pytest.raises(DexError) as info:
        decoder.decode(replace(chunk, slices=(chunk.slices[0], replace(chunk.slices[1], space_hash="0" * 64))), measured)
    assert info.value.code == "space_mismatch"
    far = replace(chunk.slices[0], data=chunk.slices[0].data + np.r_[1.0, np.zeros(8)])
    out = decoder.decode(replace(chunk, slices=(far,)), measured)
    assert decoder.infeasible_steps > 0 and out is not None and out.slices[0].residual_m.max() > 0.1


def test_a_hand_without_grasp_frame_or_arm_still_decodes_latents(cells: dict[str, CellConfig]) -> None:
    cell = cells["inspire"]
    hand = cell.interface("left_hand")
    bare = replace(cell, interfaces={**cell.interfaces, "left_hand": replace(hand, robot=replace(hand.robot, grasp=None))})
    lonely = replace(cell, interfaces={n: i for n, i in cell.interfaces.items() if n != "left_arm"})
    for changed in (bare, lonely):
        space = space_of(cell.policy.latent_bundle)
        decoder = SideDecoder.of_cell(changed, "left", LatentDecoder(space, "left_inspire"))
        assert decoder.mounted is None and set(decoder.parts) == {"left_hand"}
        out = decoder.decode(chunk_for(cell, "left"), measured_in(cell))
        assert out is not None and [s.interface for s in out.slices] == ["left_hand"]
    with pytest.raises(ConfigError, match="grasp"):
        PoseDecoder.of_cell(bare, "left")
