# SPDX-License-Identifier: Apache-2.0
"""The released latent space imports exactly, safely, and nothing of another layout does."""
from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from torch.nn import functional  # noqa: E402

from dex_core.bundle import LoadOptions, load_bundle  # noqa: E402
from dex_core.config import load_cell, load_robot  # noqa: E402
from dex_core.errors import BundleError  # noqa: E402
from dex_core.runtime import run_rows  # noqa: E402
from dex_learn.dexlatent import import_dexlatent, main, wanted_shapes  # noqa: E402
from dex_learn.dexlatent_hands import HANDS, UPSTREAM  # noqa: E402

RELEASED = Path(__file__).parents[3] / "shared" / "reference" / "xl_vla" / "dexlatent_checkpoint_epoch_1000.pt"
AS_UPSTREAM = {"xhand1": "xarm7_xhand_right", "ability": "xarm7_ability_right", "inspire": "xarm7_inspire_right", "dexh13_free": "xarm7_paxini_right"}


def make_payload() -> dict:
    """Random weights in the released layout."""
    generator = torch.Generator().manual_seed(3)
    state = {
        f"{name}.{key}": 0.3 * torch.randn(shape, generator=generator)
        for name, hand in UPSTREAM.items() for key, shape in wanted_shapes(len(hand.joints)).items()
    }
    return {"epoch": 1, "hand_names": list(UPSTREAM), "config": {"latent_dim_hand": 32}, "autoencoders": state, "optimizer": {}}


