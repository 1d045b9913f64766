# SPDX-License-Identifier: Apache-2.0
"""Slices tile their tensors, widths fit their spaces, and a policy's inputs are the ones an observation can fill."""

from __future__ import annotations

from dex_core import text
from dex_core.bundle import completion
from dex_core.bundle.flow import check_flow_tensors
from dex_core.bundle.manifest import Graph, Manifest, Slice, Tensor
from dex_core.bundle.picker import check_picker_tensors
from dex_core.bundle.segmentation import check_tensors
from dex_core.errors import BundleError
from dex_core.types import POSE_COLUMNS


def _fail(message: str) -> BundleError:
    return BundleError(message, code="layout_invalid")


def check_layout(manifest: Manifest) -> str:
    """Every tensor of every graph. Raises BundleError ``layout_invalid`` naming graph, tensor and columns."""
    for name, graph in manifest.graphs.items():
        for tensor in (*graph.inputs, *graph.outputs):
            _check_tensor(f"graph {name!r}: {tensor.name!r}", tensor)
    if manifest.kind == "latent_space":
        _check_latent_graphs(manifest)
    elif manifest.kind == "segmentation":
        check_tensors(manifest)
    elif manifest.kind == "completion":
        return completion.check_tensors(manifest)
    elif manifest.kind == "picker":
        check_picker_tensors(manifest)
    else:
        _check_policy_inputs(manifest, manifest.seeing_graph)
        (check_flow_tensors if manifest.flow else _check_policy_output)(manifest)
        _check_previous(manifest)
    return f"{sum(len(t.slices) for g in manifest.graphs.values() for t in (*g.inputs, *g.outputs))} slices tile their tensors"


def _check_tensor(where: str, tensor: Tensor) -> None:
    last = tensor.shape[-1]
    if tensor.names and (len(tensor.names) != last or len(set(tensor.names)) != last):
        raise _fail(f"{where}: {len(set(tensor.names))} different names for {last} columns")
    if not tensor.slices:
        return
    if not isinstance(last, int):
        raise _fail(f"{where}: a sliced tensor needs a fixed last axis, got {last!r}")
    end = 0
    for s in tensor.slices:
        if s.at[0] != end or s.at[1] <= s.at[0]:
            raise _fail(f"{where}: slice {list(s.at)} of {s.interface!r} should start at {end}; slices tile in order without gap or overlap")
        end = s.at[1]
        _check_width(f"{where}: slice {list(s.at)} of {s.interface!r}", s)
    if end != last:
        raise _fail(f"{where}: slices end at {end}, the tensor has {last} columns")
    interfaces = [s.interface for s in tensor.slices]
    if len(set(interfaces)) != len(interfaces):
        raise _fail(f"{where}: an interface is named twice: {interfaces}")


def _check_width(where: str, s: Slice) -> None:
    if s.interface not in ("left_arm", "right_arm", "left_hand", "right_hand"):
        raise _fail(f"{where}: unknown interface; allowed: left_arm, right_arm, left_hand, right_hand")
    expected = {
        "joint_position": len(s.names),
        "fingertip_position": 3 * len(s.fingers),
        "wrist_pose": 9,
        "point_pair": 4,
        "latent": s.width,
        "token": s.width,
    }[s.space]
    if s.width != expected or (s.names and len(set(s.names)) != len(s.names)):
        raise _fail(
            f"{where}: {s.width} columns for {s.space} with names {list(s.names)} and fingers {list(s.fingers)}; expected {expected}, names once each"
        )
    if s.space == "latent" and not s.anchor:
        raise _fail(f"{where}: a latent slice names the graph that decodes it in 'anchor'")
    if s.space == "wrist_pose":
        _check_pose(where, s)


def _check_pose(where: str, s: Slice) -> None:
    if not s.interface.endswith("_arm"):
        raise _fail(f"{where}: a wrist pose moves an arm; allowed: left_arm, right_arm")
    if s.names and s.names != POSE_COLUMNS:
        raise _fail(f"{where}: columns {list(s.names)} of a wrist pose; allowed: {list(POSE_COLUMNS)}, or none named")


