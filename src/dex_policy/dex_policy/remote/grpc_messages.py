# SPDX-License-Identifier: Apache-2.0
"""The messages of ``inference.GRPCInferenceService``, built from a table of their fields.

Names and numbers are those of the Open Inference Protocol (https://github.com/kserve/open-inference-protocol,
``specification/protocol/open_inference_grpc.proto``, Apache-2.0), the part of it that is used here: unknown fields are skipped on reading, as
protobuf does. Beyond it: field 6 of ModelMetadataResponse is MLServer's, and ModelConfig is Triton's, of which one map is read.
The messages live in a pool of their own, so that another library may bring the same names, and no generated code ties protobuf's version.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"/{PACKAGE}.GRPCInferenceService/"
_NAMED = {"name": ("string", 1), "version": ("string", 2)}
_PARAMETERS = "map:InferParameter"
_TENSOR = {"name": ("string", 1), "datatype": ("string", 2), "shape": ("repeated int64", 3)}
_CONTENTS = {"parameters": (_PARAMETERS, 4), "contents": ("InferTensorContents", 5)}

MESSAGES: dict[str, dict[str, tuple[str, int]]] = {
    "ModelReadyRequest": _NAMED,
    "ModelReadyResponse": {"ready": ("bool", 1)},
    "ModelMetadataRequest": _NAMED,
    "TensorMetadata": _TENSOR,
    "ModelMetadataResponse": {
        "name": ("string", 1), "versions": ("repeated string", 2), "platform": ("string", 3), "inputs": ("repeated TensorMetadata", 4),
        "outputs": ("repeated TensorMetadata", 5), "parameters": (_PARAMETERS, 6),
    },
    "InferParameter": {
        "bool_param": ("bool", 1), "int64_param": ("int64", 2), "string_param": ("string", 3), "double_param": ("double", 4),
        "uint64_param": ("uint64", 5),
    },
    "InferTensorContents": {
        "int64_contents": ("repeated int64", 3), "uint_contents": ("repeated uint32", 4), "fp32_contents": ("repeated float", 6),
    },
    "InferInputTensor": {**_TENSOR, **_CONTENTS},
    "InferRequestedOutputTensor": {"name": ("string", 1)},
    "InferOutputTensor": {**_TENSOR, **_CONTENTS},
    "ModelInferRequest": {
        "model_name": ("string", 1), "model_version": ("string", 2), "id": ("string", 3), "parameters": (_PARAMETERS, 4),
        "inputs": ("repeated InferInputTensor", 5), "outputs": ("repeated InferRequestedOutputTensor", 6),
        "raw_input_contents": ("repeated bytes", 7),
    },
    "ModelInferResponse": {
        "model_name": ("string", 1), "model_version": ("string", 2), "id": ("string", 3), "parameters": (_PARAMETERS, 4),
        "outputs": ("repeated InferOutputTensor", 5), "raw_output_contents": ("repeated bytes", 6),
    },
    "ModelConfigRequest": _NAMED,
    "ModelParameter": {"string_value": ("string", 1)},
    "ModelConfig": {"name": ("string", 1), "parameters": ("map:ModelParameter", 14)},
    "ModelConfigResponse": {"config": ("ModelConfig", 1)},
}
CALLS = {
    "ModelReady": ("ModelReadyRequest", "ModelReadyResponse"),
    "ModelMetadata": ("ModelMetadataRequest", "ModelMetadataResponse"),
    "ModelConfig": ("ModelConfigRequest", "ModelConfigResponse"),
    "ModelInfer": ("ModelInferRequest", "ModelInferResponse"),
}
"""Call -> names of request and response."""


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="dex_policy/open_inference.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (kind, number) in fields.items():
            _add_field(message, field, kind, number)
        if name == "InferParameter":
            message.oneof_decl.add(name="parameter_choice")
            for entry in message.field:
                entry.oneof_index = 0
    return file


def _add_field(message: descriptor_pb2.DescriptorProto, name: str, kind: str, number: int) -> None:
    base, of_map = kind.removeprefix("repeated "), kind.startswith("map:")
    field = message.field.add(name=name, number=number)
    field.label = field.LABEL_REPEATED if of_map or base != kind else field.LABEL_OPTIONAL
    if of_map:
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add_field(entry, "key", "string", 1)
        _add_field(entry, "value", kind.removeprefix("map:"), 2)
        base = f"{message.name}.{entry.name}"
    if of_map or base in MESSAGES:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{base}"
    else:
        field.type = getattr(field, f"TYPE_{base.upper()}")


_pool = descriptor_pool.DescriptorPool()
_pool.Add(_file())


def message(name: str) -> Any:
    """The class of one message, by its name in the table."""
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


def value_of(parameter: Any) -> bool | int | str | None:
    """What an InferParameter holds; None for nothing, or a floating-point number, which no parameter of ours is."""
    kind = parameter.WhichOneof("parameter_choice")
    return getattr(parameter, kind) if kind in ("bool_param", "int64_param", "string_param", "uint64_param") else None
