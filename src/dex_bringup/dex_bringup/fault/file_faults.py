# SPDX-License-Identifier: Apache-2.0
"""Faults of what is read and written: model bundles, hostile payloads, recordings, a full disk, configuration, a second start."""

from __future__ import annotations

import io
import os
import resource
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml

from dex_bringup.arguments import check_arguments
from dex_bringup.claim import AlreadyRunningError, claim_cell
from dex_bringup.fault.play import Seen, Stage, Unexpected, expect
from dex_bringup.resolve import resolve, resolve_cell
from dex_core.bundle import LoadOptions, load_bundle
from dex_core.bundle.hashes import sha256_file
from dex_core.bundle.probes import unpack_cases
from dex_core.bundle.testing import write_fixture_pair
from dex_core.config import find_share, load_cell
from dex_core.errors import BundleError, ConfigError, DexError
from dex_eval.bag import BagError, Recording, find_mcap
from dex_eval.bag_writer import BagWriter, RecordingError
from dex_eval.episode import load_episode
from dex_sim.xarm_controller_wire import FrameReader, WireError

DISK_BYTES = 300_000


def _refusal(kind: type[DexError], action: Callable[[], object], what: str) -> DexError:
    """The error that ``action`` must raise; Unexpected when it does not."""
    try:
        action()
    except kind as error:
        return error
    raise Unexpected(f"{what}: taken as if nothing were wrong")


def corrupted_model(stage: Stage) -> Seen:
    """F32: each file truncated, flipped, missing; weights of NaN; another hand; a name that is nowhere."""
    cell = stage.cell
    with stage.folder() as folder:
        for path in write_fixture_pair(folder / "good", cell):
            load_bundle(path, LoadOptions(cell=cell))
        name = Path(cell.policy.bundle).name
        files = list(yaml.safe_load((folder / "good" / name / "manifest.yaml").read_text())["files"])
        flipped = lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]  # noqa: E731
        damages = {"truncated": lambda data: data[: len(data) // 2], "flipped": flipped, "missing": None}
        tried = 0
        for how, damage in damages.items():
            for file in files:
                tried += 1
                copy = _copy(folder, f"{how}{tried}")
                target = copy / name / file
                target.unlink() if damage is None else target.write_bytes(damage(target.read_bytes()))
                error = _refusal(BundleError, lambda c=copy: load_bundle(c / name, LoadOptions(cell=cell)), f"{file} {how}")
                expect(Path(file).name in str(error), f"{file} {how}: the refusal does not name it: {error}")
        codes = [f"NaN weights [{_nan_weights(_copy(folder, 'nan') / name, cell)}]"]
        other = load_cell(stage.cell_name, hand="leap" if cell.interface("left_hand").robot.name != "leap" else "ability")
        refused = _refusal(DexError, lambda: load_bundle(folder / "good" / name, LoadOptions(cell=other)), "another hand")
        codes.append(f"other hand [{refused.code}]")
        codes.append(f"missing [{_refusal(DexError, lambda: load_bundle(folder / 'nowhere'), 'a folder that is not there').code}]")
    return Seen(f"{tried} damaged files refused, each by name; " + ", ".join(codes) + "; nothing is downloaded instead")


def _copy(folder: Path, name: str) -> Path:
    shutil.copytree(folder / "good", folder / name)
    return folder / name


def _nan_weights(bundle: Path, cell: object) -> str:
    """All weights of every graph NaN, hashes made true again as by somebody who did it on purpose."""
    import onnx
    from onnx import numpy_helper

    for path in bundle.glob("graphs/*.onnx"):
        model = onnx.load(str(path))
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if np.issubdtype(values.dtype, np.floating):
                tensor.CopyFrom(numpy_helper.from_array(np.full_like(values, np.nan), tensor.name))
        path.write_bytes(model.SerializeToString())
    manifest = bundle / "manifest.yaml"
    data = yaml.safe_load(manifest.read_text())
    for file, entry in data["files"].items():
        entry.update(bytes=(bundle / file).stat().st_size, sha256=sha256_file(bundle / file))
    manifest.write_text(yaml.safe_dump(data, sort_keys=False))
    return _refusal(BundleError, lambda: load_bundle(bundle, LoadOptions(cell=cell)), "weights of NaN").code


def hostile(stage: Stage) -> Seen:
    """F33: pickle in YAML and npz, a zip bomb, a frame that announces gigabytes, a chunk whose size is a lie."""
    seen = []
    with stage.folder() as folder:
        path = folder / "cell.yaml"
        path.write_text("!!python/object/apply:os.system ['touch " + str(folder / "owned") + "']\n")
        seen.append(f"YAML object [{_refusal(ConfigError, lambda: load_cell(path), 'a YAML object').code}]")
        blob = io.BytesIO()
        np.savez(blob, **{"0/in/x": np.array([_Owned(folder / "owned")], dtype=object)})
        seen.append(f"pickle [{_refusal(BundleError, lambda: unpack_cases(blob.getvalue(), 'golden'), 'a pickle').code}]")
        expect(not (folder / "owned").exists(), "foreign code ran")
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("0/in/x.npy", "w", force_zip64=True) as member:
        for _ in range(600):
            member.write(bytes(1 << 20))
    packed = bomb.getvalue()
    seen.append(f"zip bomb of {len(packed) >> 10} KiB [{_refusal(BundleError, lambda: unpack_cases(packed, 'golden'), 'a zip bomb').code}]")
    try:
        FrameReader().feed(struct.pack(">HHHB", 1, 2, 0xFFFF, 1))
    except WireError:
        seen.append("announced length: connection closed")
    else:
        raise Unexpected("a frame that announces 64 KiB was waited for")
    return Seen("refused before anything is made of it: " + ", ".join(seen))


class _Owned:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._path),)


