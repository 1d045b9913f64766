# SPDX-License-Identifier: Apache-2.0
"""A bundle against the cell that will use it, and against what the cell asks of bundles: both values are told, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dex_core.bundle import LoadOptions, load_bundle, opening, verify_bundle
from dex_core.bundle.files import SIGNATURES
from dex_core.bundle.hashes import sha256_bytes
from dex_core.bundle.manifest import Graph, Manifest
from dex_core.bundle.signature import new_key, sign
from dex_core.config import CellConfig, read_description
from dex_core.config.bundles import BundleRules
from dex_core.decode.mounted import MountedHand
from dex_core.errors import BundleError, ConfigError
from dex_core.policy.runtime import mounted_hands
from dex_core.runtime import OnnxSession, Settings

from .conftest import LATENT, POLICY, edit, refusal, reseal


def with_camera(cell: CellConfig, **changes: Any) -> CellConfig:
    return replace(cell, cameras={"front": replace(cell.cameras["front"], **changes)})


def test_camera_that_is_not_there_or_of_another_size(root: Path, cell: CellConfig) -> None:
    error = refusal(root / POLICY, replace(cell, cameras={"side": cell.cameras["front"]}))
    assert error.code == "camera_mismatch" and "'front'" in str(error) and "'side'" in str(error)
    error = refusal(root / POLICY, with_camera(cell, output_wh=(640, 480)))
    assert error.code == "camera_mismatch" and "320 x 240" in str(error) and "640 x 480" in str(error)


def test_chunks_that_end_before_the_next_one_comes(root: Path, cell: CellConfig) -> None:
    slow = replace(cell, policy=replace(cell.policy, replan_period_s=3.0))
    error = refusal(root / POLICY, slow)
    assert error.code == "timing_invalid" and "3.2 s" in str(error) and "3.5 s" in str(error)


def test_another_urdf_is_a_warning(root: Path, cell: CellConfig) -> None:
    path = root / LATENT / "embodiments/left_inspire.yaml"
    data = yaml.safe_load(path.read_text())

    def told(digest: str) -> str:
        path.write_text(yaml.safe_dump({**data, "urdf_sha256": digest}))
        reseal(root / LATENT)
        return next(r.detail for r in load_bundle(root / LATENT, LoadOptions(cell=cell)).report if r.number == 11)

    assert "WARNING" not in told(sha256_bytes(read_description(cell.interface("left_hand").robot.urdf, "left").encode()))
    assert "WARNING: the URDF of ['left_inspire']" in told("0" * 64)


def test_a_decoder_that_runs_with_another_graph(root: Path, cell: CellConfig) -> None:
    hands: Mapping[str, MountedHand] = mounted_hands(cell, load_bundle(root / POLICY))
    bundle = load_bundle(root / POLICY, LoadOptions(cell=cell, mounted=hands))
    assert "2 running decoder(s)" in next(r.detail for r in bundle.report if r.number == 15)
    other = {**hands, "left": replace(hands["left"], decoder_sha256="ab" * 32)}
    error = refusal(root / POLICY, cell, mounted=other)
    assert error.code == "space_mismatch" and "abababababababab" in str(error) and hands["left"].decoder_sha256[:16] in str(error)
    error = refusal(root / POLICY, cell, mounted={"left": replace(hands["left"], hand="leap")})
    assert error.code == "space_mismatch" and "left_leap" in str(error) and "left_inspire" in str(error)


TOKENS = {
    "vocabulary": 32531, "special": {"begin": 32001}, "ranges": {"visual": [32003, 32018], "motion": [32019, 32530]},
    "codes": {"visual": 16, "motion": 512}, "layout": {"visual": 3, "motion": 4},
}
TOKEN_CASES: dict[str, Callable[[dict], Any]] = {
    "no key": lambda d: d.pop("tokens"),
    "overlap": lambda d: d["tokens"]["ranges"].update(visual=[32004, 32019]),
    "special inside a range": lambda d: d["tokens"]["special"].update(begin=32010),
    "outside the vocabulary": lambda d: d["tokens"].update(vocabulary=32530),
    "falling": lambda d: d["tokens"]["ranges"].update(visual=[32018, 32003]),
    "codebook of another size": lambda d: d["tokens"]["codes"].update(motion=8192),
    "codebook of no range": lambda d: d["tokens"]["codes"].update(sound=4),
    "layout too short": lambda d: d["tokens"]["layout"].update(motion=3),
    "layout of no range": lambda d: d["tokens"]["layout"].update(sound=0),
    "tokenizer without hash": lambda d: d["tokens"].update(tokenizer="tokenizer.json"),
    "another tokenizer": lambda d: d["tokens"].update(tokenizer="tokenizer.json", tokenizer_sha256="0" * 64),
}


def give_tokens(folder: Path) -> None:
    """The left arm's 7 columns are tokens now."""
    (folder / "tokenizer.json").write_text("{}")

    def change(data: dict) -> None:
        chosen = next(s for s in data["graphs"]["policy"]["outputs"][0]["slices"] if s["interface"] == "left_arm")
        chosen.update(space="token", names=[], unit="")
        data["tokens"] = TOKENS
        data["files"]["tokenizer.json"] = {"bytes": 0, "sha256": "0" * 64}

    edit(folder, change)
    reseal(folder)


