# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dex_core.bundle import Bundle, load_bundle
from dex_core.bundle.testing import write_latent_fixture
from dex_core.config import load_cell
from dex_core.decode import FingertipSolver, LatentDecoder, SliceDecoder, columns_of
from dex_core.errors import BundleError, DexError, JointNameError, NonFiniteError, ShapeError
from dex_core.kinematics import HandKinematics
from dex_core.types import ActionSlice
from dex_description import interface_urdf

CELL = load_cell("xarm_bimanual")
HAND = CELL.interface("left_hand")
LOWER, UPPER = (np.array([getattr(m, k) for m in HAND.limits]) for k in ("lower_rad", "upper_rad"))
HOME = np.array(HAND.home)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("space") / "hand_latents"
    write_latent_fixture(Path(folder), CELL)
    return load_bundle(folder)


@pytest.fixture(scope="module")
def latent(space: Bundle) -> LatentDecoder:
    return LatentDecoder(space, "left_inspire")


@pytest.fixture()
def decoder(latent: LatentDecoder) -> SliceDecoder:
    kinematics = HandKinematics(HAND.robot, interface_urdf(HAND))
    return SliceDecoder("left_hand", HAND, latent, FingertipSolver(kinematics, LOWER, UPPER))


def part(latent: LatentDecoder, data: np.ndarray, **changes: object) -> ActionSlice:
    fields = {"interface": "left_hand", "space": "latent", "data": data, "space_hash": min(latent.accepted_hashes), **changes}
    return ActionSlice(**fields)  # type: ignore[arg-type]


def test_round_trip_of_poses(latent: LatentDecoder) -> None:
    q = np.random.default_rng(0).uniform(LOWER, UPPER, (200, 6))
    decoded = latent.decode(latent.encode(q))
    np.testing.assert_allclose(decoded.position_rad, q, atol=1e-5)
    assert not decoded.flagged.any() and decoded.residual.max() < 1e-4


@given(st.floats(0.01, 100.0), st.integers(0, 2**31))
@settings(max_examples=30)
def test_any_latent_decodes_inside_the_limits(latent: LatentDecoder, scale: float, seed: int) -> None:
    z = scale * np.random.default_rng(seed).standard_normal((8, latent.dim))
    decoded = latent.decode(z)
    assert (decoded.position_rad >= LOWER).all() and (decoded.position_rad <= UPPER).all()


def test_latents_off_the_space_are_flagged(latent: LatentDecoder) -> None:
    on = latent.encode(np.tile(HOME, (3, 1)))
    off = on + np.random.default_rng(0).standard_normal(on.shape)
    assert not latent.decode(on).flagged.any() and latent.decode(off).flagged.all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_latents_are_refused(latent: LatentDecoder, value: float) -> None:
    z = np.zeros((4, latent.dim))
    z[2, 5] = value
    with pytest.raises(NonFiniteError):
        latent.decode(z)
    with pytest.raises(ShapeError):
        latent.decode(np.zeros((4, latent.dim + 1)))


def test_unknown_hand(space: Bundle) -> None:
    with pytest.raises(BundleError, match="left_leap") as info:
        LatentDecoder(space, "left_leap")
    assert info.value.code == "space_mismatch"


def test_latent_slice_becomes_named_joints(decoder: SliceDecoder, latent: LatentDecoder) -> None:
    q = np.random.default_rng(1).uniform(LOWER, UPPER, (64, 6))
    out = decoder.decode(part(latent, latent.encode(q)), HOME)
    assert out.space == "joint_position" and out.names == HAND.names and out.interface == "left_hand"
    np.testing.assert_allclose(out.data, q, atol=1e-5)
    assert decoder.flagged_steps == 0


def test_latents_of_another_space_are_refused(decoder: SliceDecoder, latent: LatentDecoder) -> None:
    for other in ("", "0" * 64):
        with pytest.raises(DexError) as info:
            decoder.decode(part(latent, np.zeros((4, latent.dim)), space_hash=other), HOME)
        assert info.value.code == "space_mismatch"


def test_fingertip_slice_becomes_named_joints(decoder: SliceDecoder) -> None:
    solver = decoder.fingertip
    assert solver is not None
    kinematics = HandKinematics(HAND.robot, interface_urdf(HAND))
    q = LOWER + np.linspace(0.2, 0.6, 5)[:, None] * (UPPER - LOWER)
    tips = np.array([kinematics.fingertips(row).ravel() for row in q])
    out = decoder.decode(ActionSlice("left_hand", "fingertip_position", tips, columns_of(solver.fingers), "left_wrist"), HOME)
    np.testing.assert_allclose(out.data, q, atol=1e-4)
    assert out.residual_m.shape == (5,) and out.residual_m.max() < 1e-4
    far = ActionSlice("left_hand", "fingertip_position", tips + 0.1, columns_of(solver.fingers), "left_wrist")
    assert decoder.decode(far, HOME).residual_m.min() > 0.01 and decoder.infeasible_steps == 5


def test_joint_slice_is_put_in_order_by_name(decoder: SliceDecoder) -> None:
    names = HAND.names[::-1]
    out = decoder.decode(ActionSlice("left_hand", "joint_position", HOME[None, ::-1], names), HOME)
    assert out.names == HAND.names
    np.testing.assert_array_equal(out.data[0], HOME)


def test_what_cannot_be_decoded_is_named(decoder: SliceDecoder, latent: LatentDecoder) -> None:
    def code(part: ActionSlice) -> str:
        with pytest.raises(DexError) as info:
            decoder.decode(part, HOME)
        return info.value.code

    tips = np.zeros((2, 15))
    columns = columns_of(("thumb", "index", "middle", "ring", "little"))
    assert code(ActionSlice("right_hand", "latent", np.zeros((2, 32)))) == "wrong_interface"
    assert code(ActionSlice("left_hand", "token", np.zeros((2, 1)))) == "no_decoder"
    assert code(ActionSlice("left_hand", "fingertip_position", tips, columns, "camera")) == "frame_unknown"
    assert code(ActionSlice("left_hand", "fingertip_position", tips, columns[::-1])) == "joint_names"
    with pytest.raises(JointNameError):
        decoder.decode(ActionSlice("left_hand", "joint_position", np.zeros((2, 5)), HAND.names[:5]), HOME)
    with pytest.raises(DexError) as info:
        SliceDecoder("left_hand", HAND).decode(part(latent, np.zeros((2, 32))), HOME)
    assert info.value.code == "no_decoder"


def test_a_latent_of_a_whole_chunk_stands_in_every_row(tmp_path: Path) -> None:
    write_latent_fixture(tmp_path / "chunks", CELL, frames=64)
    latent = LatentDecoder(load_bundle(tmp_path / "chunks"), "left_inspire")
    decoder, z = SliceDecoder("left_hand", HAND, latent), latent.encode(np.tile(HOME, (64, 1)))
    out = decoder.decode(part(latent, np.repeat(z, 64, axis=0)), HOME)
    np.testing.assert_allclose(out.data, np.tile(HOME, (64, 1)), atol=1e-4)
    mixed = np.repeat(z, 64, axis=0)
    mixed[5] += 0.01
    for bad in (np.repeat(z, 32, axis=0), mixed):
        with pytest.raises(ShapeError, match="all hold the same"):
            decoder.decode(part(latent, bad), HOME)