def save(folder: Path, payload: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(payload, folder / "checkpoint.pt")
    (folder / "LICENSE").write_text("MIT License\n\nCopyright (c) somebody\n", encoding="utf-8")
    return folder / "checkpoint.pt"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(synthetic checkpoint, its bundle)."""
    file = save(tmp_path_factory.mktemp("synthetic"), make_payload())
    import_dexlatent(file, file.parent / "dexlatent")
    return file, file.parent / "dexlatent"


def published(state: dict, name: str, limits: np.ndarray, *, q: np.ndarray | None = None, z: np.ndarray | None = None) -> np.ndarray:
    """The published list of layers written down once more, on the raw state: latents of q, or joints of z."""
    def layers(x: torch.Tensor, body: str, last: str) -> torch.Tensor:
        for i in (0, 3, 6):
            x = functional.linear(x, state[f"{name}.{body}.{i}.weight"], state[f"{name}.{body}.{i}.bias"])
            x = functional.layer_norm(x, x.shape[-1:], state[f"{name}.{body}.{i + 1}.weight"], state[f"{name}.{body}.{i + 1}.bias"]).relu()
        return functional.linear(x, state[f"{name}.{last}.weight"], state[f"{name}.{last}.bias"])

    low, high = (torch.tensor(x, dtype=torch.float32) for x in limits)
    if q is not None:
        u = (2.0 * (torch.tensor(q, dtype=torch.float32) - low) / (high - low) - 1.0).clamp(-1.0, 1.0)
        return layers(u, "hand_encoder_backbone", "hand_mean_head").numpy()
    u = layers(torch.tensor(z, dtype=torch.float32), "hand_decoder", "hand_decoder.9").tanh()
    return (low + 0.5 * (u + 1.0) * (high - low)).numpy()


def compare_with_the_original(file: Path, folder: Path, side: str) -> None:
    state, bundle = torch.load(file, weights_only=True)["autoencoders"], load_bundle(folder)
    rng = np.random.default_rng(8)
    for robot, name in AS_UPSTREAM.items():
        e = bundle.embodiments[f"{side}_{robot}"]
        limits = np.array([e.lower_rad, e.upper_rad])
        assert e.joints == UPSTREAM[name].names
        q = rng.uniform(limits[0] - 0.1, limits[1] + 0.1, (200, len(e.joints)))
        z = published(state, name, limits, q=q)
        assert np.abs(run_rows(bundle.sessions[f"{side}_{robot}/encoder"], q) - z).max() <= 1e-5
        z = np.concatenate([z, 3.0 * rng.standard_normal((100, 32))])
        assert np.abs(run_rows(bundle.sessions[f"{side}_{robot}/decoder"], z) - published(state, name, limits, z=z)).max() <= 1e-5


def test_decodes_as_the_published_layers(made: tuple[Path, Path]) -> None:
    compare_with_the_original(*made, side="right")


@pytest.mark.skipif(not RELEASED.is_file(), reason="the released checkpoint is not beside this checkout")
def test_the_released_checkpoint_decodes_as_the_original(tmp_path: Path) -> None:
    import_dexlatent(RELEASED, tmp_path / "dexlatent")
    for side in ("right", "left"):
        compare_with_the_original(RELEASED, tmp_path / "dexlatent", side)
    bundle = load_bundle(tmp_path / "dexlatent", LoadOptions(cell=load_cell("xarm_bimanual", left_hand="ability", right_hand="dexh13")))
    assert "Copyright (c) 2026 Yutong Liang" in (tmp_path / "dexlatent" / "LICENSE").read_text(encoding="utf-8")
    assert bundle.manifest.licence.upstream.endswith("DexLatent")


def test_the_dexh13_with_thirteen_motors_is_the_projected_original(made: tuple[Path, Path]) -> None:
    """Followers are filled in before the encoder, and projected onto what the hardware can do after the decoder."""
    bundle = load_bundle(made[1])
    free, own = bundle.embodiments["right_dexh13_free"].joints, bundle.embodiments["right_dexh13"].joints
    assert set(own) == set(load_robot("dexh13").actuated) and len(free) == 16
    z = np.random.default_rng(1).standard_normal((50, 32)).astype(np.float32)
    full = dict(zip(free, run_rows(bundle.sessions["right_dexh13_free/decoder"], z).T, strict=True))
    for name, column in zip(own, run_rows(bundle.sessions["right_dexh13/decoder"], z).T, strict=True):
        follower = name.replace("_2", "_3") if name.endswith("_2") and not name.startswith("thumb") else name
        np.testing.assert_allclose(column, 0.5 * (full[name] + full[follower]), atol=1e-5)
    q = np.random.default_rng(2).uniform(0.0, 0.3, (20, 13)).astype(np.float32)
    filled = np.stack([q[:, own.index(j if j in own else j.replace("_3", "_2"))] for j in free], axis=1)
    latents = [run_rows(bundle.sessions[f"right_{name}/encoder"], x) for name, x in (("dexh13", q), ("dexh13_free", filled))]
    np.testing.assert_allclose(*latents, atol=1e-5)


def test_limits_that_are_not_the_hardwares_are_named(made: tuple[Path, Path]) -> None:
    embodiments = load_bundle(made[1]).embodiments
    ability = embodiments["left_ability"]
    assert set(ability.limits_differ) == set(ability.joints) and ability.upper_rad[ability.joints.index("index_q1")] == pytest.approx(2.0943951)
    assert set(embodiments["right_dexh13"].limits_differ) == {"index_joint_2", "middle_joint_2", "ring_joint_2"}
    assert embodiments["right_inspire"].limits_differ == embodiments["right_xhand1"].limits_differ == ()
    for hand in ("ability", "dexh13"):  # accepted by a cell that mounts them
        load_bundle(made[1], LoadOptions(cell=load_cell("xarm_bimanual", left_hand=hand, right_hand=hand)))


def test_every_joint_is_one_of_ours() -> None:
    for robot in ("xhand1", "ability", "inspire", "dexh13"):
        assert set(HANDS[robot]) == set(load_robot(robot).actuated)


def _drop(payload: dict) -> None:
    del payload["autoencoders"]["xarm7_paxini_right.hand_decoder.9.bias"]


def _reshape(payload: dict) -> None:
    payload["autoencoders"]["xarm7_ability_right.hand_mean_head.weight"] = torch.zeros((16, 64))


def _double(payload: dict) -> None:
    key = "xarm7_xhand_right.hand_encoder_backbone.0.weight"
    payload["autoencoders"][key] = payload["autoencoders"][key].double()


def _not_finite(payload: dict) -> None:
    payload["autoencoders"]["xarm7_inspire_right.hand_decoder.4.bias"][3] = float("nan")


def _extra(payload: dict) -> None:
    payload["autoencoders"]["xarm7_leap_right.hand_mean_head.bias"] = torch.zeros(32)


def _hands(payload: dict) -> None:
    payload["hand_names"] = payload["hand_names"][::-1]


def _no_weights(payload: dict) -> None:
    del payload["autoencoders"]


@pytest.mark.parametrize(("spoil", "key", "expected"), [
    (_drop, "xarm7_paxini_right.hand_decoder.9.bias", r"\(16,\)"), (_reshape, "xarm7_ability_right.hand_mean_head.weight", r"\(16, 64\).*\(32, 64\)"),
    (_double, "xarm7_xhand_right.hand_encoder_backbone.0.weight", "float64.*float32"),
    (_not_finite, "xarm7_inspire_right.hand_decoder.4.bias", "finite"), (_extra, "xarm7_leap_right.hand_mean_head.bias", "unknown"),
    (_hands, "hand_names", "paxini.*xhand.*expected"), (_no_weights, "autoencoders", "missing"),
])
def test_another_layout_is_refused_by_its_key(tmp_path: Path, spoil: Callable[[dict], None], key: str, expected: str) -> None:
    payload = copy.deepcopy(make_payload())
    spoil(payload)
    with pytest.raises(BundleError, match=f"{key}.*{expected}") as caught:
        import_dexlatent(save(tmp_path, payload), tmp_path / "dexlatent")
    assert caught.value.code == "checkpoint_refused" and not (tmp_path / "dexlatent").exists()


class _Trap:
    """Writes a file when it is unpickled the unsafe way."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple:
        return Path.touch, (self.place,)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    file = save(tmp_path, {**make_payload(), "config": _Trap(tmp_path / "sprung")})
    with pytest.raises(BundleError, match="without running code"):
        import_dexlatent(file, tmp_path / "dexlatent")
    assert not (tmp_path / "sprung").exists()
    pickle.loads(pickle.dumps(_Trap(tmp_path / "sprung")))  # noqa: S301 - the trap itself works
    assert (tmp_path / "sprung").exists()


def test_no_licence_text_and_no_file_are_refused(tmp_path: Path) -> None:
    file = save(tmp_path, make_payload())
    (tmp_path / "LICENSE").unlink()
    with pytest.raises(BundleError, match="LICENSE does not exist"):
        import_dexlatent(file, tmp_path / "dexlatent")
    with pytest.raises(BundleError, match="nothing.pt cannot be read"):
        import_dexlatent(tmp_path / "nothing.pt", tmp_path / "dexlatent")


def test_the_command_says_where_the_bundle_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(save(tmp_path, make_payload())), "--out", str(tmp_path / "dexlatent")]) == 0
    assert "hash" in capsys.readouterr().out and (tmp_path / "dexlatent" / "manifest.yaml").is_file()