def malformed_recording(stage: Stage) -> Seen:
    """F34: cut, not MCAP, empty, a topic or metadata.yaml missing, nothing there."""
    with stage.folder() as folder:
        good = _small_bag(folder / "bag")
        (good / "metadata.yaml").unlink()
        expect(Recording(good).counts == {"/a": 200}, "metadata.yaml is needed")
        data = find_mcap(good).read_bytes()
        (folder / "cut.mcap").write_bytes(data[: len(data) * 6 // 10])
        cut = Recording(folder / "cut.mcap")
        expect(cut.truncated and 0 < cut.counts["/a"] < 200, "the cut was not noticed")
        (folder / "other.mcap").write_bytes(b"SQLite format 3\x00" * 10)
        (folder / "none.mcap").write_bytes(b"")
        codes = {
            "not MCAP": _refusal(BagError, lambda: Recording(folder / "other.mcap"), "a database").code,
            "no message": _refusal(BagError, lambda: Recording(folder / "none.mcap"), "nothing").code,
            "not there": _refusal(BagError, lambda: Recording(folder / "nowhere"), "nowhere").code,
            "topic missing": _refusal(BagError, lambda: load_episode(Recording(good), stage.cell), "a recording of something else").code,
        }
    return Seen("; ".join(f"{what} [{code}]" for what, code in codes.items()) + f"; a cut one says so and gives {cut.counts['/a']} of 200 messages")


def _small_bag(folder: Path) -> Path:
    writer = BagWriter(folder)
    writer.add_topic("/a", "std_msgs/msg/String", [])
    for k in range(200):
        writer.write("/a", b"\x00\x01\x00\x00" + (6).to_bytes(4, "little") + b"%05d\x00" % k, 1000 + k, 1000)
        if k % 10 == 9:
            writer.flush()
    writer.close()
    return folder


def full_disk(stage: Stage) -> Seen:
    """F35: the disk takes no more, and a folder that may not be written."""
    with stage.folder() as folder:
        writer = BagWriter(folder / "bag")
        writer.add_topic("/a", "std_msgs/msg/String", [])
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (DISK_BYTES, hard))
        rng = np.random.default_rng(0)
        try:
            error = _refusal(RecordingError, lambda: _fill(writer, rng), "a full disk")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        writer.abandon()
        kept = Recording(folder / "bag").counts["/a"]
        (folder / "file").write_text("")
        denied = _refusal(RecordingError, lambda: BagWriter(folder / "file" / "bag"), "a folder below a file")
    return Seen(f"full: [{error.code}] {str(error).rsplit(': ', 1)[-1]}, {kept} messages stay readable; no permission: [{denied.code}]")


def _fill(writer: BagWriter, rng: np.random.Generator) -> None:
    for k in range(4000):
        writer.write("/a", rng.bytes(1000), k, k)
        if k % 20 == 0:
            writer.flush()


def bad_config(stage: Stage) -> Seen:
    """F36: unknown hand, key and argument, limits inverted, a wrong type, a real cell without addresses."""
    text, tried = find_share("config", "cells", f"{stage.cell_name}.yaml").read_text(), 0
    for arguments in ({"hand": "claw"}, {"seed": "-1"}, {"colour": "red"}, {"sim": "false"}, {"namespace": "Bad Name"}, {"faults": "nothing"}):
        tried += 1
        error = _refusal(ConfigError, lambda a=arguments: resolve_cell(stage.cell_name, check_arguments(a)), f"{arguments}")
        expect(any(word in str(error) for word in ("allowed", "give")), f"{arguments}: {error}")
    with stage.folder() as folder:
        for what, change in _CHANGES.items():
            tried += 1
            data = yaml.safe_load(text)
            change(data)
            path = folder / "cell.yaml"
            path.write_text(yaml.safe_dump(data, sort_keys=False))
            error = _refusal(ConfigError, lambda p=path: resolve(p, {}, folder / "run"), what)
            expect("cell.yaml" in str(error) or "claw" in str(error), f"{what}: neither file nor value is named: {error}")
    return Seen(f"{tried} of {tried} refused before anything starts, each naming file or argument, key and what is allowed")


def _first(data: dict) -> dict:
    return next(iter(data["interfaces"].values()))


_CHANGES: dict[str, Callable[[dict], object]] = {
    "unknown key": lambda data: data.update(colour="red"),
    "unknown robot": lambda data: _first(data).update(robot="claw"),
    "wrong type": lambda data: data.update(control={**(data.get("control") or {}), "rate_hz": "fast"}),
    "not a number": lambda data: data.update(control={**(data.get("control") or {}), "rate_hz": float("nan")}),
    "below its range": lambda data: data.update(control={**(data.get("control") or {}), "state_timeout_s": -1.0}),
    "a list for a mapping": lambda data: data.update(interfaces=["left_arm"]),
}


def second_start(stage: Stage) -> Seen:
    """F40: the same cell again, and another cell that uses one of its devices."""
    with stage.folder() as folder:
        cell = _apart(stage, folder)
        claim = claim_cell(cell, "fault_f40")
        try:
            same = _refusal(AlreadyRunningError, lambda: claim_cell(cell, "fault_f40"), "the same cell twice")
            device = _refusal(AlreadyRunningError, lambda: claim_cell(cell, "fault_f40_other"), "a device twice")
        finally:
            claim.release()
        claim_cell(cell, "fault_f40").release()
    expect("process" in str(same) and "process" in str(device), f"{same}; {device}")
    return Seen(f"both refused [{same.code}], naming the process that has it; free again once that ends")


def _apart(stage: Stage, folder: Path) -> object:
    """The cell at addresses of its own, so that one that runs is not in the way."""
    from dex_bringup.testing import private_cell

    return load_cell(private_cell(folder, 40, stage.cell_name, host=201))