@pytest.mark.parametrize("case", TOKEN_CASES)
def test_token_mutations(root: Path, case: str) -> None:
    give_tokens(root / POLICY)
    bundle, _ = verify_bundle(root / POLICY)
    assert next(r for r in bundle.report if r.number == 13).ok, next(r for r in bundle.report if r.ok is False)
    edit(root / POLICY, TOKEN_CASES[case])
    assert refusal(root / POLICY).code == "tokens_invalid"


def test_memory_is_told_and_bounded(root: Path) -> None:
    bundle = load_bundle(root / LATENT)
    told = next(r for r in bundle.report if r.number == 20)
    assert told.ok and "MiB resident before" in told.detail
    error = refusal(root / LATENT, rules=BundleRules(memory_mb=1))
    assert error.code == "no_memory" and "memory_mb allows 1" in str(error)


def test_memory_taken_while_it_loads_counts_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dex_core.bundle import memory

    held = iter([10, 10, 500])
    monkeypatch.setattr(memory, "resident_bytes", lambda: next(held, 500) * memory.MIB)
    error = refusal(root / LATENT, rules=BundleRules(memory_mb=100))
    assert error.code == "no_memory" and "10 MiB resident before, 500 MiB after" in str(error)


class Far:
    """A session that runs elsewhere: the local one, with what a wire can do to it."""

    def __init__(self, session: OnnxSession, **changes: Any) -> None:
        self._session, self._changes = session, changes
        self.name, self.spec, self.provider, self.closed = session.name, session.spec, "oip", 0

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._changes.get("run", self._session.run)(inputs)

    def described_inputs(self) -> list:
        return self._changes.get("inputs", self._session.described_inputs())

    def described_outputs(self) -> list:
        return self._session.described_outputs()

    def stamps_ns(self) -> Mapping[str, int]:
        return self._changes.get("stamps", {"sent": 100, "received": 200})

    def close(self) -> None:
        self.closed += 1


def opener(**changes: Any) -> Callable[..., Far]:
    def open_session(name: str, graph: Graph, manifest: Manifest, model: bytes | str) -> Far:
        return Far(OnnxSession(name, graph, model), **changes)

    return open_session


def test_every_check_goes_through_whatever_serves(root: Path, cell: CellConfig) -> None:
    bundle = load_bundle(root / POLICY, LoadOptions(cell=cell, open_session=opener()))
    assert bundle.provider == "oip" and all(r.ok for r in bundle.report) and not bundle.tunings
    assert "there and back by oip" in bundle.report[-1].detail
    bundle.close()
    assert bundle.sessions["policy"].closed == 1  # type: ignore[attr-defined]


def test_a_server_that_is_another_model(root: Path) -> None:
    wrong = [("image", "tensor(float)", ["B", 224, 224, 3])]
    assert refusal(root / POLICY, open_session=opener(inputs=wrong)).code == "remote_mismatch"
    assert refusal(root / POLICY, open_session=opener(stamps={"sent": 200, "received": 100})).code == "remote_mismatch"

    def other_weights(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"chunk": np.full((len(inputs["image"]), 64, 78), 0.5, np.float32)}

    assert refusal(root / POLICY, open_session=opener(run=other_weights)).code == "parity_failed"

    def gone(inputs: object) -> dict:
        raise BundleError("nobody answers", code="policy_lost")

    assert refusal(root / POLICY, open_session=opener(run=gone)).code == "parity_failed"


