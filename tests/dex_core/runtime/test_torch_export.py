# SPDX-License-Identifier: Apache-2.0
"""A real torch.export file, served as any graph is; and archives that are not what they should be, of which torch sees none."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from dex_core.bundle import LoadOptions, load_bundle, write_bundle
from dex_core.bundle.testing import write_fixture_pair
from dex_core.config import load_cell
from dex_core.config.bundles import BundleRules
from dex_core.errors import BundleError, DexError
from dex_core.runtime import Session
from dex_core.runtime.archive import check_archive
from dex_core.runtime.torch_export import TorchExportSession

from .conftest import SPEC


def archive(change: Callable[[dict[str, bytes]], None] = lambda members: None, method: int = zipfile.ZIP_STORED) -> bytes:
    """Members as torch writes them, with a model of one operator, and then changed."""
    model = {"graph_module": {"graph": {"nodes": [{"target": "torch.ops.aten.tanh.default", "inputs": []}]}}}
    members = {
        "archive_format": b"pt2", "archive_version": b"0", "byteorder": b"little", ".data/version": b"6\n",
        "models/model.json": json.dumps(model).encode(), "data/sample_inputs/model.pt": b"\x00" * 64, "data/weights/weight_0": b"\x00" * 128,
        "data/weights/model_weights_config.json": json.dumps({"config": {"w": {"path_name": "weight_0", "use_pickle": False}}}).encode(),
        "data/constants/model_constants_config.json": b'{"config": {}}',
    }
    change(members)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, blob in members.items():
            made.writestr(f"net/{name}", blob)
    return out.getvalue()


def operator(name: str) -> Callable[[dict[str, bytes]], None]:
    return lambda members: members.update({"models/model.json": json.dumps({"nodes": [{"target": name, "inputs": []}]}).encode()})


CASES: dict[str, Callable[[dict[str, bytes]], None]] = {
    "compiled library": lambda m: m.update({"data/aotinductor/model/x.so": b"\x7fELF"}),
    "custom object": lambda m: m.update({"data/constants/custom_obj_0": pickle.dumps(1)}),
    "opaque object": lambda m: m.update({"data/constants/opaque_obj_0": b"x"}),
    "script code": lambda m: m.update({"code/__torch__.py": b"x"}),
    "path upwards": lambda m: m.update({"../../etc/cron.d/x": b"x"}),
    "pickled weight": lambda m: m.update({"data/weights/model_weights_config.json": b'{"config": {"w": {"use_pickle": true}}}'}),
    "weight of no kind": lambda m: m.update({"data/weights/model_weights_config.json": b'{"config": {"w": {}}}'}),
    "no model": lambda m: m.pop("models/model.json"),
    "no JSON": lambda m: m.update({"models/model.json": b"{"}),
    "deep JSON": lambda m: m.update({"models/model.json": b"[" * 200_000}),
    "loads files": operator("torch.load"),
    "runs the shell": operator("torch.os.system"),
    "another library": operator("torch.ops.evil.run.default"),
    "not torch": operator("#extension"),
    "operator's attributes": operator("_operator.attrgetter.x.y"),
}


@pytest.mark.parametrize("case", CASES)
def test_archives_that_are_refused_unopened(case: str) -> None:
    assert "1 operators" in check_archive(archive(), "a.pt2")
    with pytest.raises(BundleError, match=r"a\.pt2") as caught:
        check_archive(archive(CASES[case]), "a.pt2")
    assert caught.value.code == "graph_refused"


def test_bombs_and_damage_are_refused() -> None:
    bomb = archive(lambda m: m.update({"data/weights/weight_1": b"\x00" * (64 << 20)}), zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1 << 20
    good = archive()
    for blob in (bomb, b"", b"PK", good[:-30], good[: len(good) // 2], b"\x80\x04" + good[2:]):
        with pytest.raises(BundleError) as caught:
            check_archive(blob, "a.pt2")
        assert caught.value.code == "graph_refused"


def saved(torch: object) -> bytes:
    """y = tanh(x W + b), any batch from 1 to 64."""

    class Net(torch.nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(8, 4)  # type: ignore[attr-defined]

        def forward(self, x: object) -> object:
            return torch.tanh(self.layer(x))  # type: ignore[attr-defined]

    torch.manual_seed(0)  # type: ignore[attr-defined]
    axis = torch.export.Dim("B", min=1, max=64)  # type: ignore[attr-defined]
    out = io.BytesIO()
    torch.export.save(torch.export.export(Net().eval(), (torch.randn(2, 8),), dynamic_shapes={"x": {0: axis}}), out)  # type: ignore[attr-defined]
    return out.getvalue()


@pytest.fixture(scope="module")
def program() -> bytes:
    return saved(pytest.importorskip("torch", reason="torch.export needs torch: requirements-learn.txt"))


def test_a_program_runs_as_any_session(program: bytes) -> None:
    session = TorchExportSession("a", SPEC, program)
    assert isinstance(session, Session) and session.provider == "cpu"
    (name, dtype, shape), = session.described_inputs()
    assert (name, dtype, shape[1:]) == ("x", "tensor(float)", [8]) and isinstance(shape[0], str)
    assert [n for n, _, _ in session.described_outputs()] == ["y"]
    given = np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)
    found = session.run({"x": given})["y"]
    assert found.shape == (5, 4) and np.allclose(found[2:3], session.run({"x": given[2:3]})["y"], atol=1e-6)
    for wrong in ({"x": given[:, :7]}, {"x": given.astype(np.float64)}, {}):
        with pytest.raises(DexError):
            session.run(wrong)


class Harm:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_sample_inputs_that_run_code_do_not(program: bytes, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    evil, out = io.BytesIO(), io.BytesIO()
    torch.save(((Harm(tmp_path / "ran"),), {}), evil)
    with zipfile.ZipFile(io.BytesIO(program)) as given, zipfile.ZipFile(out, "w") as made:
        for name in given.namelist():
            made.writestr(name, evil.getvalue() if name.endswith("sample_inputs/model.pt") else given.read(name))
    check_archive(out.getvalue(), "a.pt2")
    with pytest.raises(BundleError) as caught:
        TorchExportSession("a", SPEC, out.getvalue())
    assert caught.value.code == "graph_refused" and not (tmp_path / "ran").exists()
    torch.load(io.BytesIO(evil.getvalue()), weights_only=False)
    assert (tmp_path / "ran").exists()  # it would have


def test_a_bundle_of_a_program_is_read_only_when_its_hash_is_named(program: bytes, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    cell = load_cell("xarm_bimanual")
    write_fixture_pair(tmp_path / "made", cell)
    latents = tmp_path / "made" / Path(cell.policy.latent_bundle).name
    as_programs(torch, latents, tmp_path / "programs")
    hashes = [hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((tmp_path / "programs/graphs").glob("*.pt2"))]
    with pytest.raises(BundleError, match=r"policy: \{bundles: \{allow_pickle: \[[0-9a-f]{64}\]\}\}") as caught:
        load_bundle(tmp_path / "programs")
    assert caught.value.code == "format_refused"
    with pytest.raises(BundleError) as caught:
        load_bundle(tmp_path / "programs", LoadOptions(rules=BundleRules(allow_pickle=tuple(hashes[1:]))))
    assert caught.value.code == "format_refused" and hashes[0] in str(caught.value)
    bundle = load_bundle(tmp_path / "programs", LoadOptions(rules=BundleRules(allow_pickle=tuple(hashes))))
    assert all(isinstance(s, TorchExportSession) for s in bundle.sessions.values()) and all(r.ok for r in bundle.report)


def as_programs(torch: object, folder: Path, target: Path) -> None:
    """The latent fixture's autoencoders again, as torch programs."""
    import onnx
    from onnx import numpy_helper

    bundle = load_bundle(folder)
    data = yaml.safe_load((folder / "manifest.yaml").read_text())
    graphs, golden = {}, {}
    for name, session in bundle.sessions.items():
        weights = {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(bundle.contents[session.spec.file]).graph.initializer}
        tensor, = session.spec.inputs
        program = exported(torch, {k: torch.from_numpy(v.copy()) for k, v in weights.items()}, tensor.name, int(tensor.shape[1]))  # type: ignore[attr-defined]
        graphs[name] = program
        rng = np.random.default_rng(0)
        cases = [{tensor.name: (0.3 * rng.standard_normal((b, int(tensor.shape[1])))).astype(np.float32)} for b in (1, 3)]
        golden[name] = [(case, session.run(case)) for case in cases]
        data["graphs"][name].pop("file"), data["graphs"][name].pop("golden")
    data["runtime"]["formats"] = ["pt2"]
    data["name"] = target.name
    data.pop("files"), data.pop("schema")
    write_bundle(target, data, graphs=graphs, golden=golden, embodiments=bundle.embodiments, licence_text="Apache-2.0\n")


def exported(torch: object, weights: dict, name: str, width: int) -> bytes:
    class Coder(torch.nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            for key, value in weights.items():
                self.register_buffer(f"its_{key}", value)

    class Encoder(Coder):
        def forward(self, q: object) -> object:
            return ((q - self.its_middle) / self.its_half) @ self.its_wt  # type: ignore[operator]

    class Decoder(Coder):
        def forward(self, z: object) -> object:
            return torch.clip(z @ self.its_w, -1.0, 1.0) * self.its_half + self.its_middle  # type: ignore[attr-defined, operator]

    axis = torch.export.Dim("B", min=1, max=64)  # type: ignore[attr-defined]
    coder = {"q": Encoder, "z": Decoder}[name]().eval()
    program = torch.export.export(coder, (torch.zeros(2, width),), dynamic_shapes={name: {0: axis}})  # type: ignore[attr-defined]
    out = io.BytesIO()
    torch.export.save(program, out)  # type: ignore[attr-defined]
    return out.getvalue()
