# SPDX-License-Identifier: Apache-2.0
"""The bundle is one that the policy node loads and runs for any hand of the space; the graph alone acts the same."""
from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from tests.dex_learn.policy.made import made_pictures, made_records  # noqa: E402

from dex_core.bundle import load_bundle  # noqa: E402
from dex_core.bundle.testing import write_latent_fixture  # noqa: E402
from dex_core.config import CellConfig, load_cell  # noqa: E402
from dex_core.decode import tool_pose_columns, tool_poses_from_columns  # noqa: E402
from dex_learn.policy.actors import BundlePolicy, GraphPolicy  # noqa: E402
from dex_learn.policy.bundle import Training, export_graph, golden_cases, write_policy  # noqa: E402
from dex_learn.policy.codes import make_codes  # noqa: E402
from dex_learn.policy.embodied import Embodied  # noqa: E402
from dex_learn.policy.layout import SIDES, STEPS  # noqa: E402
from dex_learn.policy.sentences import sentences  # noqa: E402
from dex_learn.policy.train import States, fit_basis  # noqa: E402
from dex_learn.policy.trunk import TabletopPolicy, Trunk  # noqa: E402
from dex_learn.policy.vision import VisionNet  # noqa: E402
from dex_sim.lockstep import Observation  # noqa: E402


def cell_of(hand: str) -> CellConfig:
    return load_cell("xarm_bimanual", left_hand=hand, right_hand=hand)


def observation(cell: CellConfig) -> Observation:
    joints = {name: np.array(interface.home) for name, interface in cell.interfaces.items()}
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    return Observation(image, joints, "Push the two tomato cans together", 0.0, {}, np.zeros((2, 4)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict:
    root = tmp_path_factory.mktemp("models")
    space = root / "hand_latents"
    write_latent_fixture(space, cell_of("inspire"), others=[cell_of("leap")])
    parts = [made_records("inspire", 20)]
    codes = make_codes("latents", ["inspire"], SIDES, load_bundle(space))
    states = States.of(parts, codes)
    torch.manual_seed(0)
    policy = TabletopPolicy(VisionNet(), Trunk(fit_basis(parts, states))).eval()
    pictures, phrases = made_pictures(4), sentences()
    folder = root / "xl_vla_tabletop"
    write_policy(
        folder, policy, cell=cell_of("inspire"), space_folder=space, hands=["inspire"], codes=codes, parts=parts, states=states, pictures=pictures,
        phrases=phrases, training=Training("none: a test", 0, 0, "0123abc", ""),
    )
    return {"folder": folder, "space": space, "policy": policy, "cases": golden_cases(policy, pictures, states, phrases)}


def test_the_node_runs_it_with_a_hand_it_never_saw(made: dict) -> None:
    cell = cell_of("leap")
    policy = BundlePolicy(made["folder"], cell, lambda space: Embodied(cell, make_codes("latents", ["leap"], SIDES, space)))
    joints = policy(observation(cell))
    assert joints.shape == (STEPS, 14 + 32) and np.isfinite(joints).all()
    limits = [m for name in ("left_arm", "right_arm", "left_hand", "right_hand") for m in cell.interface(name).limits]
    assert (joints >= np.array([m.lower_rad for m in limits]) - 1e-9).all() and (joints <= np.array([m.upper_rad for m in limits]) + 1e-9).all()
    assert len(policy.inference_ms) == 1


def test_graph_and_bundle_act_alike_and_remember(made: dict) -> None:
    cell = cell_of("inspire")
    space = load_bundle(made["space"])
    graph, parity = export_graph(made["policy"], made["cases"])
    alone = GraphPolicy(graph, Embodied(cell, make_codes("latents", ["inspire"], SIDES, space)))
    whole = BundlePolicy(made["folder"], cell, lambda s: Embodied(cell, make_codes("latents", ["inspire"], SIDES, s)))
    first, second = [policy(observation(cell)) for policy in (alone, whole)]
    assert np.abs(first - second).max() < 1e-4 and parity < 1e-4
    again = alone(observation(cell))
    assert np.abs(again - first).max() > 0.0  # now it knows what it did
    alone.reset()
    assert np.array_equal(alone(observation(cell)), first)


@pytest.mark.parametrize("hand", ["inspire", "leap"])
def test_a_chunk_that_holds_the_pose_moves_no_arm(made: dict, hand: str) -> None:
    cell = cell_of(hand)
    body = Embodied(cell, make_codes("joints", [hand], SIDES))
    joints = observation(cell).joints
    tools = body.tools(joints)
    assert np.allclose(tool_poses_from_columns(tool_pose_columns(tools)), tools)
    codes = body.encode(joints)
    assert codes.shape == (2, STEPS, 16)
    chunk = np.concatenate([np.tile(tool_pose_columns(tools).reshape(18), (STEPS, 1)), codes[0], codes[1]], axis=1)
    found = body.joints(chunk, joints)
    still = np.concatenate([joints[name] for name in ("left_arm", "right_arm", "left_hand", "right_hand")])
    assert np.abs(found - still).max() < 0.02 and body.unreached == [0, 2 * STEPS]
