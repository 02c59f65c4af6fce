"""The ONNX side of a model file: its identity, its metadata and what a graph must be to be let in."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import onnx

from converters.errors import ConversionError
from converters.operators import check_operators

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MAX_IR",
    "MAX_METADATA_BYTES",
    "MAX_NODES",
    "MAX_OPSETS",
    "MAX_TENSORS",
    "check_graph",
    "graph_sha256",
    "parse",
    "properties",
    "serialize",
    "with_properties",
]

MAX_IR = 14
MAX_OPSETS = {"": 28, "ai.onnx": 28, "ai.onnx.ml": 5, "com.microsoft": 1}
"""What the pinned onnxruntime accepts."""

MAX_NODES = 100_000
MAX_TENSORS = 100_000
MAX_METADATA_BYTES = 64 * 2**20
"""What a graph may have: far above what an estimator needs, far below what takes long to go through."""


def parse(data: bytes) -> onnx.ModelProto:
    """Parse a model from bytes, never from a path.

    Raises:
        ConversionError: these bytes are no ONNX model.
    """
    try:
        model: onnx.ModelProto = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own classes differ between its implementations
        raise ConversionError(f"not an ONNX file: {type(error).__name__}") from error
    if not model.graph.node:
        raise ConversionError("not an ONNX model: it has no graph")
    return model


def serialize(model: onnx.ModelProto) -> bytes:
    """Bytes that are equal for equal models."""
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def graph_sha256(model: onnx.ModelProto) -> str:
    """SHA-256 of the model without its metadata: what certificate, golden rows and reference were measured on."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    return hashlib.sha256(serialize(bare)).hexdigest()


def properties(model: onnx.ModelProto) -> dict[str, str]:
    """The model's metadata.

    Raises:
        ConversionError: a key stands there twice, so that two readers might see two values.
    """
    found = {item.key: item.value for item in model.metadata_props}
    if len(found) != len(model.metadata_props):
        raise ConversionError("the model's metadata has a key twice")
    return found


def with_properties(model: onnx.ModelProto, properties: Mapping[str, str]) -> bytes:
    """The model's bytes with exactly these metadata properties, in a fixed order."""
    full = onnx.ModelProto()
    full.CopyFrom(model)
    del full.metadata_props[:]
    for key in sorted(properties):
        full.metadata_props.add(key=key, value=properties[key])
    return serialize(full)


def check_graph(model: onnx.ModelProto) -> None:
    """Refuse what must not reach onnxruntime: external data, unknown operators or uses of them, unknown versions.

    Raises:
        ConversionError: names what was found.
    """
    _check_versions(model)
    _check_counts(model)
    if model.functions:
        raise ConversionError("model-local functions are not allowed")
    if model.training_info:
        raise ConversionError("training graphs are not allowed")
    if _has_external_data(model):
        raise ConversionError("the model keeps data outside its file, which is not allowed")
    if model.graph.sparse_initializer:
        raise ConversionError("sparse tensors are not allowed")
    check_operators(model)


def _check_counts(model: onnx.ModelProto) -> None:
    metadata = sum(len(item.key) + len(item.value) for item in model.metadata_props)
    for count, limit, what in (
        (len(model.graph.node), MAX_NODES, "nodes"),
        (len(model.graph.initializer), MAX_TENSORS, "tensors"),
        (metadata, MAX_METADATA_BYTES, "characters of metadata"),
    ):
        if count > limit:
            raise ConversionError(f"the model has {count:,} {what}, at most {limit:,} are allowed")


def _check_versions(model: onnx.ModelProto) -> None:
    if model.ir_version > MAX_IR:
        raise ConversionError(f"IR version {model.ir_version}, at most {MAX_IR} is supported")
    for opset in model.opset_import:
        if opset.domain not in MAX_OPSETS:
            raise ConversionError(f"operators of domain {opset.domain!r} are not allowed")
        if opset.version > MAX_OPSETS[opset.domain]:
            raise ConversionError(f"opset {opset.version} of {opset.domain or 'ai.onnx'!r} is newer than supported")


def _has_external_data(model: onnx.ModelProto) -> bool:
    tensors = list(model.graph.initializer)
    tensors += [part for sparse in model.graph.sparse_initializer for part in (sparse.values, sparse.indices)]
    for node in model.graph.node:
        for attribute in node.attribute:
            tensors += [attribute.t, *attribute.tensors]
            tensors += [attribute.sparse_tensor.values, attribute.sparse_tensor.indices]
            tensors += [part for sparse in attribute.sparse_tensors for part in (sparse.values, sparse.indices)]
    return any(tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data for tensor in tensors)