def test_engines_of_each_bundle_lie_apart(root: Path, tmp_path: Path) -> None:
    rules = BundleRules(engine_cache=str(tmp_path / "engines"), fp16=True, tune=False)
    bundle = load_bundle(root / LATENT, LoadOptions(rules=rules, threads=3))
    assert all(s.settings == Settings(threads=3) for s in bundle.sessions.values()), "nothing of TensorRT on a CPU"
    settings = opening.settings_for(bundle, next(iter(bundle.manifest.graphs.values())), "tensorrt")
    assert settings.fp16 and Path(settings.engine_cache) == tmp_path / "engines" / bundle.hash[:16] and Path(settings.engine_cache).is_dir()


def test_signatures(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="signatures need requirements-sign.txt")
    folder, hash_before = root / LATENT, load_bundle(root / LATENT).hash
    keys = {name: new_key(tmp_path / f"{name}.pem") for name in ("ours", "theirs")}
    assert (tmp_path / "ours.pem").stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigError, match="not overwritten"):
        new_key(tmp_path / "ours.pem")
    trust = {name: BundleRules(trusted_keys=(key,)) for name, key in keys.items()}
    assert "unsigned" in str(error := refusal(folder, rules=trust["ours"])) and error.code == "signature_refused"
    sign(folder, hash_before, tmp_path / "theirs.pem")
    error = refusal(folder, rules=trust["ours"])
    assert error.code == "signature_refused" and keys["ours"][:16] in str(error) and keys["theirs"][:16] in str(error)
    sign(folder, hash_before, tmp_path / "ours.pem")
    for rules in (*trust.values(), BundleRules()):
        assert load_bundle(folder, LoadOptions(rules=rules)).hash == hash_before
    (folder / "LICENSE").write_text("another licence")
    reseal(folder)
    error = refusal(folder, rules=trust["ours"])
    assert error.code == "signature_refused" and hash_before in str(error)
    assert load_bundle(folder).hash != hash_before


FORGERIES: dict[str, Callable[[dict], Any]] = {
    "a flipped digit": lambda d: d["signatures"][0].update(signature="0" * 8 + d["signatures"][0]["signature"][8:]),
    "empty": lambda d: d["signatures"][0].update(signature=""),
    "no digits": lambda d: d["signatures"][0].update(signature="signed!"),
    "none": lambda d: d.update(signatures=[]),
    "an unknown key": lambda d: d.update(note="trust me"),
    "a list": lambda d: d.update(hash=["a"]),
}


@pytest.mark.parametrize("case", FORGERIES)
def test_forged_signatures(root: Path, tmp_path: Path, case: str) -> None:
    pytest.importorskip("cryptography", reason="signatures need requirements-sign.txt")
    folder, key = root / LATENT, new_key(tmp_path / "k.pem")
    sign(folder, load_bundle(folder).hash, tmp_path / "k.pem")
    data = yaml.safe_load((folder / SIGNATURES).read_text())
    FORGERIES[case](data)
    (folder / SIGNATURES).write_text(yaml.safe_dump(data))
    assert refusal(folder, rules=BundleRules(trusted_keys=(key,))).code == "signature_refused"


def test_a_signature_of_something_else_is_none_of_a_bundle(root: Path, tmp_path: Path) -> None:
    """The key signs other things too: the bare hash is not what a bundle's signature is over."""
    pytest.importorskip("cryptography", reason="signatures need requirements-sign.txt")
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    folder, key, digest = root / LATENT, new_key(tmp_path / "k.pem"), load_bundle(root / LATENT).hash
    bare = load_pem_private_key((tmp_path / "k.pem").read_bytes(), None).sign(digest.encode()).hex()  # type: ignore[call-arg, union-attr]
    (folder / SIGNATURES).write_text(yaml.safe_dump({"hash": digest, "signatures": [{"key": key, "signature": bare}]}))
    assert refusal(folder, rules=BundleRules(trusted_keys=(key,))).code == "signature_refused"


def test_rules_name_keys_and_hashes_in_full() -> None:
    for field in ("trusted_keys", "allow_pickle"):
        with pytest.raises(ConfigError, match="64 lower-case"):
            BundleRules(**{field: ("abc",)})
