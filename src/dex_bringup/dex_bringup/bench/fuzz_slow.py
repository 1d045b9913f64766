# SPDX-License-Identifier: Apache-2.0
"""Fuzz targets that cost more per case: chunks through the gate, configuration, manifests, golden cases, recordings, the state line."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dex_bringup.bench.fuzz_targets import Target
from dex_bringup.fault.rig import GateRig
from dex_core.bundle import parse_manifest
from dex_core.bundle.graph import check_interface, check_model
from dex_core.bundle.probes import unpack_cases
from dex_core.bundle.stats import parse_stats
from dex_core.config import find_share, load_cell
from dex_core.errors import DexError
from dex_core.runtime import OnnxSession
from dex_core.runtime.archive import check_archive
from dex_core.types import ActionChunk, ActionSlice

STEPS = 8
RESTART_EVERY = 2000


def chunk_to_command() -> Target:
    """Chunks whose numbers, stamp, sequence and period are broken, through the gate to the command (the spy looks)."""
    cell = load_cell("xarm_bimanual")
    width = sum(len(part.names) for part in cell.interfaces.values())
    rig, cases = GateRig(cell).run(), 0
    head = np.array([0.0, 1.0, 0.05], dtype=np.float64)

    def seed() -> bytes:
        return head.tobytes() + np.tile(rig.joints, (STEPS, 1)).astype(np.float32).tobytes()

    def feed(data: bytes) -> None:
        nonlocal rig, cases
        cases += 1
        if not rig.running or cases % RESTART_EVERY == 0:
            rig = GateRig(cell).run()
        size = 24 + 4 * STEPS * width
        if len(data) < 24:
            return
        age_s, step, dt_s = np.frombuffer(data[:24], dtype=np.float64)
        body = np.frombuffer(data[24:size].ljust(size - 24, b"\xff"), dtype=np.float32).reshape(STEPS, width)
        stamp = rig.wall_ns - int(np.clip(np.nan_to_num(age_s), -1e6, 1e6) * 1e9)
        try:
            chunk = _chunk(rig, body, stamp, rig.gate.intake.sequence + int(np.clip(np.nan_to_num(step), 0, 5)), float(dt_s))
        except DexError as error:
            rig.gate.refuse_chunk("g1", cases, error)
        else:
            rig.send(chunk)
        rig.step(0.01)

    return Target("chunk to command", [seed()], feed, 0.2)


def _chunk(rig: GateRig, body: np.ndarray, stamp_ns: int, sequence: int, dt_s: float) -> ActionChunk:
    parts = tuple(ActionSlice(name, "joint_position", body[:, rig.columns(name)], part.names) for name, part in rig.cell.interfaces.items())
    return ActionChunk(stamp_ns, "g1", sequence, dt_s, 1.0, parts, "model", {"observed": stamp_ns})


def chunk_messages() -> Target:
    """ActionChunk messages as the graph delivers them: names, spaces, sizes and numbers broken."""
    from dex_msgs.msg import ActionChunk as Message
    from dex_ros.convert import chunk_from_msg, chunk_to_msg

    rig = GateRig(load_cell("xarm_bimanual"))
    good: Message = chunk_to_msg(rig.chunk(0, steps=4))
    part = good.slices[0]
    names, data, rows, cols = list(part.names), part.data, part.rows, part.cols
    seed = bytes([rows, cols, 0, 0]) + bytes(data)

    def feed(broken: bytes) -> None:
        if len(broken) < 4:
            return
        part.rows, part.cols = broken[0], broken[1]
        part.names = [*names[: len(names) - broken[2] % 3], *names[: broken[3] % 2]]
        part.data = np.frombuffer(broken[4 : 4 + (len(broken) - 4) // 4 * 4], dtype=np.float32)
        chunk = chunk_from_msg(good)
        assert all(np.isfinite(s.data).all() for s in chunk.slices)

    return Target("chunk messages", [seed], feed, 0.3)


def configuration() -> Target:
    """Cell files: bytes of YAML broken. Whatever is taken must be a whole cell."""
    folder = TemporaryDirectory(prefix="dex_fuzz_")
    path = Path(folder.name) / "cell.yaml"
    text = find_share("config", "cells", "xarm_bimanual.yaml").read_bytes()

    def feed(data: bytes) -> None:
        path.write_bytes(data)
        assert load_cell(path).joint_names

    return Target("cell files", [text], feed, 0.005, close=folder.cleanup)


def manifests() -> Target:
    """Manifests of bundles: bytes of YAML broken."""
    folder = TemporaryDirectory(prefix="dex_fuzz_")
    path = Path(folder.name) / "manifest.yaml"
    text = (find_share("models", "xl_vla_tabletop", "manifest.yaml")).read_bytes()

    def feed(data: bytes) -> None:
        path.write_bytes(data)
        assert parse_manifest(path).name

    return Target("bundle manifests", [text], feed, 0.005, close=folder.cleanup)


def golden_cases() -> Target:
    """Golden cases and statistics of bundles: zipped arrays and JSON broken."""
    blob = io.BytesIO()
    np.savez_compressed(blob, **{"0/in/x": np.arange(64, dtype=np.float32), "0/out/y": np.ones(8, dtype=np.float32)})
    stats = find_share("models", "xl_vla_tabletop", "stats.json").read_bytes()

    def feed(data: bytes) -> None:
        if data[:1] == b"P":
            unpack_cases(data, "golden")
        else:
            parse_stats(data, "stats")

    return Target("golden cases and statistics", [blob.getvalue(), stats], feed, 0.1)


def model_files() -> Target:
    """Graphs of a bundle: an ONNX file and a torch.export archive broken, looked at, opened and run as the loader does."""
    folder = find_share("models", "hand_latents")
    manifest = parse_manifest(folder / "manifest.yaml")
    name = "left_inspire/decoder"
    graph = manifest.graphs[name]
    latent = {graph.inputs[0].name: np.zeros((1, int(graph.inputs[0].shape[1])), np.float32)}

    def feed(data: bytes) -> None:
        if data[:2] == b"PK":
            check_archive(data, "graph.pt2")
            return
        check_model(name, graph, data, folder, manifest)
        session = OnnxSession(name, graph, data)
        check_interface(session)
        session.run(latent)

    return Target("model files", [(folder / graph.file).read_bytes(), _archive()], feed, 0.005)


def _archive() -> bytes:
    """The members of a torch.export file of one operator."""
    model = '{"graph_module": {"graph": {"nodes": [{"target": "torch.ops.aten.tanh.default", "inputs": []}]}}}'
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for path, text in (
            ("archive_format", "pt2"),
            ("models/model.json", model),
            ("data/weights/weight_0", "\0" * 64),
            ("data/weights/model_weights_config.json", '{"config": {"w": {"path_name": "weight_0", "use_pickle": false}}}'),
            ("data/constants/model_constants_config.json", '{"config": {}}'),
        ):
            made.writestr(f"net/{path}", text)
    return out.getvalue()


def recordings() -> Target:
    """MCAP files broken anywhere."""
    from dex_eval.bag import Recording
    from dex_eval.bag_writer import BagWriter

    folder = TemporaryDirectory(prefix="dex_fuzz_")
    writer = BagWriter(Path(folder.name) / "bag", {"note.txt": b"hello"})
    writer.add_topic("/a", "std_msgs/msg/String", [])
    for k in range(20):
        writer.write("/a", b"\x00\x01\x00\x00" + (6).to_bytes(4, "little") + b"%05d\x00" % k, 1000 + k, 1000)
    writer.close()
    path = Path(folder.name) / "broken.mcap"

    def feed(data: bytes) -> None:
        path.write_bytes(data)
        Recording(path)

    return Target("recordings", [writer.path.read_bytes()], feed, 0.01, close=folder.cleanup)


class _Line:
    """A socket that has received some bytes and will receive no more."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def settimeout(self, _seconds: float) -> None:
        """Nothing here waits."""

    def recv(self, count: int) -> bytes:
        """As a socket whose other end closed."""
        return self._data.read(count)


def state_line() -> Target:
    """The camera's state line: length, JSON header, payload."""
    from dex_sim.state_wire import receive

    header = b'{"kind": "state", "stamp_ns": 1, "epoch": 1, "looks": false, "bytes": 16}'
    seed = len(header).to_bytes(4, "big") + header + bytes(16)
    return Target("camera state line", [seed], lambda data: receive(_Line(data), timeout_s=1.0), 0.5)  # type: ignore[arg-type]


MAKERS = (chunk_to_command, chunk_messages, configuration, manifests, golden_cases, model_files, recordings, state_line)
