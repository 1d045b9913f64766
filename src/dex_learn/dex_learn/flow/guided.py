# SPDX-License-Identifier: Apache-2.0
"""Guided inpainting as an ONNX graph: the denoiser's vector-Jacobian product, traced once, so that nothing differentiates at run time.

What is computed is equation 2 of arXiv 2506.07339 (see :mod:`dex_core.policy.flow_guidance`), with the guidance weight inside ``weights``.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence

import onnx
import torch
from torch import Tensor, nn
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from dex_learn.export import IR_VERSION, OPSET

BATCH = "B"
INPUTS, OUTPUT = ("x", "time", "target", "weights"), "velocity"
LARGEST_BATCH = 1024


def denoised(x: Tensor, time: Tensor, velocity: Tensor) -> Tensor:
    """Where straight on leads: x + (1 - t) v, (B, H, columns); ``time`` is (B,) or, one for each row, (B, H)."""
    return x + (1.0 - (time[:, None, None] if time.dim() == 1 else time[:, :, None])) * velocity


def guided_velocity(step: nn.Module, x: Tensor, time: Tensor, target: Tensor, weights: Tensor, *features: Tensor) -> Tensor:
    """Velocity plus the pull, (B, H, columns), by torch's own differentiation: what the graph has to equal.

    Args:
        step: (x, time, features ...) -> velocity.
        x, time: (B, H, columns) and (B,) or (B, H).
        target, weights: (B, H, columns) chunk before and (B, H) guidance weight times soft mask.
        features: of the observation.
    """

    def forward(place: Tensor) -> tuple[Tensor, Tensor]:
        velocity = step(place, time, *features)
        return denoised(place, time, velocity), velocity

    end, pull, velocity = torch.func.vjp(forward, x, has_aux=True)
    return velocity + pull((target - end) * weights[:, :, None])[0]


def guided_to_onnx(step: nn.Module, inputs: Mapping[str, Tensor]) -> bytes:
    """ONNX of :func:`guided_velocity` for one network; axis 0 of everything is dynamic.

    Args:
        step: in eval mode; whatever torch can differentiate: convolutions, norms, attention.
        inputs: ``x``, ``time``, ``target``, ``weights`` and the features in the network's order, an example of at least two rows each.
    """
    step.eval()
    parameters = {name: value.detach() for name, value in (*step.named_parameters(), *step.named_buffers())}
    with sdpa_kernel(SDPBackend.MATH):  # the fused kinds of attention have no derivative that ONNX knows
        traced = make_fx(
            _flat(step, list(parameters), len(inputs)), decomposition_table=core_aten_decompositions(), tracing_mode="symbolic",
        )(*inputs.values(), *parameters.values())
    return _to_onnx(_Bound(traced, list(parameters.values())), inputs)


def _flat(step: nn.Module, names: Sequence[str], inputs: int) -> Callable[..., Tensor]:
    """The same with every parameter an argument, so that none is baked in with the batch of the example."""

    def guided(*values: Tensor) -> Tensor:
        x, time, target, weights, *features = values[:inputs]
        parameters = dict(zip(names, values[inputs:], strict=True))
        with torch.enable_grad():
            place = x.detach().requires_grad_(True)
            velocity = torch.func.functional_call(step, parameters, (place, time, *features))
            end = denoised(place, time, velocity)
            (pull,) = torch.autograd.grad(end, place, ((target - end) * weights[:, :, None]).detach())
        return (velocity + pull).detach()

    return guided


class _Bound(nn.Module):
    """A traced function with its parameters."""

    def __init__(self, traced: Callable[..., Tensor], parameters: Sequence[Tensor]) -> None:
        super().__init__()
        self.traced = traced
        self.values = nn.ParameterList([nn.Parameter(value, requires_grad=False) for value in parameters])

    def forward(self, *inputs: Tensor) -> Tensor:
        """Inputs in their order."""
        return self.traced(*inputs, *self.values)


def _to_onnx(module: nn.Module, inputs: Mapping[str, Tensor]) -> bytes:
    batch = torch.export.Dim(BATCH, min=1, max=LARGEST_BATCH)
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # it tells of operators of packages that are not installed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, tuple(inputs.values()), dynamic_shapes=(tuple({0: batch} for _ in inputs),), strict=False)
            made = torch.onnx.export(
                program.run_decompositions(), dynamo=True, opset_version=OPSET, input_names=list(inputs), output_names=[OUTPUT], verbose=False,
            )
    finally:
        log.setLevel(level)
    buffer = io.BytesIO()
    made.save(buffer)
    return _plain(onnx.load_from_string(buffer.getvalue()))


def _plain(model: onnx.ModelProto) -> bytes:
    """The graph alone: without names of files and lines, its batch called as everywhere."""
    model.ir_version = IR_VERSION
    del model.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    del model.graph.value_info[:], model.graph.metadata_props[:]
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()