def _check_latent_graphs(manifest: Manifest) -> None:
    spec = manifest.spaces.latent
    assert spec is not None  # the kind's manifest check
    dim, axes = spec.dim, [] if spec.unit == "frame" else [spec.frames]
    for name, graph in manifest.graphs.items():
        joint_side, latent_side = (graph.inputs, graph.outputs) if name.endswith("/encoder") else (graph.outputs, graph.inputs)
        if len(joint_side) != 1 or len(latent_side) != 1:
            raise _fail(f"graph {name!r}: expected one joint tensor and one latent tensor")
        joints = joint_side[0]
        if joints.space != "joint_position" or not joints.names or list(joints.shape[1:-1]) != axes:
            wanted = ", ".join(["B", *map(str, axes), "joints"])
            text = f"must be a named ({wanted}) joint_position tensor (unit {spec.unit}), got {list(joints.shape)}"
            raise _fail(f"graph {name!r}: {joints.name!r} {text}")
        if latent_side[0].space != "latent" or len(latent_side[0].shape) != 2 or latent_side[0].shape[1] != dim:
            raise _fail(f"graph {name!r}: {latent_side[0].name!r} must be a (B, {dim}) latent tensor, got {list(latent_side[0].shape)}")


def _check_policy_inputs(manifest: Manifest, graph: Graph) -> None:
    image, words, timing = manifest.image, manifest.instruction, manifest.timing
    assert image is not None and words is not None and timing is not None
    history = () if timing.observation_history == 1 else (timing.observation_history,)
    for picture in manifest.pictures:
        _expect(graph, picture.input, picture.dtype, (*history, *picture.tail))
    _expect(graph, words.input, "int64", (words.length,))
    if (words.length, words.buckets) != (text.LENGTH, text.BUCKETS):
        raise _fail(f"instruction: length {words.length} and buckets {words.buckets}; this version has {text.LENGTH} and {text.BUCKETS}")
    for tensor in graph.inputs:
        if tensor.name in (words.input, *(picture.input for picture in manifest.pictures)):
            continue
        spaces = {s.space for s in tensor.slices}
        measured = bool(spaces) and tuple(tensor.shape[1:-1]) == history and spaces <= {"joint_position", "wrist_pose"}
        latents = (
            tensor.space == "latent" and len(tensor.shape) == 4 and tensor.shape[1] == len(tensor.interfaces) and tensor.shape[2] == timing.chunk
        )
        if not (measured or latents) or tensor.dtype != "float32":
            shape = ", ".join(["B", *map(str, history), "n"])
            raise _fail(
                f"graph 'policy': input {tensor.name!r} is neither measured joints or wrist poses ({shape}) with slices "
                f"nor previous latents (B, interfaces, {timing.chunk}, dim)"
            )


def _check_policy_output(manifest: Manifest) -> None:
    graph, timing = manifest.graphs["policy"], manifest.timing
    assert timing is not None  # the kind's manifest check
    if len(graph.outputs) != 1 or not graph.outputs[0].slices:
        raise _fail("graph 'policy': expected one sliced output")
    shape = graph.outputs[0].shape
    if len(shape) != 3 or shape[1] != timing.chunk or graph.outputs[0].dtype != "float32":
        raise _fail(f"graph 'policy': output is {graph.outputs[0].dtype} {list(shape)}; timing.chunk says float32 [B, {timing.chunk}, columns]")
    if graph.outputs[0].kind != "absolute" and any(s.space != "joint_position" for s in graph.outputs[0].slices):
        raise _fail(f"graph 'policy': output of kind {graph.outputs[0].kind!r}; differences are of joints alone, other spaces are absolute")


def _check_previous(manifest: Manifest) -> None:
    latent = {s.interface: s.width for s in manifest.chunk_tensor.slices if s.space == "latent"}
    for tensor in manifest.seeing_graph.inputs:
        for interface in tensor.interfaces:
            if latent.get(interface) != tensor.shape[-1]:
                raise _fail(
                    f"graph 'policy': {tensor.name!r} takes {tensor.shape[-1]} latent columns of {interface!r}, "
                    f"the output has {latent.get(interface)}"
                )


def _expect(graph: Graph, name: str, dtype: str, tail: tuple[int, ...]) -> None:
    tensor = graph.input(name)
    if tensor is None or tensor.dtype != dtype or tuple(tensor.shape[1:]) != tail:
        got = "no such input" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
        raise _fail(f"graph 'policy': input {name!r}: {got}; expected {dtype} [B, {', '.join(map(str, tail))}]")
